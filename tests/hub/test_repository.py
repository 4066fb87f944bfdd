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

from em_hf.hub import push, read_run, write_repository
from tests.hub.made import FACTS, LOG, RESULTS, record


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
        assert told[key] == FACTS[key], key
    assert told["results"] == RESULTS
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


def test_an_absolute_path_in_an_unknown_place_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    edit(run / "config.json", quantization={"cache": "/home/me/cache"})
    with pytest.raises(
        ValueError, match=r"config\.json holds the absolute path /home/me/cache \(quantization\.cache\)"
    ):
        write_repository(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["run.json", "tokenizer_config.json", "log.jsonl", "chat_template.jinja"])
def test_a_token_anywhere_stops_the_push(name: str, run: Path, tmp_path: Path) -> None:
    token = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"  # made up of letters, never issued by anyone
    if name == "run.json":
        record(run, command=f"HF_TOKEN={token} em-hf train")
    elif name == "log.jsonl":
        record(run, log=[{**LOG[0], "loss": token}, LOG[1]])
    elif name == "chat_template.jinja":
        (run / name).write_text(f"{{# {token} #}}")
    else:
        edit(run / name, auth=token)
    with pytest.raises(ValueError, match="access token") as raised:
        write_repository(run, tmp_path / "out")
    assert token not in str(raised.value)
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
        assert config["base_model_name_or_path"] == "some-lab/tiny-llama"
        assert GenerationConfig.from_pretrained(tmp_path / "out").entropy_min_config == FACTS["entropy_min"]
        assert "A LoRA adapter for [some-lab/tiny-llama]" in (tmp_path / "out" / "README.md").read_text()

    @pytest.mark.parametrize("base", ["pocket-reasoner", "/data/me/base", "base"])
    def test_an_adapter_on_a_base_that_nobody_else_has_is_refused(
        self, base: str, lora_run: Path, tmp_path: Path
    ) -> None:
        record(lora_run, base_model=base, lora=True)
        with pytest.raises(ValueError, match=f"{base} is not on the Hub; push the two as one model with --merge"):
            write_repository(lora_run, tmp_path / "out")

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
        assert "# second" in (tmp_path / "out" / "README.md").read_text()
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

        monkeypatch.setattr(push.shutil, "copyfile", full)
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
        ("run.json", "[]", r"run\.json must hold an object, not list"),
        ("results.json", "", r"results\.json is not JSON"),
        ("log.jsonl", '{"step": 1}\n{"st', r"log\.jsonl has a line that is not JSON"),
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
