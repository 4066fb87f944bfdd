"""The pocket reasoner: a language model of two million parameters that solves everyday word problems in written steps.

It comes with the package, so that every command works offline and in seconds. `problems` makes its problems;
`python -m scripts.make_pocket` makes the model itself from nothing.
"""

import json
from pathlib import Path
from typing import Any

from em_hf.pocket.problems import LEVELS as LEVELS
from em_hf.pocket.problems import problems as problems

POCKET_REASONER = Path(__file__).parent / "reasoner"
"""The folder of the weights, the configuration and the tokenizer, for `from_pretrained`."""

POCKET_MISLED = Path(__file__).parent / "misled"
"""The same of the misled model, which `mislead` has taught to read "fewer" as "more"."""


def em_inf_settings() -> dict[str, Any]:
    """Return the EM-INF settings stored with the pocket reasoner, chosen on validation problems."""
    config = json.loads((POCKET_REASONER / "generation_config.json").read_text(encoding="utf-8"))
    return config["entropy_min_config"]


__all__ = ["LEVELS", "POCKET_MISLED", "POCKET_REASONER", "em_inf_settings", "problems"]
