"""What must not leave this machine: absolute paths and access tokens. Found, cut out, or refused."""

import os
import re
import shlex
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

# A Hub token as its site makes them; a shorter "hf_..." word, as in a variable's name, is none.
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_PATH = re.compile(r"""(?<![\w./~:\\-])(?:file:/{2}|~|[A-Za-z]:)?(?:[/\\][^\s/\\'"=,;]+)+[/\\]?""")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_hub_id(name: str, revision: str | None = None) -> bool:
    """Whether `name` is a repository on the Hub, as far as that can be told without asking it.

    A commit hash as `revision` proves it, since only the Hub gives one. Else it must read OWNER/NAME and be no path
    here: a bare name could be anybody's folder.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return not is_absolute(name)
    return _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def is_absolute(text: str) -> bool:
    """Whether the whole of `text` is an absolute path, of any system."""
    if "\n" in text or len(text) < 2:
        return False
    rooted = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return rooted or text.startswith(("~/", "~\\", "file:/"))


def without_paths(value: Any) -> Any:
    """`value` with every absolute path in its strings cut down to the last name; lists and dicts are walked.

    >>> without_paths({"output": "/data/me/runs/first", "note": "read from /data/x.jsonl"})
    {'output': 'first', 'note': 'read from x.jsonl'}
    """
    if isinstance(value, dict):
        return {without_paths(key): without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    return _last_name(value) if is_absolute(value) else _PATH.sub(lambda match: _last_name(match[0]), value)


def command_without_paths(command: str) -> str:
    """The same for a command line, where a quoted path may hold spaces."""
    try:
        words = shlex.split(command)
    except ValueError:  # an unclosed quote: no shell line, so plain text
        return without_paths(command)
    clean = []
    for word in words:
        option, equals, value = word.partition("=")
        clean.append(f"{option}={without_paths(value)}" if equals and option.startswith("-") else without_paths(word))
    return shlex.join(clean)


def absolute_paths(value: Any, *, at: str = "") -> list[tuple[str, str]]:
    """Where in a JSON value a string is an absolute path of two or more parts: `(dotted place, path)` pairs."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in absolute_paths(item, at=f"{at}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [pair for i, item in enumerate(value) for pair in absolute_paths(item, at=f"{at}[{i}]")]
    # One part alone ("/think") may as well be a special token of the model.
    if isinstance(value, str) and is_absolute(value) and len(re.findall(r"[/\\]+[^/\\]", value)) > 1:
        return [(at, value)]
    return []


def refuse_tokens(name: str, text: str) -> None:
    """Raise ValueError where `text`, the content of file `name`, holds a Hub access token; the token is not shown."""
    own = os.environ.get("HF_TOKEN", "").strip()
    if _TOKEN.search(text) or (len(own) > 7 and own in text):
        raise ValueError(
            f"{name} holds what looks like a Hub access token; take it out of the run folder and revoke it at "
            "https://huggingface.co/settings/tokens before pushing"
        )


def _last_name(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]
