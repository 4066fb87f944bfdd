"""Predictions of `em-hf train --plan` against EM-FT and EM-RL steps as run: FLOPs and peak memory on SmolLM2.

    python -m benchmarks.plan_check [--quick] [--output FILE.json]

Every measurement is a separate process, in float32 on one thread: two steps, whose samples all have the planned length.
FLOPs are those that torch's FlopCounterMode counts in the second step (with attention as plain matrix products, which
it can count). Memory is the peak of the process above its baseline with everything imported and no model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import describe, environment, table, write
from benchmarks.rows import QUESTIONS


@dataclass(frozen=True)
class Case:
    """A run of two steps: prompts per batch, batches per step, tokens per sample, and how it is trained."""

    batch: int
    completion: int
    batches: int = 1
    checkpointing: bool = False
    lora: bool = False
    method: str = "em-ft"


FLOPS = (Case(2, 32), Case(4, 96), Case(4, 96, lora=True), Case(1, 32, method="em-rl-token"))
MEMORY = (
    Case(1, 16),
    Case(4, 64),
    Case(8, 128),
    Case(4, 64, batches=2),
    Case(8, 128, checkpointing=True),
    Case(4, 64, lora=True),
    Case(1, 32, method="em-rl-token"),
)
QUICK = (Case(2, 32),)


def settings_of(case: Case) -> Any:
    from em_hf.training.settings import RunSettings

    rl = {"num_generations": 4, "beta": 0.001} if case.method != "em-ft" else {}
    return RunSettings(
        method=case.method,
        model="SmolLM2-135M-Instruct",
        dataset="none",
        dtype="float32",
        device="cpu",
        steps=2,
        batch_size=case.batch,
        gradient_accumulation_steps=case.batches,
        max_completion_length=case.completion,
        gradient_checkpointing=case.checkpointing,
        lora=case.lora,
        **rl,
    )


def trainer_of(case: Case, model: Any, tokenizer: Any, folder: str) -> Any:
    """Return the trainer of such a run, with samples that never end early."""
    from em_hf.data import Prompts
    from em_hf.methods import METHODS

    data = Prompts([QUESTIONS[0]] * case.batch * case.batches * 2, None, "questions", "train", "prompt", None)
    settings = settings_of(case)
    trainer = METHODS[case.method].builder()(settings, model, tokenizer, data, Path(folder), [])
    trainer.args.save_strategy = "no"
    trainer.generation_config.min_new_tokens = case.completion
    return trainer


def measured(kind: str, case: Case) -> dict[str, float]:
    """Return the second step's FLOPs, or the peak bytes of both steps above the baseline, run in this process."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import TrainerCallback

    from benchmarks.rows import smollm2
    from em_hf.methods import METHODS
    from em_hf.models import encode_prompts
    from em_hf.training.compute import process_peak

    METHODS[case.method].builder()
    torch.set_num_threads(1)
    counter = FlopCounterMode(display=False)

    class Counted(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if kind == "flops" and state.global_step == 1:
                counter.__enter__()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if kind == "flops" and state.global_step == 1:
                counter.__exit__(None, None, None)

    warm_up()
    before = process_peak()
    model, tokenizer = smollm2()
    if kind == "flops":
        model.set_attn_implementation("eager")
    prompt = encode_prompts(tokenizer, [QUESTIONS[0]])["input_ids"].shape[1]
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(case, model, tokenizer, folder)
        trainer.add_callback(Counted())
        trainer.train()
    value = counter.get_total_flops() if kind == "flops" else process_peak() - before
    return {"value": float(value), "prompt": prompt}


def warm_up() -> None:
    """Run two steps of a 4 kB model, so that what a first step loads is loaded before the baseline is read."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from em_hf.pocket import POCKET_REASONER

    tokenizer = AutoTokenizer.from_pretrained(POCKET_REASONER, padding_side="left")
    torch.manual_seed(0)
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, **sizes))
    with tempfile.TemporaryDirectory() as folder:
        trainer_of(Case(1, 4), model, tokenizer, folder).train()


def planned(kind: str, case: Case, prompt: int) -> float:
    """Return the plan's figure for the same run: peak bytes, or FLOPs, by the rule if that covers all of the run."""
    from transformers import AutoConfig

    from em_hf.training.cluster import Cluster, card_of
    from em_hf.training.plan import Plan
    from em_hf.training.settings import lora_config
    from em_hf.training.sizes import Shape
    from tests.smollm2 import smollm2_folder

    settings = settings_of(case)
    lora = lora_config(settings) if case.lora else None
    shape = Shape.of_config(AutoConfig.from_pretrained(smollm2_folder()), "SmolLM2", lora=lora)
    plan = Plan(shape, settings, Cluster(card_of("h100-80gb")), prompt)
    return (
        plan.memory["peak"]
        if kind == "memory"
        else plan.flops["spent" if case.lora or case.method != "em-ft" else "rule"]
    )


def compare(kind: str, case: Case) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan_check", "--worker", kind, json.dumps(asdict(case))]
    # glibc keeps freed tensors of up to 32 MB in its fragmented heap; with this it returns those of 1 MB or more.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], env=environment)
    if done.returncode:
        raise RuntimeError(f"{kind} {case} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    plan = planned(kind, case, int(found["prompt"]))
    print(f"{kind} {case}: {plan / found['value']:.3f}", file=sys.stderr, flush=True)
    return {"kind": kind, **asdict(case), **found, "planned": plan, "ratio": plan / found["value"]}


def shown(results: Sequence[dict[str, Any]]) -> str:
    scale = {"flops": (1e12, "TFLOPs"), "memory": (1e6, "MB")}
    rows = []
    for r in results:
        how = [word for word in ("checkpointing", "lora") if r[word]]
        unit, name = scale[r["kind"]]
        batch = f"{r['batches']} x {r['batch']}"
        tokens = f"{r['prompt']:.0f} + {r['completion']}"
        figures = [f"{r[key] / unit:,.{2 if r['kind'] == 'flops' else 0}f}" for key in ("planned", "value")]
        rows.append(
            [f"{r['method']}: {r['kind']}, {name}", batch, tokens, ", ".join(how) or "-", *figures, f"{r['ratio']:.2f}"]
        )
    return table(("", "prompts a step", "tokens", "with", "planned", "measured", "ratio"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one case of each")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(measured(options.worker[0], Case(**json.loads(options.worker[1])))))
        return
    record = environment("benchmarks.plan_check")
    results = [compare("flops", case) for case in (QUICK if options.quick else FLOPS)]
    results += [compare("memory", case) for case in (QUICK if options.quick else MEMORY)]
    what = (
        "Two steps of SmolLM2 in float32, planned and run; EM-RL with 4 rollouts per prompt and a reference policy. "
        "FLOPs of full fine-tuning are planned by the paper's rule, the others with all that a run computes. "
        "The allocator gives back tensors of 1 MB and more (MALLOC_MMAP_THRESHOLD_)."
    )
    text = f"{describe(record)}\n\n{what}\n\n{shown(results)}"
    print(text)
    write(options.output, {**record, "results": results}, text)


if __name__ == "__main__":
    main()
