"""The cost of EM-INF: a single step, a decode, and other ways to spend compute on an answer."""

import time
from typing import Any

import torch

from benchmarks import decode_overhead
from benchmarks.bench.lines import Line, Scale, paired
from benchmarks.common import interleaved, quartiles
from benchmarks.em_inf_step import CONTENDERS, DEFAULTS, oracle
from benchmarks.rows import QUESTIONS, decoded_rows, smollm2
from em_hf import minimize_entropy

STEP, DECODE, ANSWERS = "EM-INF step", "Decoding", "Answers to the same prompts"


def em_inf_step(scale: Scale) -> list[Line]:
    """Compare `minimize_entropy` on SmolLM2's own logits with the naive program and the plain closed form in torch."""
    torch.manual_seed(0)
    rows = decoded_rows(*smollm2(), chat=True, steps=min(24, scale.tokens))
    lines = []
    for batch in scale.batches:
        picks = [torch.randint(len(rows), (batch,)) for _ in range(scale.repeats)]
        calls = {
            "ours": lambda logits: minimize_entropy(logits, DEFAULTS),
            "oracle": lambda logits: oracle(logits, DEFAULTS),
            "dense": lambda logits: CONTENDERS["plain"](logits, DEFAULTS),
        }
        times = interleaved(calls, [rows[pick] for pick in picks])
        for name, against in (("oracle", "autograd and torch.optim.Adam"), ("dense", "the plain closed form in torch")):
            what = f"EM-INF step, batch {batch}"
            lines.append(paired(STEP, what, against, times["ours"].wall, times[name].wall))
    return lines


def decode(scale: Scale) -> list[Line]:
    """Compare sampling from SmolLM2 by transformers with EM-INF and without it."""
    model, tokenizer = smollm2()
    lines = []
    for batch in scale.batches[:2]:
        found = decode_overhead.measure(model, tokenizer, batch, scale.runs, scale.tokens, torch.get_num_threads())
        of = {one["name"]: one for one in found}
        share = of["ours"]["share_of_time"]
        speed = {
            name: {
                "q1": batch / of[name]["step_seconds"]["q3"],
                "median": batch / of[name]["step_seconds"]["median"],
                "q3": batch / of[name]["step_seconds"]["q1"],
            }
            for name in ("plain", "ours")
        }
        lines.append(
            Line(
                DECODE,
                f"transformers with EM-INF, batch {batch}",
                "without",
                "time",
                "tokens/s",
                speed["ours"],
                speed["plain"],
                of["ours"]["wall_over_plain"],
                scale.runs,
            )
        )
        inside, whole = of["ours"]["inside_seconds"], of["ours"]["step_seconds"]
        lines.append(
            Line(
                DECODE,
                f"EM-INF inside a decoding step, batch {batch}",
                "the whole step",
                "time",
                "ms",
                {k: v * 1e3 for k, v in inside.items()},
                {k: v * 1e3 for k, v in whole.items()},
                of["ours"]["share_of_step"],
                of["ours"]["steps"],
                target="at most 5%",
                met=share <= 0.05,
            )
        )
    return lines


def answers(scale: Scale) -> list[Line]:
    """Compare EM-INF with self-consistency on 4 samples and refinement with 3 drafts, one prompt at a time."""
    from em_hf.evaluation.model import EntropyMinLM
    from em_hf.evaluation.strategies import make_strategy
    from em_hf.flops import inference_flops, parameter_count

    model, tokenizer = smollm2()
    lm: Any = EntropyMinLM(model, tokenizer=tokenizer, batch_size=1)
    names = ["sampling", "em-inf", "self-consistency", "refinement"]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    flops: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, scale.prompts):  # the first warms up
        context = lm.apply_chat_template([{"role": "user", "content": QUESTIONS[turn % len(QUESTIONS)]}])
        length = 2 if turn < 0 else 3 * scale.tokens // 2
        for name in names[turn % 4 :] + names[: turn % 4]:
            torch.manual_seed(turn + 1)
            start = time.perf_counter()
            (answer,) = make_strategy(name).run(lm, [context], {"max_gen_toks": length, "until": []})
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
                flops[name].append(inference_flops(parameter_count(model), answer.tokens + answer.prompt_tokens))
    lines = []
    for name, against in (
        ("sampling", "sampling"),
        ("self-consistency", "self-consistency, N = 4"),
        ("refinement", "refinement, 3 drafts"),
    ):
        target: dict[str, Any] = {}
        if name == "self-consistency":  # the paper: about a third of its time
            ratio = quartiles([a / b for a, b in zip(seconds["em-inf"], seconds[name])])["median"]
            target = {"target": "a third, as the paper", "met": ratio <= 0.36}
        lines.append(paired(ANSWERS, "EM-INF", against, seconds["em-inf"], seconds[name], unit="s", factor=1, **target))
        costs = {"quantity": "FLOPs", "unit": "GFLOPs", "factor": 1e-9}
        lines.append(paired(ANSWERS, "EM-INF", against, flops["em-inf"], flops[name], **costs))
    return lines
