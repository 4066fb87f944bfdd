"""A reward of zero, for engines whose entropy bonus alone is EM-FT.

verl: `reward.custom_reward_function`. OpenRLHF: `--reward.remote_url` with this file.
"""

from typing import Any


def compute_score(*args: Any, **kwargs: Any) -> float:
    """Return 0, whatever was written (verl's form)."""
    return 0.0


def reward_func(queries: Any, prompts: Any, labels: Any) -> dict[str, Any]:
    """Return 0, whatever was written (OpenRLHF's form, which asks for one sample at a time)."""
    return {"rewards": 0.0, "scores": 0.0, "extra_logs": {}}
