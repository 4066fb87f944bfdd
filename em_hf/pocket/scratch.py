"""Make the pocket reasoner from nothing, where the repository that says how is at hand."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pretrain(output: Path) -> None:
    """Train the pocket reasoner from random weights and save it in `output`; about an hour on two free cores.

    Raises:
        ValueError: em-hf was not installed from its repository, in whose `scripts/` the training stands.
    """
    if not (ROOT / "scripts" / "pretrain.py").is_file():
        raise ValueError(
            "making the pocket reasoner from scratch needs em-hf's repository: clone it, and install it with pip "
            "install -e ."
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from scripts.pretrain import pretrain as made

    made(output)
