"""What must not leave this machine: secrets and absolute paths. Paths in records are shortened; the rest is refused."""

import json
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub import get_token
from safetensors import safe_open

# Tokenizer files that may hold any text.
VOCABULARIES = ("vocab.json", "vocab.txt", "merges.txt")
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")

_PATH = re.compile(r"""(?<![\w./~:\\-])(?:file:/{2}|~|[A-Za-z]:)?(?:[/\\][^\s/\\'"=,;]+)+[/\\]?""")
_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")

# Tokens in the formats of their issuers; a shorter word, as in a variable's name, is not one.
_SHAPES = [
    ("a Hub access token", r"\bhf_(?:(?:oauth|jwt|app)_[\w.=-]{16,}|[A-Za-z0-9]{16,})|\bapi_org_[A-Za-z0-9]{16,}"),
    ("an API key", r"\bsk-(?=[\w-]*(?:[0-9A-Z]|[a-z]{16}))[\w-]{16,}"),
    ("a GitHub or GitLab token", r"\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})"),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a Google API key", r"\bAIza[\w-]{35}"),
    ("a Google access token", r"\bya29\.[\w-]{20,}|(?<![\w/])1//0[\w-]{20,}"),
    ("a Slack token", r"\bxox[abeoprs]-[\w-]{10,}|\bhooks\.slack\.com/services/\w+"),
    ("the address of a Discord webhook", r"\bdiscord(?:app)?\.com/api/webhooks/\d+/[\w-]+"),
    ("a Telegram bot's token", r"\b\d{8,10}:AA[\w-]{33}\b"),
    ("a Mailgun API key", r"\bkey-[0-9a-f]{32}\b"),
    ("a line of .netrc", r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+\S"),
    ("a cookie", r"(?i:\b(?:set-)?cookie:\s*)[^\s=;]+=[^\s;]{16,}"),
    ("a SendGrid API key", r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    (
        "an access token",
        r"\b(?:gsk_|r8_|npm_|do[opr]_v1_|nvapi-|xai-|pypi-|dckr_pat_|glsa_|[rs]k_(?:live|test)_)[\w-]{16,}",
    ),
    ("an access token", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    ("a password in a URL", r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"]*:(?![*<{$])[^\s/@'\"]+@[^\s/'\"]"),
    ("a secret in a URL", r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:'\"]{20,}@[^\s/'\"]"),
]
_KNOWN = [(what, re.compile(pattern)) for what, pattern in _SHAPES]
# What a secret is assigned to: `token=VALUE`, `"api_key": "VALUE"`, `--password VALUE`, `Bearer VALUE`, `login VALUE`.
_PASSWORD = r"passw(?:or)?d|passphrase|pwd"
_NAME = (
    rf"(?:{_PASSWORD}|token|secret|credentials?|authorization|auth|signature|(?<=[?&])sig"
    r"|(?:api|access|account|secret|private|auth)[_-]?key)"
)
_VALUE = r"""(?P<value>[^\s"'&,;)}\]]+)"""
_ASSIGNED = [
    re.compile(rf"""(?P<name>{_NAME})["']?\s*(?P<by>[=:])\s*["']?(?:(?:bearer|basic)\s+)?{_VALUE}""", re.IGNORECASE),
    re.compile(rf"""(?<!\S)--?[\w-]*?(?P<name>{_NAME})(?P<by>\s+)["']?{_VALUE}""", re.IGNORECASE),
    re.compile(rf"""\b(?P<name>bearer|login)(?P<by>\s+){_VALUE}""", re.IGNORECASE),
]
_SECRET_KEY = re.compile(rf"(?:.*[_.-])?{_NAME}", re.IGNORECASE)
# Words and dotted names; a random string of the same characters hardly ever looks like one.
_WORDS = re.compile(r"(?:[A-Z]?[a-z]{1,14}|[A-Z]{1,8}|\d{1,4})(?:[-_./](?:[A-Z]?[a-z]{1,14}|[A-Z]{1,8}|\d{1,4}))*")
_CAMEL = re.compile(r"(?:[A-Z]?[a-z]{2,14})(?:[A-Z][a-z]{2,14})+")
# First parts of paths that belong to one machine or person; /usr and /dev are on every machine.
_PRIVATE_ROOTS = frozenset(
    "Users Volumes content data gpfs home lustre media mnt nfs opt private raid root scratch shared srv tmp var work "
    "workspace".split()
)


def may_be_hub_id(name: str) -> bool:
    """Return whether `name` has the form of a repository on the Hub, NAME or OWNER/NAME; a folder's may have it too."""
    return _HUB_ID.fullmatch(name) is not None


def is_hub_id(name: str, revision: str | None) -> bool:
    """Return whether `name` is a repository on the Hub, which its commit as `revision` proves: folders have none.

    The form alone proves nothing. Whoever owns `runs` on the Hub would choose what the readers of a card, or the users
    of an adapter, load as `runs/first`.
    """
    return may_be_hub_id(name) and revision is not None and _COMMIT.fullmatch(revision) is not None


def is_absolute(text: str) -> bool:
    """Return whether the whole of `text` is an absolute path on any operating system."""
    if "\n" in text or len(text) < 2:
        return False
    rooted = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return rooted or text.startswith(("~/", "~\\", "file:/"))


def without_paths(value: Any) -> Any:
    """Return `value` with every absolute path in its strings, nested ones too, shortened to the last name.

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
    """Return a command line without absolute paths; a quoted one may hold spaces."""
    try:
        words = shlex.split(command)
    except ValueError:  # an unclosed quote: no shell line, so plain text
        return without_paths(command)
    clean = []
    for word in words:
        option, equals, value = word.partition("=")
        clean.append(f"{option}={without_paths(value)}" if equals and option.startswith("-") else without_paths(word))
    return shlex.join(clean)


def secret_in(text: str, *, assigned: bool = True) -> str | None:
    """Return the kind of secret that `text` holds, or None if it holds none.

    Args:
        assigned: also look for values assigned to a token, key or password; off for a vocabulary, which is any text.
    """
    own = (get_token() or "").strip()
    if len(own) > 7 and own in text:
        return "a Hub access token"
    for what, pattern in _KNOWN:
        if pattern.search(text):
            return what
    for pattern in _ASSIGNED if assigned else ():
        for match in pattern.finditer(text):
            password = re.fullmatch(_PASSWORD, match["name"], re.IGNORECASE)
            if password and match["by"] == ":" and match["value"].isalpha():  # "password: required"
                continue
            if _is_secret(match["value"], at_least=4 if password else 16):
                return f"a secret (after {match['name']!r})"
    return None


def path_in(text: str) -> str | None:
    """Return an absolute path in `text` that names a place on one machine, or None if there is none."""
    # A single part ("/think") may just as well be a special token of the model.
    if is_absolute(text) and len(_parts(text)) > 1:
        return text
    for match in _PATH.finditer(text):
        parts, first = _parts(match[0]), match[0][0]
        # A single leading backslash is far more often a regular-expression escape than a path.
        if len(parts) > 1 and first != "\\" and (first != "/" or parts[0] in _PRIVATE_ROOTS):
            return match[0]
    return None


def refuse_private(name: str, value: Any, *, paths: bool = True) -> None:
    """Raise ValueError if a string of the JSON value `value`, read from the file `name`, must not be published.

    The message names the file and the field. It shows a path, but never a secret.
    """
    for at, key, text in _strings(value):
        what = secret_in(text)
        if what is None and _SECRET_KEY.fullmatch(key) and _is_secret(text, at_least=_shortest(key)):
            what = f"a secret (the value of {key!r})"
        _refuse(name, at, what, path_in(text) if paths else None)


def refuse_private_text(name: str, text: str, *, vocabulary: bool = False) -> None:
    """Check text that is not JSON in the same way, line by line; a vocabulary may hold what only looks like a path."""
    if not vocabulary or secret_in(text, assigned=False):
        for number, line in enumerate(text.splitlines(), 1):
            _refuse(
                name, f"line {number}", secret_in(line, assigned=not vocabulary), None if vocabulary else path_in(line)
            )


def refuse_private_file(name: str, path: Path) -> None:
    """Check a file of a repository in the same way, wherever its content came from; `name` is its path there."""
    if name.endswith((".png", ".whl")):
        return
    if name.endswith(".safetensors"):
        with safe_open(path, framework="np") as weights:
            refuse_private(name, {"metadata": weights.metadata() or {}})
        return
    # A SentencePiece model is binary, and may hold the paths of whoever trained it, which are public.
    text = path.read_bytes().decode("latin-1" if name in SENTENCEPIECE else "utf-8", errors="replace")
    if name == "tokenizer.json":
        tokenizer = _parsed(name, text)
        if not isinstance(tokenizer, dict):
            raise ValueError(f"{name} must hold an object; the run folder is damaged, train again")
        if isinstance(model := tokenizer.get("model"), dict):
            tokenizer["model"] = {key: item for key, item in model.items() if key not in ("vocab", "merges")}
        refuse_private(name, {key: item for key, item in tokenizer.items() if key != "added_tokens"})
    if name in (*VOCABULARIES, *SENTENCEPIECE, "added_tokens.json", "tokenizer.json"):
        refuse_private_text(name, text, vocabulary=True)
    elif name.endswith(".json"):
        refuse_private(name, _parsed(name, text))
    elif name.endswith(".jsonl"):
        for number, line in enumerate(text.splitlines(), 1):
            refuse_private(name, {f"line {number}": _parsed(f"{name}, line {number}", line)}, paths=False)
    else:
        refuse_private_text(name, text)


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON ({error}); the run folder is damaged, train again") from error


def _refuse(name: str, at: str, secret: str | None, path: str | None) -> None:
    if secret:
        revoke = "revoke it at https://huggingface.co/settings/tokens" if "Hub" in secret else "revoke it"
        raise ValueError(
            f"{name} holds what looks like {secret} ({at}), which must not be published: take it out of the run "
            f"folder, and {revoke}"
        )
    if path:
        raise ValueError(f"{name} holds the absolute path {path} ({at}), which must not be published: take it out")


def _strings(value: Any, at: str = "", key: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield each string of a JSON value, keys included: its dotted path, the key it is the value of, the string."""
    if isinstance(value, dict):
        for name, item in value.items():
            place = f"{at}.{name}".lstrip(".")
            yield f"a key of {at}" if at else "a key", "", str(name)
            yield from _strings(item, place, str(name))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _strings(item, f"{at}[{i}]", key)
    elif isinstance(value, str):
        yield at, key, value


def _shortest(key: str) -> int:
    return 4 if re.search(rf"(?:{_PASSWORD})$", key, re.IGNORECASE) else 16


def _is_secret(value: str, *, at_least: int) -> bool:
    """Return whether a string of at least `at_least` characters looks random, or is any password."""
    if len(value) < at_least or re.match(r"[<{$*%\[\]\\.]|(?i:none|null|true|false|your)\b", value):
        return False
    if at_least < 16:
        return True
    if not re.fullmatch(r"[\w+/=.~%:!#@^?*-]+", value, re.ASCII) or _WORDS.fullmatch(value) or _CAMEL.fullmatch(value):
        return False
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) >= 3.0


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"[/\\]+", re.sub(r"^(?:file:|~|[A-Za-z]:)", "", path)) if part]


def _last_name(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]
