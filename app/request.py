"""Checked requests of visitors: all input to the server becomes a valid value or a one-line error here."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from em_hf.generation.config import EntropyMinConfig
from em_hf.messages import shown
from em_hf.settings import POCKET_NAME, DrawSettings, ModelSettings, like, setting, settings_of

MAX_PROMPT_CHARACTERS = 20_000
LONGEST_ANSWER = 200  # characters
DEFAULTS = EntropyMinConfig()
MAX_NEW_TOKENS = 1024  # the server's limits, for time and memory
MAX_TEMPERATURE = 2.0
SLIDER_THRESHOLD = 5.0  # nats, the maximum of the threshold's slider


@dataclass(frozen=True)
class DecodeRequest:
    """The settings of one decode, under the names of the API. `temperature` 0 is greedy decoding."""

    prompt: str = setting(help="The text to continue.")
    model: str = setting(POCKET_NAME, help="One of the app's models.")
    seed: int = like(ModelSettings, "seed")
    max_new_tokens: int = setting(128, help="Longest completion, in tokens.", low=1, high=MAX_NEW_TOKENS)
    temperature: float = like(DrawSettings, "temperature", above=None, low=0, high=MAX_TEMPERATURE)
    threshold: float = like(EntropyMinConfig, "threshold", high=100)
    n_grad_steps: int = like(EntropyMinConfig, "n_grad_steps")
    entropy_min: bool = setting(True, help="Whether the second row is decoded with EM-INF.")

    @classmethod
    def checked(cls, **values: Any) -> "DecodeRequest":
        """Return settings made from raw values.

        Raises:
            ValueError: A value has the wrong type or is out of range; the message names it and the range.
        """
        request = cls(
            **{name: _checked(name, values[name]) for name in SETTINGS if name not in ("prompt", "model")},
            prompt=_prompt(values["prompt"]),
            model=_text("model", values["model"]),
        )
        request.config()
        return request

    def config(self, stored: EntropyMinConfig = DEFAULTS) -> EntropyMinConfig | None:
        """Return EM-INF's settings, those stored with the model where the request has none, or None if it is off."""
        if not self.entropy_min:
            return None
        return replace(stored, threshold=self.threshold, n_grad_steps=self.n_grad_steps)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


SETTINGS = settings_of(DecodeRequest)


def _checked(name: str, value: Any) -> Any:
    """Return a value checked against the range of a setting; 3.0 counts as 3, since browsers send it."""
    one = SETTINGS[name]
    if one.kind is int and isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    problem = one.problem(value)
    if problem:
        raise ValueError(f"{name} is {shown(value)}, but must be {one.allowed()}")
    return one.kind(value)


def known_answer(value: Any) -> str | None:
    """Return the known answer of a prompt, or None if the field was left empty.

    Raises:
        ValueError: It is not text, or too long for an answer.
    """
    text = _text("answer", "" if value is None else value).strip()
    if len(text) > LONGEST_ANSWER:
        raise ValueError(f"the answer has {len(text):,} characters, but at most {LONGEST_ANSWER} are taken")
    return text or None


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}, but must be text")
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
