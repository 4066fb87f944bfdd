"""An EM-FT step with three samplers: em-hf's trainer before its move to TRL, TRL with transformers, TRL with vLLM.

    .venv-vllm/bin/python -m benchmarks.em_ft_engines [--quick] [--models NAME ...] [--ways NAME ...] [--steps N]
                                                      [--runs N] [--data-dir DIR] [--output FILE.json]

All three run in the environment with vLLM (`make vllm-venv`); the earlier trainer comes from this repository's history.
The pocket reasoner has 64 prompts per step and 64 new tokens, SmolLM2-135M-Instruct 8 GSM8K prompts and 256. Every run
is a separate process, the samplers take turns, and the first step of each run is not counted. The time of a step covers
sampling (with vLLM also loading the new weights into the engine), loss, backward pass and AdamW. Memory is the rise
between the end of sampling and the optimizer. vLLM uses as many threads as PyTorch: OMP_NUM_THREADS sets both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import em_hf
from benchmarks.common import describe, environment, quartiles, spread, table, write

ROOT = Path(__file__).parents[1]
BEFORE = "6af3fcfd2173c7a60ab27ed488e91191b22425f9"  # the last commit whose EMFTTrainer was transformers' Trainer
WAYS = {"before": "before TRL", "transformers": "TRL, transformers", "vllm": "TRL, vLLM"}


@dataclass(frozen=True)
class Work:
    """A worker's training task: `prompts` are texts, in a chat template if the model has one."""

    way: str
    model: str
    prompts: list[str]
    batch: int
    new_tokens: int
    steps: int
    seed: int
    learning_rate: float


def pocket_prompts(count: int, data_dir: Path) -> tuple[str, list[str]]:
    from em_hf.pocket import POCKET_REASONER, problems

    return str(POCKET_REASONER), [problem["prompt"] for problem in problems("train", count, seed=0)]


def gsm8k_prompts(count: int, data_dir: Path) -> tuple[str, list[str]]:
    from transformers import AutoTokenizer

    from tests.smollm2 import smollm2_folder

    folder = str(smollm2_folder())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = (data_dir / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    asked = [[{"role": "user", "content": json.loads(line)["question"]}] for line in lines]
    return folder, [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in asked]


@dataclass(frozen=True)
class Model:
    title: str
    prompts: Callable[[int, Path], tuple[str, list[str]]]
    batch: int
    new_tokens: int
    learning_rate: float


MODELS = {
    "pocket": Model("pocket reasoner", pocket_prompts, 64, 64, 1e-4),
    "smollm2": Model("SmolLM2-135M-Instruct", gsm8k_prompts, 8, 256, 1e-6),
}


def status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def work(given: Work) -> dict[str, Any]:
    """Train in this process; return seconds, tokens, entropy and memory of every step, including the first."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from em_hf import EMFTConfig, EMFTTrainer

    before = given.way == "before"
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    more = {"chat_template": False} if before else {"bf16": False, "use_vllm": given.way == "vllm"}
    args = EMFTConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=given.steps + 1,
        per_device_train_batch_size=given.batch,
        max_completion_length=given.new_tokens,
        learning_rate=given.learning_rate,
        loss_reduction="token_mean",
        seed=given.seed,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **more,
    )
    steps: list[dict[str, float]] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *rest: Any, **kwargs: Any) -> None:
            steps.append({"start": time.perf_counter()})

        def on_pre_optimizer_step(self, *rest: Any, **kwargs: Any) -> None:
            steps[-1]["loss_bytes"] = status_bytes("VmHWM") - steps[-1].pop("resident")

        def on_step_end(self, *rest: Any, **kwargs: Any) -> None:
            steps[-1]["seconds"] = time.perf_counter() - steps[-1].pop("start")

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
            if "entropy" in logs:
                tokens = logs["tokens"] if before else logs["completions/mean_length"] * given.batch
                steps[-1] |= {"tokens": round(tokens), "entropy": logs["entropy"]}

    rows = [{"prompt": prompt} for prompt in given.prompts]
    trainer = EMFTTrainer(model, args, train_dataset=rows, processing_class=tokenizer, callbacks=[Clock()])
    hook = "sample" if before else "_generate_single_turn"
    sample = getattr(trainer, hook)

    def clocked(*rest: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        drawn = sample(*rest, **kwargs)
        steps[-1]["sampling"] = time.perf_counter() - start
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        steps[-1]["resident"] = status_bytes("VmRSS")
        return drawn

    setattr(trainer, hook, clocked)
    trainer.train()
    return {"em_hf": str(Path(em_hf.__file__).parent), "threads": torch.get_num_threads(), "steps": steps}


def in_own_process(given: Work, before: Path) -> dict[str, Any]:
    """Run `work` in a separate process, which imports the earlier package if requested."""
    package = before if given.way == "before" else ROOT
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder) / "work.json", Path(folder) / "found.json"
        asked.write_text(json.dumps(asdict(given)))
        command = [sys.executable, "-m", "benchmarks.em_ft_engines", "--worker", str(asked), str(answer)]
        places = os.pathsep.join([str(package), str(ROOT)])
        done = subprocess.run(
            command, cwd=package, env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{given.way} on {given.model} failed ({done.returncode}):\n{done.stderr[-3000:]}")
        found = json.loads(answer.read_text())
    assert Path(found["em_hf"]).parent.samefile(package), found["em_hf"]
    return found


def earlier_package(folder: Path) -> Path:
    """Extract the package as it was at `BEFORE` from this repository's history, and return its folder."""
    archive = subprocess.run(["git", "archive", BEFORE, "em_hf"], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"the earlier trainer is in this repository's history, at {BEFORE}, which is not here")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def measure(name: str, ways: Sequence[str], options: argparse.Namespace, before: Path) -> list[dict[str, Any]]:
    of = MODELS[name]
    batch, new_tokens = (2, 8) if options.quick else (of.batch, of.new_tokens)
    model, prompts = of.prompts(batch * (options.steps + 1), options.data_dir)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    threads = 0
    for run in range(options.runs):
        for way in [*ways[run % len(ways) :], *ways[: run % len(ways)]]:
            given = Work(way, model, prompts, batch, new_tokens, options.steps, run, of.learning_rate)
            result = in_own_process(given, before)
            found[way] += result["steps"][1:]
            threads = result["threads"]
            print(f"{name}, {way}, run {run}: {result['steps']}", file=sys.stderr, flush=True)
    return [
        {
            "model": name,
            "way": way,
            "threads": threads,
            "batch": batch,
            "new_tokens": new_tokens,
            "seconds": quartiles([step["seconds"] for step in steps]),
            "sampling": quartiles([step["sampling"] for step in steps]),
            "tokens": quartiles([step["tokens"] for step in steps]),
            "tokens_per_second": sum(step["tokens"] for step in steps) / sum(step["seconds"] for step in steps),
            "entropy": sum(step["entropy"] for step in steps) / len(steps),
            "loss_bytes": max(step["loss_bytes"] for step in steps),
            "steps": steps,
        }
        for way, steps in found.items()
    ]


HEADER = (
    "model",
    "sampler",
    "steps",
    "step, s",
    "sampling, s",
    "times as fast",
    "tokens a step",
    "tokens/s",
    "nats/token",
    "memory of the loss, MB",
)


def shown(results: list[dict[str, Any]]) -> str:
    at = {(r["model"], r["way"]): r for r in results}
    rows = []
    for r in results:
        today = at.get((r["model"], "before"))
        faster = "-" if today is None else f"{today['seconds']['median'] / r['seconds']['median']:.2f}"
        rows.append(
            [
                MODELS[r["model"]].title,
                WAYS[r["way"]],
                str(len(r["steps"])),
                spread(r["seconds"]),
                spread(r["sampling"]),
                faster,
                spread(r["tokens"], 1, 0),
                f"{r['tokens_per_second']:.0f}",
                f"{r['entropy']:.3f}",
                f"{r['loss_bytes'] / 1e6:,.0f}",
            ]
        )
    note = (
        "Median (q1-q3) over the steps of all runs; *times as fast* compares the median steps. Weights are float32, "
        "in vLLM too. Tokens are those sampled, tokens/s of the whole step."
    )
    return f"{table(HEADER, rows)}\n\n{note}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 prompts, 8 tokens, one step; figures not to be kept")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=4, help="of each run, after the first")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("EM_HF_DATA_DIR", "../shared/data")))
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    parser.add_argument("--worker", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        asked, answer = options.worker
        answer.write_text(json.dumps(work(Work(**json.loads(asked.read_text())))))
        return
    if options.quick:
        options.steps = options.runs = 1
    record = environment("benchmarks.em_ft_engines")
    from em_hf.training.vllm import vllm_version

    if "vllm" in options.ways:
        record["versions"]["vllm"] = str(vllm_version())
    with tempfile.TemporaryDirectory() as folder:
        before = earlier_package(Path(folder)) if "before" in options.ways else ROOT
        results = [line for name in options.models for line in measure(name, options.ways, options, before)]
    record["threads"] = results[0]["threads"]
    text = f"{describe(record)} Threads: {record['threads']}.\n\n{shown(results)}"
    print(text)
    write(options.output, {**record, "results": results}, text)


if __name__ == "__main__":
    main()
