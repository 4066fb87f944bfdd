"""Draw the figures of how-it-works.md from the library itself: `python -m docs.figures`."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from em_hf import EntropyMinConfig, minimize_entropy, token_entropy

IMAGES = Path(__file__).parent / "images"
PLAIN, EM = "#0072b2", "#b84a00"  # the app's colours
# A made-up next-token distribution: a favourite, two rivals, and a tail.
TOKENS = ["6", "5", "7", "8", "4", "3", "9"]
LOGITS = torch.tensor([4.0, 2.6, 2.1, 1.2, 0.9, -0.4, -1.0])


def sharpened(steps: int) -> torch.Tensor:
    """Return the logits after some gradient steps, with nothing left out for a threshold."""
    return minimize_entropy(LOGITS, EntropyMinConfig(threshold=0.0, n_grad_steps=steps))


def main() -> None:
    """Write em-inf.svg: one distribution before and after EM-INF, and its entropy along the gradient steps."""
    plt.rcParams.update({"svg.hashsalt": "em-hf", "font.size": 9, "svg.fonttype": "none"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained")
    places = torch.arange(len(TOKENS))
    for shift, (name, logits, colour) in enumerate(
        (("before", LOGITS, PLAIN), ("after 10 steps", sharpened(10), EM)), start=-1
    ):
        nats = float(token_entropy(logits))
        left.bar(places + 0.2 + 0.4 * shift, logits.softmax(-1), 0.4, color=colour, label=f"{name}: {nats:.2f} nats")
    left.set(xticks=places, xticklabels=TOKENS, xlabel="next token", ylabel="probability", title="One decoding step")
    left.legend(frameon=False)
    steps = list(range(21))
    right.plot(steps, [float(token_entropy(sharpened(n))) for n in steps], color=EM, marker="o", markersize=3)
    right.axhline(0.3, color="gray", linestyle="--", linewidth=1)
    right.text(20, 0.32, "threshold: below it a row stops", ha="right", color="#444444")
    right.set(xlabel="gradient steps", ylabel="entropy, nats", ylim=(0, None), xticks=range(0, 21, 5))
    right.set_title("Its entropy along the gradient steps")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "em-inf.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
