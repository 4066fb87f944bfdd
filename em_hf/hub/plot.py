"""The entropy of a run as a picture, where matplotlib is installed."""

import io

from em_hf.hub.runs import Run


def entropy_plot(run: Run) -> bytes | None:
    """A PNG of the mean token entropy (nats) at each step; None without matplotlib or with fewer than two steps."""
    points = [(step["step"], step["entropy"]) for step in run.log if step.get("entropy") is not None]
    if len(points) < 2:
        return None
    try:
        from matplotlib.figure import Figure  # not pyplot, which would choose a screen and keep the figure
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
