"""The folder that `write_repository` leaves: complete, loadable, clean, and never half there."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from em_hf.hub import folders, read_run, write_repository
from tests.hub.made import BASE_COMMIT, FACTS, LOG, RESULTS, record

NAMED_TEMPLATE = "additional_chat_templates/tool_use.jinja"


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    return record(Path(shutil.copytree(model, tmp_path / "run")))


@pytest.fixture
def lora_run(adapter: Path, tmp_path: Path) -> Path:
    return record(Path(shutil.copytree(adapter, tmp_path / "run")), lora=True)


def edit(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_repository_holds_the_model_its_record_and_its_card(run: Path, tmp_path: Path) -> None:
    written = write_repository(run, tmp_path / "out")
    files = content(tmp_path / "out")
    assert set(files) == {
        "README.md",
        "config.json",
        "custom_generate/generate.py",
        "custom_generate/requirements.txt",
        "em_hf.json",
        "entropy.jsonl",
        "entropy.png",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert written.sizes == {name: len(data) for name, data in files.items()}
    assert files["README.md"].decode() == f"{written.card}\n"
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert files["entropy.png"].startswith(b"\x89PNG\r\n")
    trace = [json.loads(line) for line in files["entropy.jsonl"].decode().splitlines()]
    assert [(step["step"], step["entropy"]) for step in trace] == [(1, 1.25), (2, 1.0), (3, 0.75)]


def test_the_record_tells_how_the_model_came_about(run: Path, tmp_path: Path) -> None:
    write_repository(run, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "em_hf.json").read_text())
    for key in ("method", "base_model", "dataset", "settings", "entropy_min", "seed", "versions", "command"):
        expected = FACTS[key] if key != "dataset" else {**FACTS[key], "level": None}  # older than the levels
        assert told[key] == expected, key
    # An old record's rows say by their names alone what they are of; written again they say it in fields.
    rows = [{**row, "trained": row["name"] != "base", "greedy": False, "em_inf": False} for row in RESULTS["rows"]]
    kept = {name: value for name, value in told["results"].items() if value is not None}
    assert kept == {**RESULTS, "rows": rows}
    assert told["log"] == {"steps": 3, "first": LOG[0], "last": LOG[2]}
    assert told["files"] == sorted(content(tmp_path / "out"))


def test_what_was_written_loads_and_computes_as_the_run_does(run: Path, tmp_path: Path) -> None:
    write_repository(run, tmp_path / "out")
    tokens = AutoTokenizer.from_pretrained(run)("any text", return_tensors="pt").input_ids
    again = AutoTokenizer.from_pretrained(tmp_path / "out")("any text", return_tensors="pt").input_ids
    assert torch.equal(tokens, again)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(run)(tokens).logits
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "out")(tokens).logits, logits)
    config = GenerationConfig.from_pretrained(tmp_path / "out")
    assert config.entropy_min_config == FACTS["entropy_min"]


def test_settings_survive_a_generation_config_made_from_a_models_config(run: Path, tmp_path: Path) -> None:
    edit(run / "generation_config.json", _from_model_config=True)
    assert not hasattr(GenerationConfig.from_pretrained(run), "entropy_min_config"), "no trap here any more?"
    write_repository(run, tmp_path / "out")
    assert GenerationConfig.from_pretrained(tmp_path / "out").entropy_min_config == FACTS["entropy_min"]


def test_a_second_writing_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    write_repository(run, tmp_path / "one")
    write_repository(run, tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_run_folder_is_left_as_it_was(run: Path, tmp_path: Path) -> None:
    before = content(run)
    write_repository(run, tmp_path / "out")
    assert content(run) == before


def test_only_the_model_and_its_record_go_out(run: Path, tmp_path: Path) -> None:
    for name in (
        "checkpoints/checkpoint-3/model.safetensors",
        "checkpoint-3/optimizer.pt",
        "optimizer.pt",
        "rng_state.pth",
        "training_args.bin",
        "trainer_state.json",
        ".env",
        ".cache/huggingface/token",
        "__pycache__/x.pyc",
        "notes.txt",
        "prompts.jsonl",
        "run.json.bak",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("private")
    write_repository(run, tmp_path / "out")
    files = content(tmp_path / "out")
    assert len(files) == 11
    assert not any(data == b"private" for data in files.values())


def test_no_absolute_path_goes_out(run: Path, tmp_path: Path) -> None:
    away = str(tmp_path)
    record(
        run,
        base_model=f"{away}/models/base",
        dataset={**FACTS["dataset"], "name": f"{away}/prompts.jsonl"},
        settings={"output": f"{away}/runs/first", "dataset": f"{away}/prompts.jsonl", "home": "~/runs"},
        command=f"em-hf train --model {away}/models/base --dataset={away}/prompts.jsonl --output '{away}/my run'",
    )
    edit(run / "config.json", _name_or_path=f"{away}/models/base")
    edit(run / "tokenizer_config.json", name_or_path=f"{away}/models/base", tokenizer_file=f"{away}/tokenizer.json")
    write_repository(run, tmp_path / "out")
    for name, data in content(tmp_path / "out").items():
        assert away.encode() not in data, name
    told = json.loads((tmp_path / "out" / "em_hf.json").read_text())
    assert told["command"] == "em-hf train --model base --dataset=prompts.jsonl --output 'my run'"
    assert told["base_model"] == "base"
    assert told["settings"] == {"output": "first", "dataset": "prompts.jsonl", "home": "runs"}


@pytest.mark.parametrize("name", ["runs/first", "some-lab/tiny-llama"])
def test_where_a_model_came_from_is_told_only_if_it_is_the_base_model_on_the_hub(
    name: str, run: Path, tmp_path: Path
) -> None:
    edit(run / "config.json", _name_or_path=name)
    edit(run / "tokenizer_config.json", name_or_path=name)
    write_repository(run, tmp_path / "out")
    told = {n: json.loads((tmp_path / "out" / n).read_text()) for n in ("config.json", "tokenizer_config.json")}
    expected = name if name == FACTS["base_model"] else None
    assert told["config.json"].get("_name_or_path") == told["tokenizer_config.json"].get("name_or_path") == expected


def test_an_absolute_path_in_an_unknown_place_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    edit(run / "config.json", quantization={"cache": "/home/me/cache"})
    with pytest.raises(
        ValueError, match=r"config\.json holds the absolute path /home/me/cache \(quantization\.cache\)"
    ):
        write_repository(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizers_named_chat_templates_go_out_too(run: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(run)
    tokenizer.chat_template = {"default": "{{ messages[0].content }}", "tool_use": "T {{ messages[0].content }}"}
    tokenizer.save_pretrained(run)
    write_repository(run, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == tokenizer.chat_template
    (run / NAMED_TEMPLATE).with_name("notes.txt").write_text("private")
    write_repository(run, tmp_path / "again")
    assert content(tmp_path / "again") == content(tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["run.json", "tokenizer_config.json", "log.jsonl", "chat_template.jinja", NAMED_TEMPLATE]
)
def test_a_token_anywhere_stops_the_push(name: str, run: Path, tmp_path: Path) -> None:
    token = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"  # made up of letters, never issued by anyone
    if name == "run.json":
        record(run, command=f"HF_TOKEN={token} em-hf train")
    elif name == "log.jsonl":
        record(run, log=[{**LOG[0], "loss": token}, LOG[1]])
    elif name.endswith(".jinja"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(f"{{# {token} #}}")
    else:
        edit(run / name, auth=token)
    with pytest.raises(ValueError, match="access token" if name != "log.jsonl" else "loss is text") as raised:
        write_repository(run, tmp_path / "out")
    assert name in str(raised.value) and token not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_that_has_not_finished_is_refused_with_the_way_on(status: str, run: Path, tmp_path: Path) -> None:
    record(run, status=status)
    with pytest.raises(ValueError, match=f"is {status}; go on with it by: em-hf train --resume {run}"):
        write_repository(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("model.safetensors", r"has no model\.safetensors"),
        ("config.json", r"has no config\.json"),
        ("tokenizer.json tokenizer_config.json", "has no tokenizer"),
        ("run.json", r"is not a run of em-hf: it has no run\.json"),
    ],
)
def test_a_run_that_lacks_a_part_is_refused(gone: str, says: str, run: Path, tmp_path: Path) -> None:
    for name in gone.split():
        (run / name).unlink()
    with pytest.raises(ValueError, match=says):
        write_repository(run, tmp_path / "out")


def test_weights_that_were_cut_off_are_refused(run: Path, tmp_path: Path) -> None:
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        write_repository(run, tmp_path / "out")


def test_sharded_weights_go_out_with_their_index(model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(run, max_shard_size="60KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, run)
    write_repository(record(run), tmp_path / "out")
    shards = [path.name for path in run.glob("model-*.safetensors")]
    assert len(shards) > 1
    assert {*shards, "model.safetensors.index.json"} <= set(content(tmp_path / "out"))
    (run / shards[0]).unlink()
    with pytest.raises(ValueError, match=f"has no {shards[0]}"):
        write_repository(run, tmp_path / "other")


@pytest.mark.parametrize(
    ("reference", "allowed"),
    [
        ("lab/model--modeling_x.X", True),
        ("../model--modeling_x.X", False),
        ("model--modeling_x.X", False),
        ("modeling_x.X", False),
        ("/home/me/model--modeling_x.X", False),
    ],
)
def test_custom_code_may_be_named_on_the_hub_and_is_never_copied(
    reference: str, allowed: bool, run: Path, tmp_path: Path
) -> None:
    (run / "modeling_x.py").write_text("")
    edit(run / "config.json", auto_map={"AutoModelForCausalLM": reference})
    if allowed:
        write_repository(run, tmp_path / "out")
        assert not (tmp_path / "out" / "modeling_x.py").exists()
        return
    with pytest.raises(ValueError, match="code of its own"):
        write_repository(run, tmp_path / "out")


class TestAdapters:
    def test_an_adapter_names_its_base_model_on_the_hub(self, lora_run: Path, tmp_path: Path) -> None:
        assert str(tmp_path.parent) in (lora_run / "adapter_config.json").read_text(), "PEFT noted the local folder"
        write_repository(lora_run, tmp_path / "out")
        assert "model.safetensors" not in content(tmp_path / "out")
        config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("some-lab/tiny-llama", BASE_COMMIT)
        assert GenerationConfig.from_pretrained(tmp_path / "out").entropy_min_config == FACTS["entropy_min"]
        assert "A LoRA adapter for [some-lab/tiny-llama]" in (tmp_path / "out" / "README.md").read_text()

    @pytest.mark.parametrize("base", ["pocket-reasoner", "/data/me/base", "../base"])
    def test_an_adapter_on_a_base_that_nobody_else_has_is_refused(
        self, base: str, lora_run: Path, tmp_path: Path
    ) -> None:
        record(lora_run, base_model=base, base_revision=None, lora=True)
        with pytest.raises(ValueError, match=f"{base} is not on the Hub; push the two as one model with --merge"):
            write_repository(lora_run, tmp_path / "out")

    @pytest.mark.parametrize(("base", "revision"), [("runs/first", None), ("base", None), ("some-lab/tiny", "v2")])
    def test_an_adapter_on_a_base_without_a_commit_is_refused_until_it_has_one(
        self, base: str, revision: str | None, lora_run: Path, tmp_path: Path
    ) -> None:
        """The Hub's runs/first is somebody else's model. PEFT would load it, for whoever has no such folder."""
        edit(lora_run / "adapter_config.json", base_model_name_or_path=base)
        record(lora_run, base_model=base, base_revision=revision, lora=True)
        says = f"{base} is not known to be on the Hub; push .* --merge; or, if it is there, put its commit into run"
        with pytest.raises(ValueError, match=says) as told:
            write_repository(lora_run, tmp_path / "out")
        assert "\n" not in str(told.value) and not (tmp_path / "out").exists()
        record(lora_run, base_model=base, base_revision=BASE_COMMIT, lora=True)
        write_repository(lora_run, tmp_path / "out")
        config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (base, BASE_COMMIT)

    def test_a_merged_adapter_is_a_whole_model_that_computes_what_the_two_did(
        self, lora_run: Path, tmp_path: Path
    ) -> None:
        from peft import AutoPeftModelForCausalLM

        write_repository(lora_run, tmp_path / "out", merge=True)
        files = content(tmp_path / "out")
        assert "model.safetensors" in files and not any("adapter" in name for name in files)
        tokens = torch.arange(2, 40)[None]
        with torch.no_grad():
            both = AutoPeftModelForCausalLM.from_pretrained(lora_run)(tokens).logits
            merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(tokens).logits
            base_folder = json.loads((lora_run / "adapter_config.json").read_text())["base_model_name_or_path"]
            base = AutoModelForCausalLM.from_pretrained(base_folder)(tokens).logits
        torch.testing.assert_close(merged, both, rtol=1e-5, atol=1e-5)
        assert (base - both).abs().max() > 1e-2, "an adapter that does nothing proves nothing"
        config = GenerationConfig.from_pretrained(tmp_path / "out")
        assert config.entropy_min_config == FACTS["entropy_min"]
        for name, data in files.items():
            assert str(tmp_path.parent).encode() not in data, name

    def test_a_whole_model_has_nothing_to_merge(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="leave --merge out"):
            write_repository(run, tmp_path / "out", merge=True)


class TestTheTarget:
    def test_a_folder_that_is_not_ours_is_never_replaced(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("ten years")
        for overwrite in (False, True):
            with pytest.raises(ValueError, match="em-hf did not write it"):
                write_repository(run, tmp_path / "out", overwrite=overwrite)
        assert content(tmp_path / "out") == {"thesis.tex": b"ten years"}

    def test_ours_is_replaced_when_asked_for_and_only_then(self, run: Path, tmp_path: Path) -> None:
        write_repository(run, tmp_path / "out")
        (tmp_path / "out" / "stale.safetensors").write_bytes(b"old")
        with pytest.raises(ValueError, match="replace it with --overwrite"):
            write_repository(run, tmp_path / "out")
        record(run, name="second")
        write_repository(run, tmp_path / "out", overwrite=True)
        assert "stale.safetensors" not in content(tmp_path / "out")
        assert json.loads((tmp_path / "out" / "em_hf.json").read_text())["name"] == "second"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"], "something was left beside it"

    def test_an_empty_or_missing_folder_is_filled(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("empty", "new/deep"):
            write_repository(run, tmp_path / name)
            assert (tmp_path / name / "em_hf.json").is_file()

    @pytest.mark.parametrize("place", ["run", "run/out", "."])
    def test_a_folder_in_or_around_the_run_is_refused(self, place: str, run: Path, tmp_path: Path) -> None:
        before = content(tmp_path)
        with pytest.raises(ValueError, match="overlap"):
            write_repository(run, tmp_path / place, overwrite=True)
        assert content(tmp_path) == before

    def test_a_full_disk_leaves_the_old_repository_and_no_rubble(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_repository(run, tmp_path / "out")
        before = content(tmp_path / "out")
        record(run, name="second")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(folders.shutil, "copyfile", full)
        with pytest.raises(OSError, match=r"could not write .*No space left on device; nothing was changed there"):
            write_repository(run, tmp_path / "out", overwrite=True)
        with pytest.raises(OSError, match="No space left"):
            write_repository(run, tmp_path / "fresh")
        assert content(tmp_path / "out") == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]

    def test_killed_at_any_file_it_leaves_nothing_that_looks_whole(self, run: Path, tmp_path: Path) -> None:
        code = """if True:
            import os, sys, pathlib
            from em_hf.hub import write_repository
            left = int(sys.argv[3])
            def audit(event, args):
                global left
                if event == "open" and ".part" in str(args[0]) and args[1] and "w" in str(args[1]):
                    left -= 1
                    if left < 0:
                        os._exit(9)
            sys.addaudithook(audit)
            write_repository(sys.argv[1], sys.argv[2])
        """
        for files in (0, 4, 10):
            died = subprocess.run([sys.executable, "-c", code, run, tmp_path / "out", str(files)], check=False)
            assert died.returncode == 9
            assert not (tmp_path / "out").exists()
            assert not list(tmp_path.glob(".out*/em_hf.json"))
        write_repository(run, tmp_path / "out")
        assert len(content(tmp_path / "out")) == 11


def test_the_newest_finished_run_is_found(tmp_path: Path) -> None:
    from em_hf.hub import newest_run

    runs = tmp_path / "runs"
    with pytest.raises(ValueError, match="there is no run under"):
        newest_run(runs)
    record(runs / "a", status="interrupted", drop=("finished",))
    with pytest.raises(ValueError, match=f"has finished; the run {runs}/a is interrupted; go on with it by"):
        newest_run(runs)
    record(runs / "b", finished="2026-11-02T10:00:00Z")
    record(runs / "c", finished="2026-11-01T10:00:00Z")  # written later, finished earlier
    record(runs / "d", status="running", started="2026-11-09T10:00:00Z", drop=("finished",))
    (runs / "notes").mkdir()
    assert newest_run(runs).folder == runs / "b"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("run.json", "{", r"run\.json is not JSON"),
        ("run.json", "[]", r"run\.json must hold an object, not a list"),
        ("results.json", "", r"results\.json is not JSON"),
        ("log.jsonl", '{"st\n{"step": 2}\n', r"log\.jsonl, line 1 is not JSON"),
        ("log.jsonl", '{"step": 1}\n{"st', r"log\.jsonl has 1 of the 3 steps done"),
        ("log.jsonl", "", r"log\.jsonl has 0 of the 3 steps done"),
        ("results.json", '{"rows": [1]}', r"results\.json: rows\[0\] is a number, but must be an object"),
    ],
)
def test_a_damaged_record_is_named(name: str, text: str, says: str, tmp_path: Path) -> None:
    folder = record(tmp_path / "run")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=says):
        read_run(folder)


def test_a_missing_run_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"there is no run folder at {tmp_path}/x"):
        read_run(tmp_path / "x")


JSON_FILES = ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"]
LINKS = ["vocab.txt", "chat_template.jinja", "model.safetensors", "config.json", "generation_config.json"]
LINKS += ["run.json", "log.jsonl", "results.json", "diagnose.json"]


class TestSecretsAndPaths:
    """No file that is written holds what must not be published; the message names file and field."""

    TOKEN = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"

    def refused(self, run: Path, tmp_path: Path, says: str) -> None:
        before = content(run)
        with pytest.raises(ValueError, match=says) as raised:
            write_repository(run, tmp_path / "out")
        assert self.TOKEN not in str(raised.value) and "\n" not in str(raised.value)
        assert not (tmp_path / "out").exists() and content(run) == before
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "rubble"

    @pytest.mark.parametrize(
        "name", ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"]
    )
    def test_a_token_in_any_json_file(self, name: str, run: Path, tmp_path: Path) -> None:
        edit(run / name, extra={"list": ["x", self.TOKEN]})
        self.refused(
            run, tmp_path, rf"{name} holds what looks like a Hub access token \(.*(extra\.list\[1\]|line \d+)\)"
        )

    @pytest.mark.parametrize(
        "name", ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"]
    )
    def test_an_absolute_path_in_any_json_file(self, name: str, run: Path, tmp_path: Path) -> None:
        edit(run / name, extra={"made": "from /home/somebody/corpus"})
        self.refused(run, tmp_path, rf"{name} holds the absolute path /home/somebody/corpus \(extra\.made\)")

    @pytest.mark.parametrize("value", ["/home/somebody/base", TOKEN, "password=hunter22"])
    def test_the_metadata_of_the_weights(self, value: str, run: Path, tmp_path: Path) -> None:
        from safetensors.numpy import load_file, save_file

        weights = run / "model.safetensors"
        save_file(load_file(weights), weights, metadata={"format": "pt", "origin": value})
        self.refused(run, tmp_path, r"model\.safetensors holds .* \(metadata\.origin\)")

    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"command": f"em-hf train --token {TOKEN}"}, "command"),
            ({"command": "em-hf train --dataset https://me:secret@host/x.jsonl"}, "command"),
            ({"dataset": {**FACTS["dataset"], "name": "https://me:secret@host/x.jsonl"}}, r"dataset\.name"),
            ({"settings": {"hub_token": "a8f3kd93kdl2m4nf8sk2"}}, r"settings\.hub_token"),
            ({"base_model": "https://oauth2:glpat-abcdefghijklmnop@host/m"}, "base_model"),
        ],
    )
    def test_the_records_of_the_run(self, facts: dict[str, Any], field: str, run: Path, tmp_path: Path) -> None:
        record(run, **facts)
        self.refused(run, tmp_path, rf"run\.json holds what looks like .* \({field}\)")

    def test_a_result_row(self, run: Path, tmp_path: Path) -> None:
        row = {**RESULTS["rows"][0], "sample": f"the key is {self.TOKEN}"}
        record(run, results={**RESULTS, "rows": [row]})
        self.refused(run, tmp_path, r"results\.json holds .* \(rows\[0\]\.sample\)")

    def test_a_vocabulary_may_hold_any_words(self, run: Path, tmp_path: Path) -> None:
        """A tokenizer that learned from code knows /usr/bin and /home/user; they are no paths of this machine."""
        tokenizer = json.loads((run / "tokenizer.json").read_text())
        for word in ("/home/user", "token=abcdefghijklmnopqrstuvwxyz"):
            tokenizer["model"]["vocab"][word] = len(tokenizer["model"]["vocab"])
        (run / "tokenizer.json").write_text(json.dumps(tokenizer))
        write_repository(run, tmp_path / "out")

    @pytest.mark.parametrize(
        "name",
        [
            "vocab.txt",
            "chat_template.jinja",
            NAMED_TEMPLATE,
            "model.safetensors",
            "config.json",
            "results.json",
            "generation_config.json",
        ],
    )
    def test_a_link_out_of_the_run_folder_is_never_followed(self, name: str, run: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes((run / name).read_bytes() if (run / name).exists() else b"{}")
        (run / name).unlink(missing_ok=True)
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).symlink_to(elsewhere)
        self.refused(run, tmp_path, rf"{name} is a link out of the run folder")

    def test_a_link_within_the_run_folder_and_a_run_that_is_a_link_are_fine(self, run: Path, tmp_path: Path) -> None:
        (run / "model.safetensors").rename(run / "weights-7")
        (run / "model.safetensors").symlink_to("weights-7")
        (tmp_path / "latest").symlink_to(run)
        write_repository(tmp_path / "latest", tmp_path / "out")
        assert not (tmp_path / "out" / "model.safetensors").is_symlink()
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == (run / "weights-7").read_bytes()


class TestItLoads:
    """What does not load is never written; the message says in one line what is broken."""

    def refused(self, run: Path, tmp_path: Path, says: str) -> None:
        with pytest.raises(ValueError, match=says) as raised:
            write_repository(run, tmp_path / "out")
        assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()

    @pytest.mark.parametrize("how", ["cut", "empty", "random", "another shape", "no vocabulary"])
    def test_a_broken_tokenizer(self, how: str, run: Path, tmp_path: Path) -> None:
        path = run / "tokenizer.json"
        whole, no_words = path.read_bytes(), {"type": "BPE", "vocab": {}, "merges": []}
        broken = {
            "cut": whole[: len(whole) // 2],
            "empty": b"",
            "random": bytes(range(256)) * 9,
            "another shape": b'{"model": [1, 2]}',
            "no vocabulary": json.dumps({**json.loads(whole), "model": no_words}).encode(),
        }
        path.write_bytes(broken[how])
        self.refused(run, tmp_path, "tokenizer")

    def test_a_missing_tokenizer_file(self, run: Path, tmp_path: Path) -> None:
        (run / "tokenizer.json").unlink()
        self.refused(run, tmp_path, "the tokenizer cannot be loaded")

    def test_a_tokenizer_of_another_model(self, run: Path, tmp_path: Path) -> None:
        tokenizer = json.loads((run / "tokenizer.json").read_text())
        for i in range(len(tokenizer["model"]["vocab"]), 400):
            tokenizer["model"]["vocab"][f"word{i}"] = i
        (run / "tokenizer.json").write_text(json.dumps(tokenizer))
        self.refused(run, tmp_path, "the tokenizer has 400 tokens, but the model embeds 320")

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"hidden_size": 64, "head_dim": 16}, r"has the shape \[.*\], but config\.json asks for"),
            ({"num_hidden_layers": 3}, r"the weights lack model\.layers\.2\..* and \d+ others of config\.json"),
            ({"num_hidden_layers": 1}, r"hold besides the model's model\.layers\.1\..* and \d+ others"),
            ({"model_type": "no-such-model"}, r"the config\.json cannot be loaded"),
            ({"hidden_size": "many"}, r"the config\.json cannot be loaded"),
        ],
    )
    def test_a_config_that_is_not_that_of_the_weights(
        self, change: dict[str, Any], says: str, run: Path, tmp_path: Path
    ) -> None:
        edit(run / "config.json", **change)
        self.refused(run, tmp_path, says)

    @pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
    @pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
    def test_a_damaged_json_file(self, name: str, text: str, run: Path, tmp_path: Path) -> None:
        (run / name).write_text(text)
        self.refused(run, tmp_path, rf"{name} (is not JSON|must hold an object)")

    @pytest.mark.parametrize("text", ["", "{}", '{"weight_map": []}', '{"weight_map": {"a": "../../x"}}'])
    def test_a_damaged_index(self, text: str, run: Path, tmp_path: Path) -> None:
        (run / "model.safetensors.index.json").write_text(text)
        self.refused(run, tmp_path, "index|has no|link out")

    def test_an_adapter_of_another_model(self, lora_run: Path, tmp_path: Path) -> None:
        from safetensors.numpy import load_file, save_file

        path = lora_run / "adapter_model.safetensors"
        weights = load_file(path)
        name = sorted(weights)[0]
        save_file({**weights, name: weights[name][:, :16].copy()}, path, metadata={"format": "pt"})
        self.refused(lora_run, tmp_path, "has the shape .*, but its base model asks for")
        del weights[name]
        save_file(weights, path, metadata={"format": "pt"})
        self.refused(lora_run, tmp_path, "the adapter does not fit its base model")

    def test_an_adapter_config_of_no_kind(self, lora_run: Path, tmp_path: Path) -> None:
        edit(lora_run / "adapter_config.json", peft_type="NONE OF THESE")
        self.refused(lora_run, tmp_path, r"the adapter_config\.json cannot be loaded")


class TestKilledPushes:
    """What a killed writing left beside the folder is put right by the next one."""

    GONE = "999999999"  # no process has this number

    def test_a_part_is_removed(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / f".out.{self.GONE}.part").mkdir()
        (tmp_path / f".out.{self.GONE}.part" / "model.safetensors").write_text("half")
        write_repository(run, tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]

    def test_the_old_repository_goes_back_and_is_not_lost(self, run: Path, tmp_path: Path) -> None:
        """Killed between the two moves of a replacement: the old one lies aside, the new one was never put in."""
        write_repository(run, tmp_path / "out")
        before = content(tmp_path / "out")
        (tmp_path / "out").rename(tmp_path / f".out.{self.GONE}.old")
        (tmp_path / f".out.{self.GONE}.part").mkdir()
        with pytest.raises(ValueError, match="exists; replace it with --overwrite"):
            write_repository(run, tmp_path / "out")
        assert content(tmp_path / "out") == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]

    def test_an_old_repository_whose_place_was_taken_is_removed(self, run: Path, tmp_path: Path) -> None:
        write_repository(run, tmp_path / "out")
        shutil.copytree(tmp_path / "out", tmp_path / f".out.{self.GONE}.old")
        write_repository(run, tmp_path / "out", overwrite=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]

    def test_killed_over_the_removal_of_the_old_repository_nothing_lies_beside_the_new_one(
        self, run: Path, tmp_path: Path
    ) -> None:
        """With the file gone that says whose it is, an old repository could not be told from a user's folder."""
        write_repository(run, tmp_path / "out")
        code = """if True:
            import os, shutil, sys
            from pathlib import Path
            from em_hf.hub import write_repository
            remove = shutil.rmtree
            def half(path, *args, **kwargs):
                if Path(path).name.startswith(".out."):
                    (Path(path) / "em_hf.json").unlink()
                    os._exit(9)
                remove(path, *args, **kwargs)
            shutil.rmtree = half
            write_repository(sys.argv[1], sys.argv[2], overwrite=True)
        """
        died = subprocess.run([sys.executable, "-c", code, run, tmp_path / "out"], check=False)
        assert died.returncode == 9 and len(list(tmp_path.iterdir())) == 3
        write_repository(run, tmp_path / "out", overwrite=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]

    def test_what_belongs_to_a_living_process_or_to_another_folder_stays(self, run: Path, tmp_path: Path) -> None:
        left = [f".out.{os.getppid()}.part", f".other.{self.GONE}.part", f".out.{self.GONE}.txt", ".out.x.part"]
        for name in left:
            (tmp_path / name).mkdir()
        write_repository(run, tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*left, "out", "run"])

    def test_staging_folders_of_killed_pushes_are_removed(self, run: Path, tmp_path: Path) -> None:
        import tempfile

        left = Path(tempfile.gettempdir()) / f".em-hf-push.{self.GONE}.abc.staged"
        left.mkdir(exist_ok=True)
        write_repository(run, tmp_path / "out")
        assert not left.exists()
