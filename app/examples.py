"""Prompts to begin with, the settings that suit a model, and the address line's settings."""

import math
from typing import Any
from urllib.parse import parse_qs

from em_hf.models import POCKET_NAMES
from em_hf.pocket import problems

from .asked import MAX_NEW_TOKENS, MAX_PROMPT_CHARACTERS, MAX_SEED, MAX_TEMPERATURE

PLAIN_PROMPTS = [
    "Why is the sky blue? Explain it to a child.",
    "Write a short poem about the sea in winter.",
    "Name three differences between a frog and a toad.",
]
# The settings of `em-hf train`'s pocket recipe, chosen on validation problems: most of its slips are thin.
POCKET_SETTINGS = {"threshold": 0.1, "n_grad_steps": 10}
OTHER_SETTINGS = {"threshold": 0.3, "n_grad_steps": 3}


def problems_with_answers(n: int = 6) -> list[tuple[str, str]]:
    """Held-out problems of the pocket reasoner with their answers."""
    return [(problem["prompt"], problem["answer"]) for problem in problems("test", n, 3)]


def settings_for(model: str) -> dict[str, Any]:
    return POCKET_SETTINGS if model in POCKET_NAMES else OTHER_SETTINGS


def from_address(search: str, names: list[str]) -> dict[str, Any]:
    """The settings in the part of an address behind the question mark. What is unknown or out of range is left out."""
    try:
        given = {key: values[-1] for key, values in parse_qs(search.lstrip("?"), max_num_fields=50).items()}
    except ValueError:
        return {}
    found: dict[str, Any] = {}
    if (prompt := given.get("prompt", "")).strip() and len(prompt) <= MAX_PROMPT_CHARACTERS:
        found["prompt"] = prompt
    if given.get("model") in names:
        found["model"] = given["model"]
    ranges: dict[str, tuple[type, float, float]] = {
        "seed": (int, 0, MAX_SEED),
        "max_new_tokens": (int, 1, MAX_NEW_TOKENS),
        "temperature": (float, 0, MAX_TEMPERATURE),
        "threshold": (float, 0, 5),
        "n_grad_steps": (int, 0, 100),
    }
    for name, (kind, low, high) in ranges.items():
        try:
            value = kind(given.get(name, ""))
        except ValueError:
            continue
        if math.isfinite(value) and low <= value <= high:
            found[name] = value
    if given.get("entropy_min") in ("true", "false"):
        found["entropy_min"] = given["entropy_min"] == "true"
    return found


def opening(model: str) -> tuple[str, int]:
    """The prompt and the seed that the page begins with."""
    # With this seed the two rows part, and one of them reaches the answer.
    return (problems_with_answers()[5][0], 4) if model in POCKET_NAMES else (PLAIN_PROMPTS[0], 0)
