"""A run's measurements as its card shows them: the finding in a sentence, tables, samples, metadata."""

from collections.abc import Callable
from typing import Any

from huggingface_hub import EvalResult

from em_hf.markdown import markdown_table
from em_hf.runs import ResultRow, Run, evaluations
from em_hf.settings import PLAIN

FEW_PROBLEMS = 100  # with fewer, a 95% interval is 20 points wide


def _sampled(rows: list[ResultRow], *, trained: bool) -> ResultRow | None:
    """Return the last row of the trained or the base model sampled without EM-INF, or None if there is none."""
    return next((row for row in reversed(rows) if row.trained == trained and not row.greedy and not row.em_inf), None)


def finding(run: Run) -> dict[str, Any] | None:
    """Return the result in a sentence: the problems, sampling from the trained and the base model, greedy decoding."""
    rows = [row for row in run.results.rows if row.accuracy is not None] if run.results else []
    trained, base = _sampled(rows, trained=True), _sampled(rows, trained=False)
    if run.results is None or trained is None:
        return None
    n, dataset = run.results.n, run.facts.dataset
    level = f"{dataset.level} " if dataset and dataset.level not in (None, PLAIN) else ""
    sentence = f"On {n} held-out {level}problems" if n else f"On held-out {level}problems"
    sentence += f", sampled at temperature 1, this model is right {_accuracy(trained, 'of the time')}"
    sentence += f" and the model before training {_accuracy(base)}." if base else "."
    greedy = [
        f"{'this model' if row.trained else 'the model before training'} {_accuracy(row)}" for row in rows if row.greedy
    ]
    sentence += f" Decoded greedily, {', '.join(greedy)}." if greedy else " Greedy decoding was not measured."
    return {"sentence": sentence, "few": n if n is not None and n < FEW_PROBLEMS else None}


def _accuracy(row: ResultRow, of: str = "") -> str:
    """Return "84.5% (79.0 to 89.0)"; with `of`, label the interval as a 95% interval."""
    accuracy = f"{100 * (row.accuracy or 0):.1f}%" + (f" {of}" if of else "")
    if row.low is None or row.high is None:
        return accuracy
    return f"{accuracy} ({'95% interval ' if of else ''}{100 * row.low:.1f} to {100 * row.high:.1f})"


def results(run: Run) -> dict[str, Any] | None:
    if run.results is None or not run.results.rows:
        return None
    rows = run.results.rows
    columns: list[tuple[str, str, Callable[[ResultRow], str]]] = [
        ("accuracy (95% interval)", "accuracy", _accuracy),
        ("token entropy (nats)", "entropy", lambda row: f"{row.entropy:.3f}"),
        ("output length (tokens)", "completion_length", lambda row: f"{row.completion_length:.1f}"),
        ("seconds", "seconds", lambda row: f"{row.seconds:.1f}"),
    ]
    columns = [column for column in columns if any(getattr(row, column[1]) is not None for row in rows)]
    cells = [(row.name, *("–" if getattr(row, key) is None else show(row) for _, key, show in columns)) for row in rows]
    options = known(run.results.sampling)
    samples = options.pop("samples", None)
    sampling = [f"{key.replace('_', ' ')} {value}" for key, value in options.items()]
    note = f"Measured on {run.results.n} problems" if run.results.n is not None else "Measured"
    note += f", {samples} {'sample' if samples == 1 else 'samples'} of each" if samples else ""
    note += f", sampled with {', '.join(sampling)}." if sampling else " by sampling."
    return {
        "table": _table(("", *(title for title, _, _ in columns)), cells),
        "rows": rows,
        "has_entropy": any(row.entropy is not None for row in rows),
        "note": f"{note} {run.results.note}" if run.results.note else note,
    }


def samples_shown(run: Run) -> dict[str, str] | None:
    """Return a held-out prompt with its samples from before and after training, or None if they were not kept."""
    rows = [row for row in run.results.rows if row.sample is not None and row.prompt] if run.results else []
    before, after = _sampled(rows, trained=False), _sampled(rows, trained=True)
    if before is None or after is None:
        return None
    shown = {"prompt": before.prompt, "before": before.sample, "after": after.sample}
    return {name: _fenced(str(text)) for name, text in shown.items()}


def _fenced(text: str) -> str:
    """Return at most 1,500 characters of a text as a code block, with a fence that does not occur in it."""
    text = text.strip()
    text = f"{text[:1500]} …" if len(text) > 1500 else text
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def benchmark_table(run: Run) -> str:
    """Return a table of the run's evaluations: one row per task and strategy, figures with 95% intervals."""
    rows = []
    for record in evaluations(run.folder):
        for row in record.rows:
            figure = row.figures[row.metric]
            interval = f"{100 * figure.mean:.1f}% ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
            drawn = f"{row.problems} problems, {row.samples} each"
            task = f"{row.task} (own data)" if record.own_data else row.task
            rows.append((task, row.strategy, f"{row.metric} {interval}", drawn, record.settings.get("seed")))
    return _table(("task", "strategy", "result (95% interval)", "measured on", "seed"), rows)


def eval_results(run: Run, *, dataset: str, hub_dataset: str | None) -> list[EvalResult]:
    """Return the measured accuracies of the trained model in the form that the Hub reads from a card's metadata."""
    if run.results is None:
        return []
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=hub_dataset or "custom",
            dataset_name=f"{dataset}, held-out problems",
            metric_type="accuracy",
            metric_name=f"accuracy in %, {row.name}, {run.results.n} problems",
            metric_value=round(100 * row.accuracy, 2),
        )
        for row in run.results.rows
        if row.accuracy is not None and row.trained
    ]


def known(values: dict[str, Any] | None) -> dict[str, Any]:
    """Return the entries of a dict whose values are not empty."""
    return {key: value for key, value in (values or {}).items() if value not in (None, "", {}, [])}


def settings_table(settings: dict[str, Any]) -> str:
    return _table(("setting", "value"), [(f"`{key}`", value) for key, value in known(settings).items()])


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Return a Markdown table, or "" without rows."""
    return markdown_table(header, rows, aligned=False) if rows else ""
