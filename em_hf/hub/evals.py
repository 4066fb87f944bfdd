"""What was found out about a run after it: evaluations and diagnoses that lie in its folder, for the card and the Hub.

`em-hf eval --model RUN --output RUN/eval` and `em-hf diagnose --model RUN --output RUN/diagnose.json` put them there.
"""

import json
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from em_hf.hub.runs import Run

FOLDER = ".eval_results"


def evaluations(run: Run) -> list[dict[str, Any]]:
    """The finished evaluations in the run's folder, as `em-hf eval` wrote them."""
    found = []
    for path in sorted(run.folder.glob("*/eval.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("status") == "finished":
            found.append(record)
    return found


def diagnosis(run: Run) -> dict[str, Any] | None:
    """What `em-hf diagnose` said of the run's model, None where it was not asked."""
    path = run.folder / "diagnose.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def benchmark_rows(run: Run) -> list[tuple[str, ...]]:
    """Of every evaluation: task, strategy, figure with its 95% interval, problems and samples, seed."""
    rows: list[tuple[str, ...]] = []
    for record in evaluations(run):
        for row in record["rows"]:
            figure = row["figures"][row["metric"]]
            interval = f"{100 * figure['mean']:.1f}% ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"
            drawn = f"{row['problems']} problems, {row['samples']} each"
            rows.append(
                (row["task"], row["strategy"], f"{row['metric']} {interval}", drawn, record["settings"]["seed"])
            )
    return rows


def eval_result_files(run: Run) -> dict[str, bytes]:
    """`.eval_results/TASK.yaml` in the Hub's form, for what was measured on the whole of a benchmark on the Hub.

    A part of a benchmark, or worked examples before its problems, is in the card and not here.
    """
    entries: dict[str, list[EvalResultEntry]] = {}
    for record in evaluations(run):
        settings, benchmarks = record["settings"], record.get("benchmarks", {})
        for row in record["rows"]:
            known = benchmarks.get(row["task"], {})
            whole = settings.get("limit") is None and row["problems"] == known.get("size")
            if not whole or not known.get("hub") or settings.get("num_fewshot"):
                continue
            samples = f"mean over {row['samples']} samples" if row["samples"] > 1 else "one sample a problem"
            entry = EvalResultEntry(
                dataset_id=known["hub"],
                task_id=row["task"],
                value=round(100 * row["figures"][row["metric"]]["mean"], 2),
                date=record["date"],
                notes=f"{row['strategy']}, {row['metric']} in %, {samples}, seed {settings['seed']}, em-hf eval",
            )
            entries.setdefault(row["task"], []).append(entry)
    return {
        f"{FOLDER}/{task}.yaml": yaml.safe_dump(eval_result_entries_to_yaml(found), sort_keys=False).encode()
        for task, found in entries.items()
    }
