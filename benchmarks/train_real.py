"""The effect of EM training on a real pretrained model, measured on held-out prompts; a table and JSON.

    python -m benchmarks.train_real [--data-dir DIR] [--work FOLDER] [--output FILE.json]

SmolLM2-135M-Instruct with LoRA on GSM8K prompts, 30 steps of each EM method, the collapse guard on: entropy,
log-probability and length on held-out prompts before and after. Training never sees a label. Every run is a run folder
under `--work`: what is already there is not repeated. For gemma-3-270m see `benchmarks.gemma_protocol`.
"""

import argparse
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import describe, environment, table, write
from em_hf.runs import PROBE_FILE, Reading, holds_run, is_finished, read_facts, read_lines, to_json
from em_hf.training.run import train
from em_hf.training.settings import RunSettings

METHODS = ("em-ft", "em-rl-sequence", "em-rl-token")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("EM_HF_DATA_DIR", "../shared/data")))
    parser.add_argument("--work", type=Path, default=Path("runs/train-real"), help="run folders, kept to go on from")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    record = environment("benchmarks.train_real")
    results, text = smollm2(options)
    text = f"{describe(record)}\n\n{text}"
    print(text)
    write(options.output, {**record, "results": results}, text)


def smollm2(options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    from tests.smollm2 import smollm2_folder

    data = options.work / "gsm8k.jsonl"
    lines = (options.data_dir / "gsm8k_train.jsonl").read_text(encoding="utf-8").splitlines()
    short = sorted((json.loads(line)["question"] for line in lines), key=len)[:400]
    random.Random(0).shuffle(short)
    data.write_text("".join(json.dumps({"prompt": question}) + "\n" for question in short), encoding="utf-8")
    results = []
    for method in METHODS:
        given = {"recipe": "laptop-smollm2", "method": method, "model": str(smollm2_folder()), "dataset": str(data)}
        given |= {"dataset_config": None, "eval_problems": 0, "probe_problems": 16, "max_completion_length": 48}
        run = trained(options.work / f"smollm2-{method}", RunSettings.resolve({**given, "device": "cpu"}))
        readings = [to_json(reading) for reading in read_lines(run / PROBE_FILE, Reading)]
        facts = to_json(read_facts(run))
        results.append({"method": method, "readings": readings, **{key: facts[key] for key in ("guard", "compute")}})
    header = ["method", "steps", "nats/token", "log-prob/token", "tokens", "KL", "guard", "seconds"]
    rows = []
    for result in results:
        first, last = result["readings"][0], result["readings"][-1]
        cells = [
            f"{first[name]:{form}} -> {last[name]:{form}}"
            for name, form in (("entropy", ".3f"), ("log_prob", ".3f"), ("completion_length", ".1f"))
        ]
        kl = "-" if last.get("kl") is None else f"{last['kl']:.4f}"
        rows.append([result["method"], str(last["step"]), *cells, kl, said(result["guard"]), seconds(result)])
    note = (
        "16 held-out GSM8K prompts, one sample each (temperature 1, at most 48 tokens), the same seed at each reading."
    )
    return results, f"{table(header, rows)}\n\n{note}"


def trained(folder: Path, settings: RunSettings) -> Path:
    """Finish the run, resuming it where it was interrupted, and return its folder."""
    if is_finished(folder):
        return folder
    train(settings, folder, resume=holds_run(folder), on_step=lambda line: print(folder.name, line, flush=True))
    return folder


def said(guard: dict[str, Any] | None) -> str:
    if guard is None:
        return "-"
    if guard["collapsed"]:
        return f"collapse at step {guard['step']}: {guard['why']}; weights of step {guard['best_step']}"
    return "no collapse"


def seconds(result: dict[str, Any]) -> str:
    return f"{result['compute']['seconds']:.0f}"


if __name__ == "__main__":
    main()
