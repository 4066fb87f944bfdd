"""The settings of EM-INF, validated when they are made."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal


@dataclass(frozen=True)
class EntropyMinConfig:
    """How the logits of one decoding step are changed before a token is drawn.

    Two methods. `"logit_optimization"` (EM-INF, paper section 4.3) takes gradient steps on the logits to lower
    `H(softmax(z)) + kl_weight · KL(p_0 ‖ p)` while the entropy is at or above `threshold`. `"adaptive_temperature"`
    (the paper's baseline) divides the logits by the largest temperature at which the entropy is at most
    `max(target_ratio · H, threshold)`. The defaults of the first are those of the runs in the public code; the
    defaults of the second are the paper's text.

    Args:
        method: `"logit_optimization"` or `"adaptive_temperature"`.
        threshold: entropy in nats under which a step is left alone (the paper's δ); at least 0.
        n_grad_steps: gradient steps a token; 0 to 100.
        learning_rate: step size on the logits; in (0, 1] for Adam, in (0, 1e6] for sgd.
        kl_weight: weight of the pull towards the original distribution; 0 to 1e6.
        optimizer: `"adam"` (as in the public code, fresh state at each token) or `"sgd"` (as in Proposition 1).
        target_ratio: the paper's α: the share of the entropy that adaptive temperature aims at; in (0, 1].
        tmin, tmax: the temperatures searched; 0 < tmin < tmax <= 1.
        tol: how close to the target entropy, in nats, the search has to come; above 0.
        max_iter: steps of that search at most; 1 to 1000.

    Raises:
        ValueError: a value is of the wrong type or out of range; the message names the field and the range.
    """

    # The metadata is what the command line and the docs say of a field (em_hf.settings); the ranges are below.
    method: Literal["logit_optimization", "adaptive_temperature"] = field(
        default="logit_optimization", metadata={"help": "Gradient steps on the logits, or a temperature per step."}
    )
    threshold: float = field(
        default=0.3, metadata={"help": "Entropy below which a step is left alone.", "unit": "nats", "low": 0}
    )
    n_grad_steps: int = field(default=3, metadata={"help": "Gradient steps per token.", "low": 0, "high": 100})
    learning_rate: float = field(default=0.1, metadata={"help": "Step size on the logits.", "above": 0})
    kl_weight: float = field(
        default=0.05, metadata={"help": "Weight of the pull to the original distribution.", "low": 0, "high": 1e6}
    )
    optimizer: Literal["adam", "sgd"] = field(
        default="adam",
        metadata={"help": "Optimizer of the steps: adam (public code) or sgd (the paper's proposition)."},
    )
    target_ratio: float = field(
        default=0.5,
        metadata={"help": "Share of the entropy that adaptive temperature aims at.", "above": 0, "high": 1},
    )
    tmin: float = field(default=0.01, metadata={"help": "Lowest temperature searched.", "above": 0, "below": 1})
    tmax: float = field(default=1.0, metadata={"help": "Highest temperature searched.", "above": 0, "high": 1})
    tol: float = field(
        default=1e-4, metadata={"help": "How close the search comes to the target entropy.", "unit": "nats", "above": 0}
    )
    max_iter: int = field(default=100, metadata={"help": "Most steps of that search.", "low": 1, "high": 1000})

    def __post_init__(self) -> None:
        self._one_of("method", ("logit_optimization", "adaptive_temperature"))
        self._one_of("optimizer", ("adam", "sgd"))
        self._whole("n_grad_steps", 0, 100)
        self._whole("max_iter", 1, 1000)
        self._number("threshold", lambda x: x >= 0, "a number of nats, at least 0")
        self._number("kl_weight", lambda x: 0 <= x <= 1e6, "a number from 0 to 1e6")
        if self.optimizer == "adam":
            self._number("learning_rate", lambda x: 0 < x <= 1, "in (0, 1] for the adam optimizer")
        else:
            self._number("learning_rate", lambda x: 0 < x <= 1e6, "above 0 and at most 1e6")
        self._number("target_ratio", lambda x: 0 < x <= 1, "in (0, 1]")
        self._number("tmin", lambda x: 0 < x < 1, "in (0, 1) and below tmax")
        self._number("tmax", lambda x: self.tmin < x <= 1, "above tmin and at most 1")
        self._number("tol", lambda x: x > 0, "a number of nats above 0")

    def _reject(self, name: str, allowed: str) -> None:
        raise ValueError(f"EntropyMinConfig: {name} is {getattr(self, name)!r}, but must be {allowed}")

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, name) not in allowed:
            self._reject(name, " or ".join(repr(value) for value in allowed))

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if type(value) is not int or not low <= value <= high:
            self._reject(name, f"a whole number, {low} to {high}")

    def _number(self, name: str, holds: Callable[[float], bool], allowed: str) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= sys.float_info.max or not holds(value):
            self._reject(name, allowed)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EntropyMinConfig":
        """Settings from some of the fields; the others keep their defaults.

        Raises:
            ValueError: a key is not a field, or a value is out of range.
        """
        known = [one.name for one in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ValueError(f"EntropyMinConfig has no field {unknown[0]!r}; its fields are {', '.join(known)}")
        return cls(**values)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "EntropyMinConfig":
        """Settings from the text of a JSON object; see `from_dict`."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"EntropyMinConfig: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"EntropyMinConfig: a JSON object of fields is needed, not {type(values).__name__}")
        return cls.from_dict(values)
