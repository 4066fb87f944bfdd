"""The settings of EM-INF, validated on construction."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args


@dataclass(frozen=True)
class EntropyMinConfig:
    """Settings of EM-INF: how the logits of one decoding step change before a token is drawn.

    There are two methods. `"logit_optimization"` (EM-INF, section 4.3 of the paper) takes gradient steps on the logits
    to lower `H(softmax(z)) + kl_weight · KL(p_0 ‖ p)` while the entropy is at or above `threshold`; its defaults are
    those of the runs in the public code. `"adaptive_temperature"` (the paper's baseline) divides the logits by the
    largest temperature at which the entropy is at most `max(target_ratio · H, threshold)`; its defaults are those of
    the paper's text.

    Args:
        method (`"logit_optimization"` or `"adaptive_temperature"`, default `"logit_optimization"`): The method.
        threshold (float, default 0.3): Entropy in nats below which a step is unchanged (the paper's δ); at least 0.
        n_grad_steps (int, default 3): Gradient steps per token; 0 to 100.
        learning_rate (float, default 0.1): Step size on the logits; in (0, 1] for Adam, in (0, 1e6] for SGD.
        kl_weight (float, default 0.05): Weight of the pull towards the original distribution; 0 to 1e6.
        optimizer (`"adam"` or `"sgd"`, default `"adam"`): Adam with fresh state at each token, as in the public code,
            or plain gradient descent, as in Proposition 1.
        target_ratio (float, default 0.5): Fraction of the entropy that adaptive temperature targets (the paper's α);
            in (0, 1].
        tmin (float, default 0.01), tmax (float, default 1.0): Temperatures searched; 0 < tmin < tmax <= 1.
        tol (float, default 1e-4): How close to the target entropy the search must come, in nats; above 0.
        max_iter (int, default 100): Maximum number of search steps; 1 to 1000.

    Raises:
        ValueError: A value has the wrong type or is out of range; the message names the field and the range.

    Example:

    ```python
    >>> from em_hf import EntropyMinConfig
    >>> config = EntropyMinConfig(n_grad_steps=10)
    >>> config.n_grad_steps, config.threshold
    (10, 0.3)
    >>> EntropyMinConfig.from_json(config.to_json()) == config
    True

    ```
    """

    # `em_hf.settings` reads the metadata too, for the command line and the docs.
    method: Literal["logit_optimization", "adaptive_temperature"] = field(
        default="logit_optimization", metadata={"help": "Gradient steps on the logits, or a temperature per step."}
    )
    threshold: float = field(
        default=0.3, metadata={"help": "Entropy below which a step is left alone.", "unit": "nats", "low": 0}
    )
    n_grad_steps: int = field(default=3, metadata={"help": "Gradient steps per token.", "low": 0, "high": 100})
    learning_rate: float = field(
        default=0.1, metadata={"help": "Step size on the logits; at most 1 with adam.", "above": 0, "high": 1_000_000}
    )
    kl_weight: float = field(
        default=0.05, metadata={"help": "Weight of the pull to the original distribution.", "low": 0, "high": 1_000_000}
    )
    optimizer: Literal["adam", "sgd"] = field(
        default="adam", metadata={"help": "Optimizer of the steps: adam (public code) or sgd (the proposition)."}
    )
    target_ratio: float = field(
        default=0.5, metadata={"help": "Share of the entropy that adaptive temperature aims at.", "above": 0, "high": 1}
    )
    tmin: float = field(default=0.01, metadata={"help": "Lowest temperature searched.", "above": 0, "below": 1})
    tmax: float = field(default=1.0, metadata={"help": "Highest temperature searched.", "above": 0, "high": 1})
    tol: float = field(
        default=1e-4, metadata={"help": "How close the search comes to the target entropy.", "unit": "nats", "above": 0}
    )
    max_iter: int = field(default=100, metadata={"help": "Most steps of that search.", "low": 1, "high": 1000})

    def __post_init__(self) -> None:
        words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
        for one in fields(self):
            value, said = getattr(self, one.name), one.metadata
            if get_args(one.type):
                if value not in get_args(one.type):
                    self._reject(one.name, " or ".join(map(repr, get_args(one.type))))
                continue
            kinds = int if one.type is int else (int, float)
            if (
                isinstance(value, bool)
                or not isinstance(value, kinds)
                or not abs(value) <= sys.float_info.max
                or not said.get("low", value) <= value <= said.get("high", value)
                or value <= said.get("above", -math.inf)
                or value >= said.get("below", math.inf)
            ):
                kind = "a whole number" if one.type is int else f"a number{' of nats' if 'unit' in said else ''}"
                bounds = " and ".join(f"{word} {said[key]:,}" for key, word in words.items() if key in said)
                self._reject(one.name, f"{kind}, {bounds}")
        if self.optimizer == "adam" and self.learning_rate > 1:
            self._reject("learning_rate", "in (0, 1] for the adam optimizer")
        if self.tmin >= self.tmax:
            self._reject("tmin", f"below tmax, which is {self.tmax:g}")

    def _reject(self, name: str, allowed: str) -> None:
        raise ValueError(f"EntropyMinConfig: {name} is {getattr(self, name)!r}, but must be {allowed}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as a dict of JSON-serializable values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: "Mapping[str, Any] | EntropyMinConfig") -> "EntropyMinConfig":
        """Build settings from some of the fields; the others keep their defaults.

        Raises:
            ValueError: `values` is not a mapping, a key is not a field, or a value is out of range.
        """
        if isinstance(values, cls):
            return values
        if not isinstance(values, Mapping):
            raise ValueError(f"EntropyMinConfig is made from a dict of its fields, not from {_short(values)}")
        known = [one.name for one in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ValueError(f"EntropyMinConfig has no field {_short(unknown[0])}; its fields are {', '.join(known)}")
        return cls(**values)

    def to_json(self) -> str:
        """Return all fields as the text of a JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "EntropyMinConfig":
        """Build settings from the text of a JSON object; see `from_dict`."""
        try:
            values = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"EntropyMinConfig: not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"EntropyMinConfig: a JSON object of fields is needed, not {type(values).__name__}")
        return cls.from_dict(values)


def requested(value: Any, stored: Any = None, name: str = "entropy_min") -> EntropyMinConfig | None:
    """Return the settings that an `entropy_min` argument stands for, or None if it turns EM-INF off.

    Every entry point to EM-INF parses its argument here, so that all accept and reject the same values.

    Args:
        value: True, False or None, 1 or 0, an `EntropyMinConfig`, a dict of its fields, or one of these as JSON text.
        stored: The settings stored with the model, which True stands for; the defaults if None.
        name (str): What the argument is called in messages.

    Raises:
        ValueError: `value` is none of these, or a setting is invalid; one line that names the argument or the field.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:  # not JSON, nested too deeply, or a number with too many digits
            raise ValueError(f"{name} is {_short(value)}, which is not JSON: {_ALLOWED}") from error
    if isinstance(value, (EntropyMinConfig, Mapping)):
        return EntropyMinConfig.from_dict(value)
    if value is None or (isinstance(value, int) and value in (0, 1)):
        return EntropyMinConfig.from_dict({} if stored is None else stored) if value else None
    raise ValueError(f"{name} is {_short(value)}: {_ALLOWED}")


_ALLOWED = "give True, False, an EntropyMinConfig, or its fields as a dict or as JSON text"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
