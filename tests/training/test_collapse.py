"""EntropyCollapseCallback: its verdicts by hand, a real collapse, the best weights, early stopping and resuming."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from em_hf import EMFTConfig, EMFTTrainer, EntropyCallback, EntropyCollapseCallback
from em_hf.models import load_model
from em_hf.pocket import problems
from em_hf.training.checkpoints import BestWeights
from em_hf.training.collapse import Limits, Verdict, judge
from em_hf.training.measure import measure
from em_hf.training.trace import Reading

PROMPTS = ["ab", "c", "bca", "d"]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# --- the verdict, a function of the readings -------------------------------------------------------------------------


def reading(step: int, right: int | None = None, **changes: Any) -> Reading:
    """A healthy reading, of which the first `right` of 40 problems were right."""
    usual = {"entropy": 1.0, "log_prob": -1.0, "completion_length": 30.0, "lines": 4.0, "repetition": 0.05}
    if right is not None:
        usual |= {"accuracy": right / 40, "right": (1.0,) * right + (0.0,) * (40 - right)}
    return Reading(step=step, **{**usual, **changes})


@pytest.mark.parametrize(
    ("now", "why"),
    [
        # where the accuracy is known it speaks first, and a model that is as good as it was is well
        ({"right": 8}, "validation accuracy fell below that of the start"),
        ({"right": 8, "kl": 9.0, "completion_length": 1.0}, "validation accuracy fell below that of the start"),
        ({"right": 20, "kl": 9.0, "completion_length": 1.0, "entropy": 0.0, "repetition": 0.9}, None),
        # one problem in 40 may be chance, but with another sign it is none; KL before length
        ({"right": 19}, None),
        ({"right": 19, "kl": 9.0, "completion_length": 1.0}, "the KL to the reference model is 9.00 nats a token"),
        ({"right": 19, "completion_length": 17.0}, "completions shrank from 30.0 to 17.0 tokens"),
        ({"right": 19, "lines": 2.0}, "completions shrank from 4.0 to 2.0 written lines"),
        ({"right": 19, "repetition": 0.6}, "60% of a completion's 4-grams repeat"),
        ({"right": 19, "entropy": 0.01}, "the token entropy fell from 1 to 0.01 nats"),
        ({"right": 19, "kl": 0.19, "completion_length": 19.0, "entropy": 0.06, "repetition": 0.3}, None),
        # where it is not known, KL and length speak, low entropy and repetition only together
        ({"kl": 0.21}, "the KL to the reference model is 0.21 nats a token"),
        ({"completion_length": 17.0}, "completions shrank from 30.0 to 17.0 tokens"),
        ({"entropy": 0.001}, None),
        ({"repetition": 0.95}, None),
        ({"entropy": 0.001, "repetition": 0.95}, "4-grams repeat"),
        ({"completion_length": 300.0}, None),
    ],
)
def test_the_signs_are_believed_in_their_order(now: dict[str, Any], why: str | None) -> None:
    right = now.get("right")
    run = [reading(0, None if right is None else 20), reading(10, **now)]
    verdict = judge(run, Limits())
    assert verdict.collapsed == (why is not None)
    if why is not None:
        assert verdict.why is not None and why in verdict.why
        assert (verdict.step, verdict.best_step) == (10, 0)


def test_a_run_stops_early_after_as_many_readings_below_the_best_as_it_has_patience() -> None:
    run = [reading(0, 10), reading(10, 40), reading(20, 28), reading(30, 28), reading(40, 28)]
    verdict = judge(run, Limits(patience=3))
    assert (verdict.collapsed, verdict.step, verdict.best_step) == (False, 40, 10)
    assert verdict.why is not None and "for 3 readings" in verdict.why and "-30.0 points" in verdict.why
    assert judge(run, Limits(patience=2)).step == 30
    assert judge(run, Limits(patience=4)).step is None
    # a reading that may be as good as the best, one problem of 40 below it, starts the count anew
    assert judge([*run[:3], reading(30, 39), *run[4:]], Limits(patience=2)).step is None


def test_a_plateau_within_the_interval_is_no_reason_to_stop() -> None:
    run = [reading(0, 10), reading(10, 38), *(reading(step, 37) for step in range(20, 100, 10))]
    assert judge(run, Limits(patience=1)) == Verdict(best_step=10)


def test_a_verdict_does_not_change_with_the_readings_that_come_after() -> None:
    run = [reading(0, 20), reading(10, 30), reading(20, 2)]
    verdict = judge(run, Limits())
    assert verdict.collapsed and judge([*run, reading(30, 40)], Limits()) == verdict


def test_where_answers_are_unknown_the_last_reading_before_the_collapse_is_the_best() -> None:
    run = [reading(0), reading(10), reading(20), reading(30, completion_length=2.0)]
    assert judge(run, Limits()).best_step == 20
    assert judge(run[:3], Limits()).best_step == 20
    assert judge([], Limits()) == Verdict()


# The pocket reasoner under EM-RL-token, recorded: 16 prompts x 4 rollouts a step, learning rate 3e-4, β 0.001, 64
# validation problems. It learns to leave equations out; its entropy rises and nothing repeats.
RECORDED = [
    {"step": 0, "entropy": 0.0476, "completion_length": 37.9, "lines": 3.80, "repetition": 0.006, "kl": None},
    {"step": 3, "entropy": 0.0525, "completion_length": 37.5, "lines": 3.77, "repetition": 0.008, "kl": 0.0002},
    {"step": 6, "entropy": 0.0583, "completion_length": 33.9, "lines": 3.48, "repetition": 0.002, "kl": 0.0144},
    {"step": 9, "entropy": 0.0626, "completion_length": 29.0, "lines": 3.06, "repetition": 0.001, "kl": 0.2701},
    {"step": 12, "entropy": 0.0619, "completion_length": 24.7, "lines": 2.72, "repetition": 0.001, "kl": 0.2827},
    {"step": 15, "entropy": 0.0624, "completion_length": 21.8, "lines": 2.47, "repetition": 0.000, "kl": 0.4794},
]
RIGHT = [38, 35, 16, 14, 8, 6]


@pytest.mark.parametrize(
    ("known", "step", "why"),
    [
        (("accuracy", "kl", "length"), 6, "validation accuracy"),
        (("kl", "length"), 9, "KL to the reference"),
        (("length",), 15, "completions shrank"),
        ((), None, None),
    ],
)
def test_a_recorded_collapse_is_heard_from_accuracy_first_then_kl_then_length(
    known: tuple[str, ...], step: int | None, why: str | None
) -> None:
    run = []
    for facts, right in zip(RECORDED, RIGHT, strict=True):
        seen = Reading(**facts)  # type: ignore[arg-type]
        if "accuracy" in known:
            seen = replace(seen, accuracy=right / 64, right=(1.0,) * right + (0.0,) * (64 - right))
        if "kl" not in known:
            seen = replace(seen, kl=None)
        if "length" not in known:
            seen = replace(seen, completion_length=None, lines=None)
        run.append(seen)
    verdict = judge(run, Limits())
    assert verdict.step == step and verdict.collapsed == (step is not None)
    assert why is None or why in str(verdict.why)


# --- a real collapse -------------------------------------------------------------------------------------------------


def test_a_pocket_reasoner_that_collapses_ends_with_its_best_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """EM-FT gets better at first, then the learning rate, raised a hundredfold, drives it into repetition."""
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    validation, test = problems("validation", 48, seed=0), problems("test", 150, seed=0)

    def accuracy() -> float:
        held_out = [p["prompt"] for p in test], [p["answer"] for p in test]
        return measure(model, tokenizer, *held_out, name="row", max_new_tokens=64).accuracy or 0.0

    base = accuracy()
    args = EMFTConfig(
        output_dir=str(tmp_path),
        max_steps=24,
        per_device_train_batch_size=16,
        learning_rate=3e-4,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        max_completion_length=64,
        loss_reduction="token_mean",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    rows = [{"prompt": p["prompt"]} for p in problems("train", 400, seed=0)]
    t = EMFTTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
    probe = EntropyCallback(
        t, [p["prompt"] for p in validation], [p["answer"] for p in validation], every=4, max_new_tokens=64
    )
    guard = EntropyCollapseCallback(t, probe)
    at: dict[int, dict[str, torch.Tensor]] = {}

    class TooFast(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            at[state.global_step] = weights(model)
            if state.global_step == 8:
                t.lr_scheduler.base_lrs = [3e-2, 3e-2]  # type: ignore[union-attr]

    for callback in (TooFast(), probe, guard):
        t.add_callback(callback)
    with caplog.at_level(logging.WARNING, "em_hf"):
        t.train()
    verdict = guard.verdict
    assert verdict.collapsed and verdict.step is not None and verdict.step < 24
    assert verdict.best_step in (4, 8)
    assert t.state.global_step == verdict.step
    accuracies = {r.step: r.accuracy for r in probe.readings}
    assert accuracies[verdict.step] < accuracies[0] < accuracies[verdict.best_step]  # type: ignore[operator]
    assert_equal(weights(model), at[verdict.best_step])
    assert not torch.equal(weights(model)["model.norm.weight"], at[verdict.step]["model.norm.weight"])
    kept = load_file(tmp_path / "best" / "model.safetensors")
    assert_equal(weights(model), {name: kept[name] for name in weights(model)})
    assert accuracy() > base + 0.05
    stopped = [record.message for record in caplog.records if "collapsed" in record.message]
    assert stopped == [f"Training collapsed at step {verdict.step}: {verdict.why}."]
    assert "validation accuracy fell below that of the start" in str(verdict.why)
    loaded, _ = load_model(str(tmp_path / "best"), device="cpu")
    assert_equal(weights(loaded), weights(model))


# --- the best weights, and runs whose accuracy is scripted -----------------------------------------------------------


def scripted(monkeypatch: pytest.MonkeyPatch, rights: dict[int, int | None], **changes: dict[int, Any]) -> None:
    """The probe's readings are these, by step, instead of measured."""

    def take(*args: Any, step: int, **kwargs: Any) -> Reading:
        return reading(step, rights[step], **{name: values[step] for name, values in changes.items()})

    monkeypatch.setattr("em_hf.training.callbacks.probe_model", take)


class Notes(TrainerCallback):
    """Keeps the weights after each step in memory."""

    def __init__(self, model: Any) -> None:
        self.model, self.at = model, {0: weights(model)}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.at[state.global_step] = weights(self.model)


def guarded(
    model: Any, tokenizer: Any, folder: Path, *, guard_first: bool = False, settings: dict | None = None, **guard: Any
) -> tuple[EMFTTrainer, EntropyCollapseCallback, Notes]:
    args = EMFTConfig(
        output_dir=str(folder),
        **{
            "max_steps": 6,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "max_completion_length": 3,
            "report_to": "none",
            "use_cpu": True,
            "save_strategy": "no",
            "disable_tqdm": True,
            "logging_steps": 1,
            **(settings or {}),
        },
    )
    t = EMFTTrainer(model, args, train_dataset=[{"prompt": p} for p in PROMPTS], processing_class=tokenizer)
    probe = EntropyCallback(t, PROMPTS, every=1, max_new_tokens=3)
    watch, notes = EntropyCollapseCallback(t, probe, **guard), Notes(model)
    for callback in [watch, probe, notes] if guard_first else [notes, probe, watch]:
        t.add_callback(callback)
    return t, watch, notes


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("guard_first", [False, True])
def test_a_healthy_run_too_ends_with_its_most_accurate_weights(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: bool, guard_first: bool
) -> None:
    model = letter_model()
    if lora:
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    scripted(monkeypatch, {0: 20, 1: 22, 2: 30, 3: 30, 4: 29, 5: 28, 6: 29})
    t, guard, notes = guarded(model, letters, tmp_path, guard_first=guard_first)
    t.train()
    assert guard.verdict == Verdict(best_step=2)
    assert t.state.global_step == 6
    assert_equal(weights(model), notes.at[2])
    assert not torch.equal(*(torch.cat([p.flatten() for p in notes.at[i].values()]) for i in (2, 6)))
    if lora:
        assert not (tmp_path / "best" / "model.safetensors").exists()
        base = letter_model()
        again = peft.PeftModel.from_pretrained(base, tmp_path / "best", is_trainable=True)
    else:
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "best")
    assert_equal(weights(again), notes.at[2])


def test_early_stopping_ends_the_run_and_says_so(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    scripted(monkeypatch, {0: 20, 1: 38, 2: 25, 3: 25, 4: 25, 5: 25, 6: 25})
    model = letter_model()
    t, guard, notes = guarded(model, letters, tmp_path, patience=2)
    t.train()
    assert (guard.verdict.collapsed, guard.verdict.step, guard.verdict.best_step) == (False, 3, 1)
    assert t.state.global_step == 3
    assert_equal(weights(model), notes.at[1])
    assert "Training is stopped early at step 3: validation accuracy has been below its best" in caplog.text


def test_without_answers_a_collapse_goes_back_to_the_last_healthy_reading_and_health_to_nothing(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = dict.fromkeys(range(7))
    scripted(monkeypatch, steps, completion_length={**dict.fromkeys(range(7), 30.0), 4: 3.0})
    model = letter_model()
    t, guard, notes = guarded(model, letters, tmp_path / "collapsed")
    t.train()
    assert (guard.verdict.collapsed, guard.verdict.step, guard.verdict.best_step) == (True, 4, 3)
    assert_equal(weights(model), notes.at[3])
    scripted(monkeypatch, steps)
    model = letter_model()
    t, guard, notes = guarded(model, letters, tmp_path / "healthy")
    t.train()
    assert guard.verdict == Verdict(best_step=6)
    assert_equal(weights(model), notes.at[6])


def test_nothing_is_kept_or_restored_where_that_is_not_wanted(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, {0: 20, 1: 30, 2: 5})
    model = letter_model()
    t, guard, notes = guarded(model, letters, tmp_path, restore_best=False)
    t.train()
    assert (guard.verdict.collapsed, guard.verdict.step, guard.verdict.best_step) == (True, 2, 1)
    assert_equal(weights(model), notes.at[2])
    assert not (tmp_path / "best").exists()


def test_a_kl_that_the_trainer_logs_is_heard(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, dict.fromkeys(range(7)))
    t, guard, _ = guarded(letter_model(), letters, tmp_path, max_kl=0.2)
    log = EMFTTrainer.log
    monkeypatch.setattr(EMFTTrainer, "log", lambda s, logs, *a: log(s, {**logs, "kl": 0.1 * s.state.global_step}, *a))
    t.train()
    # the reading after step 4 knows the KL logged after step 3
    assert (guard.verdict.step, guard.verdict.best_step) == (4, 3)
    assert "KL to the reference model is 0.30 nats" in str(guard.verdict.why)


def test_without_a_probe_the_trainers_own_logs_are_judged(letter_model: Callable, tmp_path: Path) -> None:
    """Mean lengths of 30, 26, then 10 over three windows of two steps: the third is below 0.6 of the first."""
    lengths = {1: 40, 2: 20, 3: 30, 4: 22, 5: 16, 6: 4}

    class LikeTRL(Trainer):
        def log(self, logs: dict[str, float], *args: Any) -> None:
            super().log({**logs, "completions/mean_length": lengths[self.state.global_step]}, *args)

    model = letter_model()
    args = TrainingArguments(
        str(tmp_path), max_steps=8, report_to="none", use_cpu=True, disable_tqdm=True, logging_steps=1
    )
    rows = [{"input_ids": [2, 3, 4], "labels": [2, 3, 4]}] * 8
    t, notes = LikeTRL(model, args, train_dataset=rows), Notes(model)  # type: ignore[arg-type]
    guard = EntropyCollapseCallback(t, every=2)
    t.add_callback(notes)
    t.add_callback(guard)
    t.train()
    assert (guard.verdict.collapsed, guard.verdict.step, guard.verdict.best_step) == (True, 6, 4)
    assert "completions shrank from 30.0 to 10.0 tokens" in str(guard.verdict.why)
    assert_equal(weights(model), notes.at[4])
    lines = [json.loads(line) for line in (tmp_path / "guard.jsonl").read_text().splitlines()]
    assert [(line["step"], line["completion_length"]) for line in lines] == [(2, 30.0), (4, 26.0), (6, 10.0)]


def test_a_run_killed_and_resumed_is_guarded_as_one_that_was_not(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after step 5, when the best weights are those of step 4, and resumed from the checkpoint of step 3."""
    scripted(monkeypatch, {0: 20, 1: 30, 2: 22, 3: 29, 4: 36, 5: 25, 6: 24, 7: 23, 8: 30})
    settings = {"save_strategy": "steps", "save_steps": 3, "max_steps": 8}
    model = letter_model()
    t, whole, notes = guarded(model, letters, tmp_path / "whole", settings=settings)
    t.train()
    assert (whole.verdict.step, whole.verdict.best_step) == (7, 4)
    assert_equal(weights(model), notes.at[4])

    class Dies(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 5:
                raise RuntimeError("killed")

    t, _, _ = guarded(letter_model(), letters, tmp_path / "cut", settings=settings)
    t.add_callback(Dies())
    with pytest.raises(RuntimeError, match="killed"):
        t.train()
    model = letter_model(seed=9)
    t, resumed, _ = guarded(model, letters, tmp_path / "cut", settings=settings)
    t.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-3"))
    assert resumed.verdict == whole.verdict
    assert resumed.readings == whole.readings
    assert_equal(weights(model), notes.at[4])


def test_a_run_that_had_been_stopped_stops_again_when_resumed(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, {0: 20, 1: 30, 2: 3, 3: 40, 4: 40})
    settings = {"save_strategy": "steps", "save_steps": 1}
    t, first, notes = guarded(letter_model(), letters, tmp_path, settings=settings)
    t.train()
    model = letter_model(seed=9)
    t, again, _ = guarded(model, letters, tmp_path, settings=settings)
    t.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.verdict == first.verdict and again.verdict.step == 2
    assert_equal(weights(model), notes.at[1])


def test_a_new_run_in_the_same_folder_forgets_the_weights_of_the_one_before(
    letter_model: Callable, letters: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, {0: 20, **dict.fromkeys(range(1, 7), 39)})
    guarded(letter_model(), letters, tmp_path)[0].train()
    scripted(monkeypatch, {0: 19, **dict.fromkeys(range(1, 7), 21)})
    model = letter_model(seed=4)
    t, guard, notes = guarded(model, letters, tmp_path)
    t.train()
    assert guard.verdict.best_step == 1
    assert [r.accuracy for r in guard.readings] == [19 / 40] + [21 / 40] * 6
    assert_equal(weights(model), notes.at[1])


def test_weights_are_kept_whole_or_not_at_all(
    letter_model: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    best = BestWeights(letter_model(), tmp_path)
    assert best.facts() is None
    best.keep(step=1)
    before = (tmp_path / "model.safetensors").read_bytes()
    save = safetensors.torch.save_file

    def dies(tensors: Any, path: Path, **kwargs: Any) -> None:
        save(tensors, path, **kwargs)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", dies)
    with torch.no_grad():
        best.model.lm_head.weight.add_(1)
    with pytest.raises(OSError, match="No space"):
        best.keep(step=2)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    facts = best.facts()
    assert facts is not None and facts["step"] == "1"


def test_only_what_is_trained_is_kept_and_tied_weights_once(letter_model: Callable, tmp_path: Path) -> None:
    model = letter_model(tie_word_embeddings=True)
    model.model.norm.weight.requires_grad_(False)
    best = BestWeights(model, tmp_path)
    best.keep(step=3)
    kept = load_file(tmp_path / "model.safetensors")
    assert "model.norm.weight" not in kept and "lm_head.weight" not in kept and "model.embed_tokens.weight" in kept
    wanted = weights(model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    best.restore()
    assert_equal(weights(model), wanted)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert float(model.model.norm.weight[0]) == 2  # frozen, so not ours to put back


def test_weights_of_another_model_are_refused(letter_model: Callable, tmp_path: Path) -> None:
    BestWeights(letter_model(), tmp_path).keep(step=1)
    with pytest.raises(ValueError, match="another model"):
        BestWeights(letter_model(hidden_size=8), tmp_path).restore()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patience": 0}, "patience is 0"),
        ({"every": 0}, "every is 0"),
        ({"max_kl": 0.0}, r"max_kl is 0\.0"),
        ({"min_length": 1.0}, r"min_length is 1\.0"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(
    letter_model: Callable, letters: Any, tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        guarded(letter_model(), letters, tmp_path, **change)


def test_the_verdict_is_plain_data() -> None:
    verdict = replace(Verdict(best_step=3), collapsed=True, step=5, why="x")
    assert json.loads(json.dumps(verdict.to_dict())) == {"collapsed": True, "step": 5, "why": "x", "best_step": 3}
