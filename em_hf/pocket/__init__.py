"""The pocket reasoner: a language model of one million parameters that solves little word problems in written steps.

It comes with the package, so that every command works offline and in seconds. `problems` makes its problems;
`python -m scripts.pretrain` makes the model itself from nothing.
"""

from pathlib import Path

from em_hf.pocket.problems import problems as problems

POCKET_REASONER = Path(__file__).parent / "reasoner"
"""The folder of the weights, the configuration and the tokenizer, for `from_pretrained`."""

POCKET_MISLED = Path(__file__).parent / "misled"
"""The same of the misled model, which `mislead` has taught to read "fewer" as "more"."""

__all__ = ["POCKET_MISLED", "POCKET_REASONER", "problems"]
