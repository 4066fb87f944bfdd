"""Runs from settings to folder: what is recorded and saved, and that one which cannot be made leaves nothing behind."""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from em_hf.data import Prompts
from em_hf.generation.config import EntropyMinConfig
from em_hf.methods import METHODS
from em_hf.models import load_model
from em_hf.runs import read_run
from em_hf.training.checkpoints import save_whole
from em_hf.training.prepare import load_data
from em_hf.training.recorder import Diverged
from em_hf.training.rollouts import prompt_rows
from em_hf.training.run import StopAtNextStep, train
from em_hf.training.settings import RunSettings

PROMPTS = ["ab", "c", "bca", "d", "ca", "dd", "cab", "b"] * 5


@pytest.fixture
def source(letter_model: Callable, letters: Any, tmp_path: Path) -> Path:
    """A model folder."""
    letter_model().save_pretrained(tmp_path / "model")
    letters.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def make(source: Path, tmp_path: Path) -> Callable[..., RunSettings]:
    """Makes settings of a short run over letters."""
    data = write(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])

    def settings(**changes: Any) -> RunSettings:
        short = {"steps": 2, "batch_size": 4, "learning_rate": 1e-2, "max_completion_length": 4, "eval_problems": 4}
        fixed = {"model": str(source), "dataset": str(data), "device": "cpu"}
        return RunSettings.resolve({**fixed, **short, **changes})

    return settings


def facts(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def weights(run: Path) -> torch.Tensor:
    (file,) = run.glob("*.safetensors")
    return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(file).items())])


def test_a_finished_run_holds_model_settings_log_and_results(make: Callable, source: Path, tmp_path: Path) -> None:
    run, settings = tmp_path / "runs" / "first", make(entropy_min={"n_grad_steps": 9}, seed=3)
    returned = train(settings, run, command="em-hf train --steps 2")
    known = facts(run)
    assert (known["status"], known["steps_done"], known["name"], known["seed"]) == ("finished", 2, "first", 3)
    assert (known["method"], known["base_model"], known["lora"]) == ("em-ft", str(source), False)
    assert known["command"] == "em-hf train --steps 2"
    # Four of forty prompts are held out, four watched; the fingerprint is that of the others.
    assert known["dataset"]["n"] == 32 and known["dataset"]["answer_column"] is None
    assert len(known["dataset"]["fingerprint"]) == 64
    em_inf = EntropyMinConfig(n_grad_steps=9).to_dict()  # the model has none stored
    assert known["settings"] == {**vars(settings), "entropy_min": em_inf} and known["entropy_min"] == em_inf
    assert known["started"] <= known["finished"] and known["versions"]["transformers"]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2]
    assert all({"loss", "entropy", "completion_length", "seconds", "tokens"} <= line.keys() for line in log)
    results = json.loads((run / "results.json").read_text())
    assert results == returned
    assert [row["name"] for row in results["rows"]] == ["base", "EM-INF", "EM-FT", "EM-FT + EM-INF"]
    assert results["n"] == 4  # what was measured, not what was asked for
    assert results["sampling"] == {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "max_new_tokens": 4,
        "seed": 3,
        "samples": 1,
    }
    model, _ = load_model(str(run), device="cpu")
    assert model.generation_config.entropy_min_config["n_grad_steps"] == 9
    assert not torch.equal(weights(run), weights(source))


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.needs is None])
def test_answers_are_measured_with_and_never_trained_on(
    make: Callable, source: Path, tmp_path: Path, method: str
) -> None:
    """The weights are the same, bit for bit, whatever the answers are, and without any."""

    def trained(name: str, rows: list[dict[str, Any]]) -> tuple[torch.Tensor, list[float | None]]:
        data = write(tmp_path / f"{name}.jsonl", rows)
        results = train(make(dataset=str(data), method=method), tmp_path / name)
        return weights(tmp_path / name), [row["accuracy"] for row in results["rows"]]

    plain, none = trained("plain", [{"prompt": prompt} for prompt in PROMPTS])
    right, some = trained("right", [{"prompt": p, "answer": "a"} for p in PROMPTS])
    shuffled, _ = trained("shuffled", [{"prompt": p, "answer": str(i)} for i, p in enumerate(PROMPTS)])
    assert torch.equal(plain, right) and torch.equal(plain, shuffled)
    # Letters never hold an answer: nothing to vote for, nothing marked.
    assert method in ("sc-rl", "format") or not torch.equal(plain, weights(source))
    assert none == [None] * 4 and all(isinstance(accuracy, float) for accuracy in some)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(make: Callable, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(make(seed=seed, eval_problems=0), tmp_path / name)
    assert torch.equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not torch.equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_measuring_before_training_changes_nothing_in_it(
    make: Callable, letter_model: Callable, source: Path, tmp_path: Path
) -> None:
    letter_model(max_position_embeddings=512).save_pretrained(source)
    for name, problems in (("with", 5), ("without", 0)):
        train(make(dataset="pocket", eval_problems=problems), tmp_path / name)
    assert torch.equal(weights(tmp_path / "with"), weights(tmp_path / "without"))


def test_too_few_prompts_to_hold_any_out_are_trained_on_and_nothing_is_measured(make: Callable, tmp_path: Path) -> None:
    data = write(tmp_path / "nine.jsonl", [{"prompt": prompt} for prompt in PROMPTS[:9]])
    told: list[str] = []
    assert train(make(dataset=str(data)), tmp_path / "nine", on_phase=told.append)["rows"] == []
    assert "Nothing is held out, so nothing is measured." in told and facts(tmp_path / "nine")["dataset"]["n"] == 9


def test_a_base_model_in_a_folder_has_no_revision_whatever_was_asked_for(make: Callable, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make(lora=True, lora_rank=2, revision="0" * 40, eval_problems=0, steps=1), run)
    assert facts(run)["base_revision"] is None and facts(run)["settings"]["revision"] is None
    assert json.loads((run / "adapter_config.json").read_text())["revision"] is None
    load_model(str(run), device="cpu")


def test_a_run_that_is_saved_again_replaces_its_named_chat_templates(
    letter_model: Callable, letters: Any, tmp_path: Path
) -> None:
    """As when it was killed between saving the model and recording that."""
    for tools in ("T", "U"):
        letters.chat_template = {"default": "D", "tool_use": tools}
        save_whole(letter_model(), letters, tmp_path / "run")
        assert AutoTokenizer.from_pretrained(tmp_path / "run").chat_template == letters.chat_template
    assert not (tmp_path / "run" / ".saving").exists()


def test_an_adapters_run_holds_the_adapter_and_the_settings_beside_it(make: Callable, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make(lora=True, lora_rank=2, entropy_min={"threshold": 0.2}), run)
    assert facts(run)["lora"] and (run / "adapter_model.safetensors").is_file()
    assert not (run / "model.safetensors").exists() and not (run / "README.md").exists()
    assert json.loads((run / "adapter_config.json").read_text())["r"] == 2
    model, _ = load_model(str(run), device="cpu")
    assert model.get_base_model().generation_config.entropy_min_config["threshold"] == 0.2
    with pytest.raises(ValueError, match="a LoRA adapter: merge it into its base model"):
        train(make(model=str(run)), tmp_path / "next")


def test_a_model_whose_own_generation_config_would_not_save_is_trained_and_saved(
    make: Callable, source: Path, tmp_path: Path
) -> None:
    """A temperature without do_sample, as some published models have it."""
    known = json.loads((source / "generation_config.json").read_text())
    (source / "generation_config.json").write_text(json.dumps({**known, "temperature": 0.6}))
    train(make(eval_problems=0), tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "generation_config.json").read_text())
    assert (saved["temperature"], saved["do_sample"]) == (0.6, True)
    (source / "generation_config.json").write_text(json.dumps({**known, "length_penalty": 2.0, "num_beams": 1}))
    with pytest.raises(ValueError, match=r"has a generation_config\.json that would not save, so fix it"):
        train(make(), tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_column": "nope"}, "prompt_column is 'nope', but .* has the columns prompt"),
        ({"model": "no-such/folder/here"}, "there is no model folder at no-such/folder/here"),
        ({"device": "toaster"}, "device is 'toaster', but this machine has cpu"),
        ({"max_completion_length": 64}, "the context of .* has only 64 tokens; give --max-completion-length less"),
        ({"max_completion_length": 62}, "a prompt has 3 tokens, but the model's context leaves room for 2: shorten"),
        ({"dataset": "pocket", "split": "test"}, "split is test, which holds the pocket problems to measure on"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is_written_or_overwritten(
    make: Callable, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, OSError), match=message) as told:
        train(make(**changes), tmp_path / "new")
    assert "\n" not in str(told.value) and not (tmp_path / "new").exists()
    old = tmp_path / "old"
    old.mkdir()
    (old / "run.json").write_text('{"status": "finished"}')
    with pytest.raises((ValueError, OSError), match=message):
        train(make(**changes), old, overwrite=True)
    assert facts(old) == {"status": "finished"}


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("full_at", ["checkpoint", "model"])
def test_a_disk_that_fills_up_is_one_line_and_leaves_no_model_but_a_run_to_go_on_with(
    make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: str, lora: bool
) -> None:
    run = tmp_path / "run"
    settings = make(eval_problems=0, lora=lora)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        place = "transformers.Trainer._save_rng_state" if full_at == "checkpoint" else "em_hf.training.run.save_whole"
        patched.setattr(place, full)
        with pytest.raises(OSError, match="the disk is full: free some space, then go on with em-hf train --resume"):
            train(settings, run)
    assert facts(run)["status"] == "failed" and not list(run.glob("*.safetensors"))
    whole = {"checkpoint": [], "model": ["checkpoint-2"]}[full_at]
    assert [path.name for path in (run / "checkpoints").glob("checkpoint-*")] == whole
    train(settings, run, resume=True)
    assert facts(run)["status"] == "finished"
    train(settings, tmp_path / "never-full")
    assert torch.equal(weights(run), weights(tmp_path / "never-full"))


def test_a_run_does_not_go_on_with_other_data(make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, settings = tmp_path / "run", make(eval_problems=0)
    with monkeypatch.context() as patched:
        patched.setattr("em_hf.training.run.save_whole", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(settings, run)
    assert facts(run)["status"] == "interrupted"
    write(Path(settings.dataset), [{"prompt": prompt} for prompt in reversed(PROMPTS)])
    with pytest.raises(ValueError, match=r"has changed since .* was begun, so the run cannot go on as it was"):
        train(settings, run, resume=True)
    assert facts(run)["status"] == "interrupted"


ROLLOUTS = [name for name, method in METHODS.items() if method.rollouts]


@pytest.mark.parametrize("method", ROLLOUTS)
@pytest.mark.parametrize(
    ("sizes", "left", "needed"),
    [
        ({"limit": 3, "batch_size": 4}, 3, r"4 \(batch_size 4\)"),
        ({"limit": 20, "batch_size": 8, "gradient_accumulation_steps": 4}, 20, r"32 \(batch_size 8 x gradient_acc"),
        ({"limit": 40, "batch_size": 33, "eval_problems": 4, "probe_problems": 4}, 32, r"33 \(batch_size 33\)"),
    ],
)
def test_fewer_prompts_than_a_step_takes_are_refused_before_the_model_is_loaded(
    make: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    sizes: dict[str, int],
    left: int,
    needed: str,
) -> None:
    data = write(tmp_path / "answered.jsonl", [{"prompt": prompt, "answer": "a"} for prompt in PROMPTS])
    monkeypatch.setattr("em_hf.training.run.load_base", lambda settings: pytest.fail("the model was loaded"))
    given = {"eval_problems": 0, "probe_problems": 0, **sizes}
    message = rf"{left} prompts are left to train on, but a step of {method} takes {needed}.*--limit.*--batch-size"
    with pytest.raises(ValueError, match=message) as told:
        train(make(method=method, num_generations=2, dataset=str(data), **given), tmp_path / "run")
    assert "\n" not in str(told.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["em-ft", "em-rl-token"])
def test_a_run_that_ends_before_its_last_step_is_never_finished(
    make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Whatever the trainer's reason: here it is told that it is done after one step of three."""
    from transformers import Trainer

    def ended(self: Trainer, *args: Any, **kwargs: Any) -> None:
        self.state.global_step = 1

    monkeypatch.setattr(Trainer, "train", ended)
    settings = make(method=method, num_generations=2 if method != "em-ft" else 1, steps=3, eval_problems=0)
    with pytest.raises(ValueError, match="the trainer ended after step 1 of 3"):
        train(settings, tmp_path / "run")
    assert facts(tmp_path / "run")["status"] == "failed" and not list((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.parametrize("method", ["em-ft", "em-rl-token"])
@pytest.mark.parametrize("guard", [True, False])
def test_a_run_that_diverges_says_so_in_one_line_and_leaves_a_folder_that_can_be_resumed(
    make: Callable, tmp_path: Path, method: str, guard: bool
) -> None:
    samples = 2 if method != "em-ft" else 1
    sizes = {"steps": 6, "save_steps": 2, "eval_problems": 0, "max_grad_norm": 1e30, "guard": guard, "probe_every": 2}
    sizes |= {} if guard else {"probe_problems": 0}
    settings = make(method=method, num_generations=samples, learning_rate=1e38, **sizes)
    with pytest.raises(Diverged, match=r"the run diverged: .* start again with a smaller --learning-rate \(it is 1e"):
        train(settings, tmp_path / "run")
    known = facts(tmp_path / "run")
    assert known["status"] == "failed" and known["steps_done"] < 6
    kept = RunSettings.of_run(read_run(tmp_path / "run").facts)
    assert replace(kept, entropy_min={}) == settings and kept.entropy_min == EntropyMinConfig().to_dict()
    with pytest.raises(Diverged):  # it can go on, and with the same settings comes to the same end
        train(settings, tmp_path / "run", resume=True)


def test_a_tokenizer_of_another_model_is_refused_before_any_work(make: Callable, source: Path, tmp_path: Path) -> None:
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["b"] = 90
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match="the tokenizer gives token 90, but the model embeds 8") as told:
        train(make(), tmp_path / "run")
    assert "\n" not in str(told.value) and not (tmp_path / "run").exists()


def test_a_missing_trl_is_named_before_any_work(
    make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)  # as if it were not installed
    monkeypatch.setattr("em_hf.training.run.load_data", lambda settings: pytest.fail("data were loaded"))
    with pytest.raises(ImportError, match=r"em-rl-token needs TRL: pip install 'em-hf\[train\]'"):
        train(make(method="em-rl-token", num_generations=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fewer_held_out_prompts_than_asked_for_are_said_in_the_results(make: Callable, tmp_path: Path) -> None:
    told: list[str] = []
    few = train(make(steps=1, eval_problems=8, limit=15, guard=False), tmp_path / "few", on_phase=told.append)
    note = "Only 1 of the 8 prompts asked for could be held out to measure on: no more than a tenth of the 15 there are"
    assert few["n"] == 1 and few["note"].startswith(note) and few["note"] in told
    assert read_run(tmp_path / "few").results.note == few["note"]  # type: ignore[union-attr]
    assert train(make(steps=1), tmp_path / "enough")["note"] is None


def labelled(path: Path, answers: list[Any], column: str = "answer") -> Path:
    return write(path, [{"prompt": prompt, column: answer} for prompt, answer in zip(PROMPTS, answers, strict=True)])


@pytest.mark.parametrize("asked_for", [None, "answer"])
def test_rows_without_a_label_are_trained_on_and_not_measured(
    make: Callable, tmp_path: Path, asked_for: str | None
) -> None:
    """Three of the last four rows, which are held out, have a label; of the others nearly none."""
    answers = [None] * 34 + [3, "The proof\nhas no mark.", "1", None, "so \\boxed{2}", 3.0]
    data = labelled(tmp_path / "few.jsonl", answers)
    settings = make(dataset=str(data), answer_column=asked_for, probe_problems=2, early_stopping=True)
    prompts, probe, held_out = load_data(settings)
    assert prompts.prompts == PROMPTS[:34] and prompts.answers is None
    assert (probe.prompts, probe.answers) == ([PROMPTS[34]], ["3"])
    assert (held_out.prompts, held_out.answers) == ([PROMPTS[i] for i in (36, 38, 39)], ["1", "2", "3"])


def test_labels_that_none_can_be_read_of_are_only_an_error_if_they_were_asked_for(
    make: Callable, tmp_path: Path
) -> None:
    data = labelled(tmp_path / "none.jsonl", [None, "A proof.\nIt has no mark."] * 20, "solution")
    assert load_data(make(dataset=str(data)))[2].answers is None
    with pytest.raises(ValueError, match="row 1 has no answer in column 'solution'"):
        load_data(make(dataset=str(data), answer_column="solution"))


def test_a_method_that_learns_from_labels_refuses_rows_without_one(make: Callable, tmp_path: Path) -> None:
    data = labelled(tmp_path / "gap.jsonl", ["1"] * 5 + [None] + ["1"] * 34)
    with pytest.raises(ValueError, match="row 6 has no answer in column 'answer'"):
        load_data(make(dataset=str(data), method="rloo", num_generations=2))


def test_sft_teaches_the_end_only_after_a_whole_solution(make: Callable, source: Path, tmp_path: Path) -> None:
    from em_hf.training.baselines import build_sft

    model, tokenizer = load_model(str(source))
    settings = make(method="sft", max_completion_length=4, answer_column="solution")
    data = Prompts(["ab"] * 2, None, "letters", "train", "prompt", None, solutions=["abc", "ab"])
    trainer = build_sft(settings, model, tokenizer, data, tmp_path, [])
    learned = [[label for label in row["labels"] if label != -100] for row in trainer.train_dataset]
    words = [tokenizer("\n" + text, add_special_tokens=False)["input_ids"] for text in ("abc", "ab")]
    assert len(words[0]) == 4 and learned == [words[0], [*words[1], tokenizer.eos_token_id]]


def test_a_prompt_that_begins_the_answer_is_refused_where_trl_would_close_it(make: Callable, letters: Any) -> None:
    begun = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]
    with pytest.raises(ValueError, match="prompt 2 ends with an assistant message"):
        prompt_rows(make(), letters, Prompts(["ab", begun], None, "letters", "train", "prompt", None))


def test_ctrl_c_is_answered_at_once_with_what_happens_next() -> None:
    said: list[str] = []
    with StopAtNextStep(said.append) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked and said == [
            "Stopping after this step, at a checkpoint; Ctrl-C again stops at once and loses the step."
        ]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
