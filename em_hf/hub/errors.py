"""Hub errors as one line that says what to do, and retries of those that are transient."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from em_hf.messages import one_line

Result = TypeVar("Result")

# The HTTP library that huggingface_hub uses: its name differs between versions.
_http = import_module(HTTPError.__module__.partition(".")[0])

NO_TOKEN = (
    "no Hub token: log in with `hf auth login`, or set HF_TOKEN; `--to FOLDER` writes the repository here instead"
)
_TRIES = 6
_LONGEST_WAIT = 300.0
# Requests that huggingface_hub has already retried itself before giving up.
_PATIENT_ALREADY = ("/preupload/", "/info/lfs/", "/resolve/")


def with_retries(call: Callable[[], Result], *, say: Callable[[str], None]) -> Result:
    """Return `call()`, retried after a wait if the Hub is busy or the connection breaks; it must be safe to repeat.

    Waits as long as the Hub asks (Retry-After), else 1, 2, 4, 8, 8 seconds; an unreachable Hub is not waited for.
    """
    for left in reversed(range(_TRIES)):
        try:
            return call()
        except (HTTPError, json.JSONDecodeError) as error:
            wait = _seconds_to_wait(error, tried=_TRIES - 1 - left)
            if wait is None or left == 0:
                raise
            say(f"The Hub is busy ({_status(error) or 'connection lost'}); trying again in {wait:.0f} s.")
            time.sleep(wait)
    raise AssertionError("unreachable")


@contextmanager
def plain_errors(repo_id: str, *, payment: str | None = None) -> Iterator[None]:
    """Turn the client library's errors about `repo_id` into a one-line OSError; `payment` is the message for a 402."""
    try:
        yield
    except (HTTPError, OfflineModeIsEnabled, json.JSONDecodeError) as error:
        told = payment if payment and _status(error) == 402 else explain(error, repo_id)
        raise OSError(told) from error
    except RuntimeError as error:  # huggingface_hub's wrapping of a failed upload
        if not isinstance(error.__cause__, HTTPError):
            raise
        raise OSError(explain(error.__cause__, repo_id)) from error


def explain(error: Exception, repo_id: str) -> str:
    """Return one line on what happened and what to do, without tokens or a chain of causes."""
    again = f"push again: {repo_id} is as it was or complete, and what is there is not sent twice"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it to push, or write the repository to a folder with --to FOLDER"
    if isinstance(error, _http.ConnectError):
        return f"cannot reach {constants.ENDPOINT}: go online to push, or write the repository to a folder with --to"
    if isinstance(error, json.JSONDecodeError):
        return f"{constants.ENDPOINT} gave an answer that is not the Hub's; {again}"
    if not isinstance(error, HfHubHTTPError):
        return f"the connection to {constants.ENDPOINT} broke; {again}"
    return _explain_answer(error, repo_id, again)


def _explain_answer(error: HfHubHTTPError, repo_id: str, again: str) -> str:
    status, owner = _status(error), repo_id.split("/")[0] if "/" in repo_id else "your account"
    said = one_line(error.server_message or "").rstrip(".")
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no such revision ({said})"
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return "the Hub does not accept the token: log in again with `hf auth login`, or set HF_TOKEN to a valid one"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no repository {repo_id} that the token may see; check the name and the token's scope"
    if status == 402 or (status == 403 and any(word in said.lower() for word in ("storage", "quota", "exceeded"))):
        return (
            f"the Hub wants payment or more space for {repo_id} ({said}): delete what {owner} no longer needs, push "
            "with --public if private space is what ran out, or see https://huggingface.co/settings/billing"
        )
    if status == 403:
        return (
            f"the token has no permission for {repo_id} ({said}): use a token with write access to {owner} "
            "(https://huggingface.co/settings/tokens), name another repository with --repo, or propose the change with "
            "--create-pr"
        )
    if status == 412:
        return f"somebody else changed {repo_id} while this push was under way; look at it, then push again"
    if status == 409:
        return f"another operation on {repo_id} is under way ({said}); {again}"
    if status == 429:
        return f"the Hub limits how often it may be asked; wait some minutes, then {again}"
    if status >= 500:
        return f"the Hub has trouble of its own ({status}); {again}"
    return f"the Hub refused {repo_id}: {said or status}"


def _status(error: Exception) -> int:
    """Return the HTTP status, or 0 if there was no response."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def _url(error: Exception) -> str:
    """Return the requested URL, or "" if it is not known."""
    if isinstance(error, HfHubHTTPError):
        return str(error.response.url)
    return str(error.request.url) if isinstance(error, _http.RequestError) else ""


def _seconds_to_wait(error: Exception, *, tried: int) -> float | None:
    """Return the seconds to wait before repeating the call, or None if it is not worth repeating."""
    backoff = float(min(2**tried, 8))
    if isinstance(error, _http.ConnectError) or any(part in _url(error) for part in _PATIENT_ALREADY):
        return None
    if not isinstance(error, HfHubHTTPError):
        return backoff
    if _status(error) == 429:
        asked = error.response.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdigit() else backoff
        return wait if wait <= _LONGEST_WAIT else None
    return backoff if _status(error) >= 500 else None
