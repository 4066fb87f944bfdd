"""Output of `em-hf train`: a line per step, one progress bar, the table at the end and the next command."""

import shlex
import sys
from pathlib import Path
from typing import Any

from em_hf.messages import one_line
from em_hf.settings import POCKET_NAMES
from em_hf.training.settings import RunSettings

from .common import note

# The logged figures that a step's line shows, and what they mean.
SHOWN = {
    "loss": ("loss {:.4f}", "what the optimizer lowers"),
    "reward": ("reward {:.3f}", "what RL raises"),
    "entropy": ("entropy {:.3f}", "of the model's own distributions, in nats per token; 0: always certain"),
    "kl": ("KL {:.4f}", "distance from the base model, in nats per token"),
    "completion_length": ("length {:.1f}", "tokens per sample"),
    "token_accuracy": ("token accuracy {:.3f}", "share of the labels' tokens that the model ranks first"),
}


class Progress:
    """Progress of a run on stderr: phases, a line per step, and on a terminal a bar with the time left.

    Args:
        settings: The run's settings.
        silent: Print nothing, as in every process but the main one.
    """

    def __init__(self, settings: RunSettings, *, silent: bool = False) -> None:
        from tqdm import tqdm

        self.settings, self.silent, self.explained = settings, silent, False
        self.bar = tqdm(
            total=settings.steps, unit="step", disable=True if silent else None, file=sys.stderr, leave=False
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def _print(self, text: str) -> None:
        if not self.silent:
            self.bar.clear()
            note(text)
            self.bar.refresh()

    def on_step(self, line: dict[str, float]) -> None:
        """Print a step's line, and before the first one what its numbers mean."""
        known = {name: text for name, text in SHOWN.items() if line.get(name) is not None}
        if not self.explained:
            self.explained = True
            self._print("\n".join(f"  {form.split(' {')[0]}: {meaning}" for form, meaning in known.values()))
        width = len(str(self.settings.steps))
        shown = "  ".join(form.format(line[name]) for name, (form, _) in known.items())
        self._print(f"step {line['step']:>{width}}/{self.settings.steps}  {shown}")
        if not self.bar.disable:
            self.bar.n = int(line["step"])
            self.bar.refresh()

    def on_phase(self, text: str) -> None:
        self._print(text)

    def on_measure(self, row: str, done: int, total: int) -> None:
        if not self.bar.disable:
            self.bar.set_postfix_str(f"measuring {row}: {done} of {total} prompts")

    def save_plot(self, folder: Path) -> Path | None:
        """Save the run's plot in its folder and return its path, or None if the run's records cannot be read."""
        from em_hf.training.plot import plot_run

        try:
            return plot_run(folder)
        except (ValueError, OSError) as error:
            self._print(f"No plot: {one_line(error)}")
            return None


def next_command(settings: RunSettings, folder: Path) -> str:
    """Return the command to run after training: publish the run, here into a folder.

    An adapter whose base model is only on this machine is merged into it: by itself it would not load elsewhere.
    """
    local = settings.model in POCKET_NAMES or Path(settings.model).expanduser().exists()
    merge = ["--merge"] if settings.lora and local else []
    return shlex.join(["em-hf", "push", str(folder), "--to", f"{folder.name or 'run'}-repository", *merge])


def results_table(results: dict[str, Any]) -> str:
    """Return the result rows, aligned, and how they were measured."""
    width = 2 + max(16, *(len(row["name"]) for row in results["rows"]))
    with_accuracy = results["rows"][0]["accuracy"] is not None
    lines = [
        f"{'':<{width}}"
        + (f"{'accuracy':>9}  {'95% interval':<14}" if with_accuracy else "")
        + "nats/token  tokens  seconds"
    ]
    for row in results["rows"]:
        accuracy = ""
        if with_accuracy:
            interval = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
            accuracy = f"{100 * row['accuracy']:>8.1f}%  {interval:<14}"
        figures = f"{row['entropy']:>10.3f}  {row['completion_length']:>6.1f}  {row['seconds']:>7.1f}"
        lines.append(f"{row['name']:<{width}}{accuracy}{figures}")
    sampling = results["sampling"]
    samples = "1 sample" if sampling["samples"] == 1 else f"{sampling['samples']} samples"
    lines.append(
        f"{results['n']} held-out prompts, {samples} per prompt, temperature 1, top_k 0, top_p 1, with and without "
        f"EM-INF, seed {sampling['seed']}" + ("; greedy: 1 output per prompt" if with_accuracy else "")
    )
    if results.get("note"):
        lines.append(results["note"])
    said = beside_greedy(results["rows"]) if with_accuracy else ""
    if said:
        lines += ["", said]
    return "\n".join(lines)


def beside_greedy(rows: list[dict[str, Any]]) -> str:
    """Return a sentence on what EM gained over greedy decoding of the untouched model; empty if it has no row."""
    greedy = next((row for row in rows if row["greedy"] and not row["trained"]), None)
    drawn = [row for row in rows if not row["greedy"]]
    base = next((row for row in drawn if not row["trained"] and not row["em_inf"]), None)
    if greedy is None or base is None or len(drawn) < 2:
        return ""
    best = max((row for row in drawn if row is not base), key=lambda row: row["accuracy"])
    right, before, after = (f"{100 * row['accuracy']:.1f}%" for row in (greedy, base, best))
    start = f"Greedy decoding of the untouched model is right {right} of the time"
    if best["low"] > greedy["high"]:
        return f"{start}; {best['name']} beats it, with {after}."
    if best["accuracy"] <= base["accuracy"]:
        return (
            f"{start}, and nothing sampled here beats it; nor did EM help sampling (from {before} to {after} at best)."
        )
    return (
        f"{start}, and nothing sampled here clearly beats it. What EM buys is better sampling, from {before} "
        f"to {after} ({best['name']}), with the variety that votes and pass@k need."
    )
