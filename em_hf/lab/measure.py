"""Held-out problems answered by a model under a strategy, and each answer marked."""

import re
import time
from dataclasses import replace
from typing import Any

from em_hf.answers import extract_answer, majority, same_answer
from em_hf.evaluation.confidence import sample_answers
from em_hf.evaluation.diagnose import diagnose
from em_hf.evaluation.model import EntropyMinLM
from em_hf.evaluation.strategies import make_strategy
from em_hf.evaluation.strategy import Completion, Strategy
from em_hf.flops import inference_flops, parameter_count
from em_hf.generation.config import EntropyMinConfig
from em_hf.lab.plan import AT_EQUAL_ENTROPY, EM_INF, Diagnosing, Measuring
from em_hf.pocket import problems
from em_hf.pocket.misread import WORD, fewer_problems
from em_hf.sampling import forked_rng, seed_batch

LENGTH = 160  # new tokens at most, as in training and as in the longest solution
ANSWERS_AT_ONCE = 256
VOTES = (4, 16)  # how many answers of each problem vote, where there are as many
DIAGNOSED_AT = (0.1, 0.3)  # thresholds of EM-INF that a diagnosis looks at
EQUATION = re.compile(r"(\d+) ([-+×÷]) (\d+) = (\d+)")


def rows_of(data: str, n: int) -> list[dict[str, str]]:
    """Return `n` problems: plain "test" or "validation" ones, "hard" ones, or of the test ones "fewer" or "others"."""
    if data == "hard":
        return problems("test", n, 0, level="hard")
    if data == "fewer":
        return fewer_problems("test", n, 0)
    if data == "others":
        return [row for row in problems("test", 2 * n, 0) if WORD not in row["prompt"]][:n]
    return problems(data, n, 0)


def strategy_of(job: Measuring, matched: dict[str, Any] | None) -> Strategy:
    """The strategy with the lab's settings; the baselines of EM-INF with those that leave as much entropy."""
    if job.strategy not in AT_EQUAL_ENTROPY:
        return make_strategy(job.strategy, entropy_min={**EM_INF, **dict(job.entropy_min)})
    if matched is None:
        raise ValueError(f"{job.name} needs the settings of equal entropy for {job.model}, which are not found yet")
    found = matched["settings"]
    if job.strategy == "fixed-temperature":
        return replace(make_strategy("sampling", temperature=found["temperature"]), name=job.strategy)
    if job.strategy == "min-p":
        return replace(make_strategy("sampling", min_p=found["min_p"]), name=job.strategy)
    return make_strategy(job.strategy, entropy_min=found["adaptive"])


def marked_answers(model: Any, tokenizer: Any, job: Measuring, matched: dict[str, Any] | None) -> dict[str, Any]:
    """For each problem `right` (the share of its answers), `tokens`, `flops` and `seconds` of an answer and `nats`, the
    mean entropy of the model's own distributions.

    Seconds are processor time of this process, which has one thread: other work on the machine does not count.
    """
    strategy = strategy_of(job, matched)
    rows = rows_of(job.data, job.problems)
    lm = EntropyMinLM(model, tokenizer=tokenizer, batch_size=ANSWERS_AT_ONCE)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["prompt"]))
    at_once = max(1, ANSWERS_AT_ONCE // (job.samples * strategy.answers))
    found: dict[int, list[Completion]] = {}
    with forked_rng(lm.device):
        for start in range(0, len(order), at_once):
            part = order[start : start + at_once]
            contexts = [rows[i]["prompt"] for i in part for _ in range(job.samples)]
            seed_batch(0, start)
            started = time.process_time()
            drawn = strategy.run(lm, contexts, {"max_gen_toks": LENGTH})
            share = (time.process_time() - started) / len(drawn)
            for place, i in enumerate(part):
                ones = drawn[place * job.samples : (place + 1) * job.samples]
                found[i] = [replace(one, seconds=share) for one in ones]
    parameters = parameter_count(model)
    return {
        "strategy": strategy.describe(),
        "parameters": parameters,
        **_by_problem([found[i] for i in range(len(rows))], rows, parameters),
    }


def _by_problem(found: list[list[Completion]], rows: list[dict[str, str]], parameters: int) -> dict[str, list[float]]:
    names = ("right", "steps", "tokens", "flops", "seconds", "nats")
    made: dict[str, list[float]] = {name: [] for name in names}
    for ones, row in zip(found, rows, strict=True):
        n, tokens = len(ones), sum(one.tokens for one in ones)
        through = tokens + sum(one.prompt_tokens for one in ones)
        answers = [extract_answer(one.text) for one in ones]
        made["right"].append(sum(same_answer(row["answer"], answer) for answer in answers) / n)
        made["steps"].append(sum(right_steps(one.text, row["solution"]) for one in ones) / n)
        made["tokens"].append(tokens / n)
        made["flops"].append(inference_flops(parameters, through) / n)
        made["seconds"].append(sum(one.seconds for one in ones) / n)
        made["nats"].append(sum(one.nats or 0.0 for one in ones) / max(1, tokens))
        for k in VOTES:
            if n >= k:
                made.setdefault(f"votes_{k}", []).append(float(same_answer(row["answer"], majority(answers[:k]))))
    return made


def right_steps(text: str, solution: str) -> float:
    """Return the share of the solution's equations that stand in `text` in the same place.

    Example:

        >>> right_steps("That is 2 + 3 = 5 nuts.\\n5 × 2 = 11", "2 + 3 = 5\\n5 × 2 = 10")
        0.5
    """
    wanted, written = EQUATION.findall(solution), EQUATION.findall(text)
    return sum(a == b for a, b in zip(wanted, written, strict=False)) / len(wanted)


def diagnosed(model: Any, tokenizer: Any, job: Diagnosing) -> dict[str, Any]:
    """Return what `em-hf diagnose` says, before any training, from eight answers to each problem."""
    rows = rows_of(job.data, job.problems)
    found = sample_answers(
        model,
        tokenizer,
        [row["prompt"] for row in rows],
        [row["answer"] for row in rows],
        configs={value: EntropyMinConfig.from_dict({**EM_INF, "threshold": value}) for value in DIAGNOSED_AT},
        max_new_tokens=LENGTH,
        batch_size=256,
    )
    return diagnose(found).to_dict()
