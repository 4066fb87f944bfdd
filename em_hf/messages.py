"""The text of error messages: on one line, not too long, and with a suggestion of what was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def one_line(said: BaseException | str, most: int | None = None) -> str:
    """Return an error's message, or any text, on one line; the error's type if its message is empty.

    Args:
        said: The error or the text.
        most: Maximum length in characters; None keeps all.
    """
    text = " ".join(str(said).split())
    if not text and isinstance(said, BaseException):
        return type(said).__name__
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def shown(value: Any) -> str:
    """Return a value for an error message: on one line, and not too long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or nested too deeply
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text):,} characters)"


def did_you_mean(word: Any, names: Iterable[str]) -> str:
    """Return `; did you mean 'sampling'?` if one of the names is close to the word, else an empty string."""
    if not isinstance(word, str):
        return ""
    by_key = {name.replace("_", "-").lower(): name for name in names}
    near = get_close_matches(word.replace("_", "-").lower(), list(by_key), 1)
    return f"; did you mean {by_key[near[0]]!r}?" if near else ""
