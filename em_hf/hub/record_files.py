"""The run's record in its repository: `entropy.jsonl`, its plot, `.eval_results/` and the facts of `em_hf.json`."""

import io
import json
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from em_hf.hub.redact import command_without_paths, without_paths
from em_hf.runs import Run, evaluations, to_json


def entropy_trace(run: Run) -> bytes:
    """Return step, entropy (nats), loss and length as JSONL, one line per step that has an entropy."""
    keys = ("step", "entropy", "loss", "completion_length")
    steps = [{key: getattr(line, key) for key in keys} for line in run.log if line.entropy is not None]
    known = [{key: value for key, value in step.items() if value is not None} for step in steps]
    return "".join(json.dumps(to_json(step)) + "\n" for step in known).encode()


def entropy_plot(run: Run) -> bytes | None:
    """Return a PNG of the mean token entropy (nats) per step; None without matplotlib or with fewer than two steps."""
    points = [(line.step, line.entropy) for line in run.log if line.entropy is not None]
    if len(points) < 2:
        return None
    try:
        from matplotlib.figure import Figure  # not pyplot, which would select a display backend and keep the figure
    except ImportError:
        return None
    figure = Figure(figsize=(6, 3), dpi=120)
    axes = figure.add_axes((0.11, 0.16, 0.86, 0.8))  # room for the labels
    axes.plot([step for step, _ in points], [entropy for _, entropy in points])
    axes.set(xlabel="training step", ylabel="token entropy (nats)", ylim=(0, None))
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def eval_results(run: Run) -> dict[str, bytes]:
    """Return `.eval_results/TASK.yaml` in the Hub's format, for results on whole benchmarks that are on the Hub.

    Results on part of a benchmark, with few-shot examples or on a user's own problems are on the card and not here.
    """
    entries: dict[str, list[EvalResultEntry]] = {}
    for record in evaluations(run.folder):
        for row in [] if record.own_data else record.rows:
            known = record.benchmarks.get(row.task)
            whole = known is not None and record.settings.get("limit") is None and row.problems == known.size
            if known is None or not known.hub or not whole or record.settings.get("num_fewshot"):
                continue
            samples = f"mean over {row.samples} samples" if row.samples > 1 else "one sample per problem"
            seed = record.settings.get("seed")
            entry = EvalResultEntry(
                dataset_id=known.hub,
                task_id=row.task,
                value=round(100 * row.figures[row.metric].mean, 2),
                date=record.date,
                notes=f"{row.strategy}, {row.metric} in %, {samples}, seed {seed}, em-hf eval",
            )
            entries.setdefault(row.task, []).append(entry)
    return {
        f".eval_results/{task}.yaml": yaml.safe_dump(eval_result_entries_to_yaml(found), sort_keys=False).encode()
        for task, found in entries.items()
    }


def provenance(run: Run) -> dict[str, Any]:
    """Return how the model was made, for the mark."""
    facts = {key: value for key, value in to_json(run.facts).items() if key != "status"}
    if run.facts.command is not None:
        facts["command"] = command_without_paths(run.facts.command)
    log = {"steps": len(run.log), "first": _said(run.log[0]), "last": _said(run.log[-1])} if run.log else None
    results = run.results and {**to_json(run.results), "rows": [_said(row) for row in run.results.rows]}
    record = {**facts, "log": log, "results": results}
    return dict(without_paths({key: value for key, value in record.items() if value is not None}))


def _said(record: Any) -> dict[str, Any]:
    return {key: value for key, value in to_json(record).items() if value is not None}
