"""The effect of EM training on real pretrained models, measured on held-out problems; a table and JSON.

    python -m benchmarks.train_real smollm2 [--data-dir DIR] [--work FOLDER] [--output FILE.json]
    python -m benchmarks.train_real gemma   [--data-dir DIR] [--work FOLDER] [--output FILE.json] [--problems N]

`smollm2`: SmolLM2-135M-Instruct with LoRA on GSM8K prompts, 30 steps of each EM method, the collapse guard on: entropy,
log-probability and length on held-out prompts before and after.
`gemma`: gemma-3-270m (base), 4-shot, LoRA on unlabeled MAWPS prompts; accuracy, sampled and greedy, on MAWPS problems
that training never saw and on SVAMP. One learning rate is too high, for the guard to catch; the other is gentle.

Training never sees a label. Every run is a run folder under `--work`, and every measurement a file beside it: what is
already there is not repeated.
"""

import argparse
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import describe, environment, table, write
from benchmarks.gemma import few_shot, gemma_folder
from em_hf.generation.config import EntropyMinConfig
from em_hf.runs import PROBE_FILE, Reading, holds_run, is_finished, read_facts, read_lines, to_json
from em_hf.training.run import train
from em_hf.training.settings import RunSettings

METHODS = ("em-ft", "em-rl-sequence", "em-rl-token")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["smollm2", "gemma"])
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("EM_HF_DATA_DIR", "../shared/data")))
    parser.add_argument("--work", type=Path, default=Path("runs/train-real"), help="run folders, kept to go on from")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    parser.add_argument("--problems", type=int, default=300, help="held-out problems of each set (gemma)")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    record = environment("benchmarks.train_real")
    results, text = {"smollm2": smollm2, "gemma": gemma}[options.experiment](options)
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


EM = "EM-INF, 10 steps"
GEMMA_RUNS: dict[str, dict[str, Any]] = {
    "EM-FT, 2e-4": {"method": "em-ft", "learning_rate": 2e-4, "steps": 12},
    "EM-FT, 2e-4, unguarded": {"method": "em-ft", "learning_rate": 2e-4, "steps": 8, "guard": False},
    "EM-FT, 2e-5": {"method": "em-ft", "learning_rate": 2e-5, "steps": 12},
    # Four rollouts per prompt, and three more passes over each: the base weights are in bf16, the adapter is not.
    "EM-RL-sequence, 2e-5": {"method": "em-rl-sequence", "learning_rate": 2e-5, "steps": 6, "dtype": "bfloat16"},
}


def gemma(options: argparse.Namespace) -> tuple[list[dict[str, Any]], str]:
    mawps, svamp = problems(options.data_dir)
    train_rows, test = mawps[options.problems + 100 :], mawps[: options.problems]
    data = options.work / "mawps.jsonl"
    data.write_text("".join(json.dumps({"prompt": few_shot(q)}) + "\n" for q, _ in train_rows), encoding="utf-8")
    sets = {"MAWPS": test, "SVAMP": svamp[: options.problems]}
    results = [measured(options.work, "base", gemma_folder(), sets, em_inf=True)]
    for name, given in GEMMA_RUNS.items():
        settings = {
            "model": str(gemma_folder()),
            "dataset": str(data),
            "device": "cpu",
            "dtype": "float32",
            "chat_template": False,
            "lora": True,
            "lora_rank": 16,
            "loss_reduction": "token_mean",
            "batch_size": 8 if given["method"] == "em-ft" else 4,
            "max_completion_length": 24,
            "eval_problems": 0,
            "probe_problems": 16,
            "probe_every": 2,
            "save_steps": 4,
            "max_grad_norm": 1.0,
            **given,
        }
        run = trained(options.work / name.replace(", ", "-").lower(), RunSettings.resolve(settings))
        facts = to_json(read_facts(run))
        kept = {key: facts.get(key) for key in ("guard", "compute", "steps_done")}
        best = (kept["guard"] or {}).get("best_step")
        if best == 0:  # stopped before any improvement: the base model is left, which is already measured
            found: dict[str, Any] = {
                "name": name,
                "measured": [m for m in results[0]["measured"] if m["decoding"] != EM],
            }
        else:
            found = measured(options.work, name, run, sets, em_inf=False)
        results.append({**found, **kept})
    header = ["model", "set", "decoding", "accuracy, %", "95% interval", "nats/token", "tokens", "guard"]
    rows = [
        [
            *(r["name"], m["set"], m["decoding"], f"{100 * m['accuracy']:.1f}"),
            f"{100 * m['low']:.1f}-{100 * m['high']:.1f}",
            *(f"{m['entropy']:.3f}", f"{m['completion_length']:.1f}", said(r.get("guard"))),
        ]
        for r in results
        for m in r["measured"]
    ]
    return results, f"{table(header, rows)}\n\n{options.problems} problems a set, one completion each, seed 0."


def problems(data_dir: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return single-operation MAWPS and SVAMP as questions and answers, each shuffled once."""

    def plain(value: float) -> str:
        return str(int(value)) if float(value).is_integer() else str(value)

    def rows(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (data_dir / name).read_text(encoding="utf-8").splitlines()]

    mawps = [(row["input"], plain(row["target"])) for row in rows("mawps.jsonl") if row["type"] == "singleop"]
    svamp = [(f"{row['Body'].rstrip('. ')}. {row['Question']}", plain(row["Answer"])) for row in rows("svamp.jsonl")]
    for part in (mawps, svamp):
        random.Random(0).shuffle(part)
    return mawps, svamp


def trained(folder: Path, settings: RunSettings) -> Path:
    """Finish the run, resuming it where it was interrupted, and return its folder."""
    if is_finished(folder):
        return folder
    train(settings, folder, resume=holds_run(folder), on_step=lambda line: print(folder.name, line, flush=True))
    return folder


def measured(
    work: Path, name: str, model: Path, sets: dict[str, list[tuple[str, str]]], *, em_inf: bool
) -> dict[str, Any]:
    """Measure greedy and sampled decoding (for the base also EM-INF) on each set; results are kept in a file."""
    from em_hf.models import load_model
    from em_hf.training.measure import measure

    kept = work / f"measured-{name.replace(', ', '-').lower()}.json"
    done: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else []
    ways: dict[str, dict[str, Any]] = {"greedy": {"greedy": True}, "sampled": {}}
    if em_inf:
        ways[EM] = {"entropy_min": EntropyMinConfig(n_grad_steps=10)}
    loaded: tuple[Any, Any] | None = None
    for which, rows in sets.items():
        for decoding, how in ways.items():
            if any((m["set"], m["decoding"], m["n"]) == (which, decoding, len(rows)) for m in done):
                continue
            loaded = loaded or load_model(str(model), device="cpu", dtype="float32")
            prompts, answers = [few_shot(question) for question, _ in rows], [answer for _, answer in rows]
            row = measure(*loaded, prompts, answers, name=name, max_new_tokens=24, chat_template=False, **how)
            done = [*done, {**to_json(row), "set": which, "decoding": decoding, "n": len(rows)}]
            kept.write_text(json.dumps(done, indent=1))
            print(name, done[-1], flush=True)
    wanted = [m for m in done if m["n"] == len(next(iter(sets.values())))]
    return {"name": name, "measured": wanted}


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
