"""What a visitor asks for, checked: whatever reaches the server leaves here as a right value or as a one-line error."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import POCKET_NAME

MAX_PROMPT_CHARACTERS = 20_000
MAX_NEW_TOKENS = 1024
MAX_TEMPERATURE = 2.0
MAX_SEED = 2**32 - 1
MAX_REPEATS = 128


@dataclass(frozen=True)
class DecodeRequest:
    """The settings of one decode, under the names of the API. `temperature` 0 is greedy decoding."""

    prompt: str
    model: str = POCKET_NAME
    seed: int = 0
    max_new_tokens: int = 128
    temperature: float = 1.0
    threshold: float = 0.3
    n_grad_steps: int = 3
    entropy_min: bool = True

    @classmethod
    def checked(cls, **values: Any) -> "DecodeRequest":
        """Settings from raw values.

        Raises:
            ValueError: a value of the wrong type or out of range; the message names it and the range.
        """
        request = cls(
            prompt=_prompt(values["prompt"]),
            model=_text("model", values["model"]),
            seed=whole("seed", values["seed"], 0, MAX_SEED),
            max_new_tokens=whole("max_new_tokens", values["max_new_tokens"], 1, MAX_NEW_TOKENS),
            temperature=_number("temperature", values["temperature"], 0, MAX_TEMPERATURE),
            threshold=_number("threshold", values["threshold"], 0, 100),
            n_grad_steps=whole("n_grad_steps", values["n_grad_steps"], 0, 100),
            entropy_min=_switch("entropy_min", values["entropy_min"]),
        )
        request.config()
        return request

    def config(self) -> EntropyMinConfig | None:
        """EM-INF's settings; None where it is off."""
        if not self.entropy_min:
            return None
        return EntropyMinConfig(threshold=self.threshold, n_grad_steps=self.n_grad_steps)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number in a range; 3.0 counts as 3, as browsers send it.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} is {_shown(value)}, but must be a whole number from {low} to {high}")
    return value


def known_answer(value: Any) -> str | None:
    """The known answer of a prompt, None where the field was left empty.

    Raises:
        ValueError: no text, or longer than an answer is.
    """
    text = _text("answer", "" if value is None else value).strip()
    if len(text) > 200:
        raise ValueError(f"the answer has {len(text):,} characters, but at most 200 are taken")
    return text or None


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} is {_shown(value)}, but must be a number from {low:g} to {high:g}")
    return float(value)


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {_shown(value)}, but must be true or false")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_shown(value)}, but must be text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a character (a lone surrogate): send whole characters") from error
    return value


def _prompt(value: Any) -> str:
    text = _text("prompt", value)
    if not text.strip():
        raise ValueError("the prompt is empty: type one, or take an example")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise ValueError(f"the prompt has {len(text):,} characters, but at most {MAX_PROMPT_CHARACTERS:,} are taken")
    return text


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
