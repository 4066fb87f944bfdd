"""Held-out problems answered by a model under a strategy, and each answer marked."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from em_hf.answers import extract_answer, majority, same_answer
from em_hf.evaluation.confidence import sample_answers
from em_hf.evaluation.diagnose import diagnose
from em_hf.evaluation.model import EntropyMinLM
from em_hf.evaluation.strategies import make_strategies
from em_hf.evaluation.strategy import Completion, Strategy
from em_hf.evaluation.tuning import tune
from em_hf.flops import inference_flops, parameter_count
from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.mixin import settings_of_model
from em_hf.lab.plan import DIAGNOSIS_SAMPLES, KINDS, Diagnosing, Measuring, Tuning
from em_hf.lab.steps import all_true, same_steps
from em_hf.pocket import problems
from em_hf.pocket.misread import fewer_problems, other_problems
from em_hf.sampling import forked_rng, seed_batch

Row = dict[str, str]

ANSWERS_AT_ONCE = 256
VOTES = (4, 16)  # answers per vote


def rows_of(data: str, n: int, split: str = "test") -> list[Row]:
    """Return `n` problems: of a level, or of the plain ones those with "fewer" or the others."""
    if data not in KINDS:
        return problems(split, n, 0, level=data)
    return (fewer_problems if data == "fewer" else other_problems)(split, n, 0)


def strategy_of(job: Measuring, em_inf: EntropyMinConfig, found: dict[str, Any] | None = None) -> Strategy:
    """Return a measurement's strategy.

    Args:
        em_inf: The settings stored with the model.
        found: By strategy, what was found by tuning or at equal entropy, for the settings that are not stored.

    Raises:
        ValueError: The settings have not been found yet.
    """
    if job.settings == "stored":
        strategy = stored_strategy(job.strategy, em_inf)
        changes: dict[str, Any] = dict(job.entropy_min)
        return replace(strategy, entropy_min=replace(em_inf, **changes)) if changes else strategy
    if found is None:
        raise ValueError(f"{job.name} needs {job.settings} settings for {job.model}, which are not found yet")
    values = dict(found[job.strategy])
    if values["entropy_min"] is not None:
        values["entropy_min"] = EntropyMinConfig.from_dict(values["entropy_min"])
    return Strategy(**values)


def stored_strategy(name: str, em_inf: EntropyMinConfig) -> Strategy:
    """Return a strategy with the registry's settings, and EM-INF's stored with the model."""
    return make_strategies([name], stored=em_inf)[0]


def answers(
    model: Any, tokenizer: Any, strategy: Strategy, rows: Sequence[Row], samples: int, max_new_tokens: int
) -> list[list[Completion]]:
    """Return `samples` answers to each problem, in the order of `rows`.

    Seconds are processor time of this process, which has one thread: other work on the machine does not count.
    """
    lm = EntropyMinLM(model, tokenizer=tokenizer, batch_size=ANSWERS_AT_ONCE)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["prompt"]))
    at_once = max(1, ANSWERS_AT_ONCE // (samples * strategy.answers))
    found: dict[int, list[Completion]] = {}
    with forked_rng(lm.device):
        for start in range(0, len(order), at_once):
            part = order[start : start + at_once]
            contexts = [rows[i]["prompt"] for i in part for _ in range(samples)]
            seed_batch(0, start)
            started = time.process_time()
            drawn = iter(strategy.run(lm, contexts, {"max_gen_toks": max_new_tokens}))
            share = (time.process_time() - started) / len(contexts)
            for i in part:
                found[i] = [replace(one, seconds=share) for one in islice(drawn, samples)]
    return [found[i] for i in range(len(rows))]


def marked_answers(
    model: Any, tokenizer: Any, job: Measuring, max_new_tokens: int, found: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a measurement: for each problem the marks of its answers and what an answer took.

    `right`, `true` and `faithful` are shares of a problem's answers: with the right answer; whose equations are all
    true; that are right by the generator's own steps. `votes` has, by number of answers per vote, the share of votes
    that are right; `nats` is the mean entropy of the model's own distributions.
    """
    strategy = strategy_of(job, settings_of_model(model), found)
    rows = rows_of(job.data, job.problems, job.split)
    drawn = answers(model, tokenizer, strategy, rows, job.samples, max_new_tokens)
    parameters = parameter_count(model)
    marks = [_marks(ones, row, parameters) for ones, row in zip(drawn, rows, strict=True)]
    made: dict[str, Any] = {"strategy": strategy.describe(), "parameters": parameters}
    made |= {name: [mark[name] for mark in marks] for name in marks[0]}
    votes = [_votes(ones, row["answer"]) for ones, row in zip(drawn, rows, strict=True)]
    return {**made, "votes": {size: [vote[size] for vote in votes] for size in votes[0]}}


def _marks(ones: list[Completion], row: Row, parameters: int) -> dict[str, float]:
    n, tokens = len(ones), sum(one.tokens for one in ones)
    through = tokens + sum(one.prompt_tokens for one in ones)
    right = [same_answer(row["answer"], extract_answer(one.text)) for one in ones]
    return {
        "right": sum(right) / n,
        "true": sum(all_true(one.text) for one in ones) / n,
        "faithful": sum(is_right and same_steps(one.text, row["solution"]) for is_right, one in zip(right, ones)) / n,
        "tokens": tokens / n,
        "flops": inference_flops(parameters, through) / n,
        "seconds": sum(one.seconds for one in ones) / n,
        "nats": sum(one.nats or 0.0 for one in ones) / max(1, tokens),
    }


def _votes(ones: list[Completion], answer: str) -> dict[str, float]:
    """Return the share of right votes by the number of answers per vote, of as many votes as the answers allow."""
    given = [extract_answer(one.text) for one in ones]
    sizes = [size for size in VOTES if size <= len(given)]
    groups = {size: [given[i : i + size] for i in range(0, len(given) - size + 1, size)] for size in sizes}
    return {
        str(size): sum(same_answer(answer, majority(group)) for group in found) / len(found)
        for size, found in groups.items()
    }


def tuned_strategy(model: Any, tokenizer: Any, job: Tuning, max_new_tokens: int) -> dict[str, Any]:
    """Return a strategy's best settings on validation problems, and all trials, as `em-hf eval --tune` finds them."""
    rows = rows_of(job.data, job.problems, "validation")

    def accuracy(strategy: Strategy) -> float:
        drawn = answers(model, tokenizer, strategy, rows, 1, max_new_tokens)
        return sum(
            same_answer(row["answer"], extract_answer(one.text)) for (one,), row in zip(drawn, rows, strict=True)
        ) / len(rows)

    (best,), trials = tune([stored_strategy(job.strategy, settings_of_model(model))], job.trials, accuracy)
    return {"strategies": {job.strategy: best.to_dict()}, "trials": [asdict(trial) for trial in trials]}


def diagnosed(model: Any, tokenizer: Any, job: Diagnosing, max_new_tokens: int) -> dict[str, Any]:
    """Return what `em-hf diagnose` says before any training, with EM-INF as stored with the model."""
    rows = rows_of(job.data, job.problems, "validation")
    em_inf = settings_of_model(model)
    found = sample_answers(
        model,
        tokenizer,
        [row["prompt"] for row in rows],
        [row["answer"] for row in rows],
        samples=DIAGNOSIS_SAMPLES,
        configs={em_inf.threshold: em_inf},
        max_new_tokens=max_new_tokens,
        batch_size=ANSWERS_AT_ONCE,
    )
    return diagnose(found).to_dict()
