"""A run, or the decoding alone, on the Hub: private unless asked otherwise, in one commit, or not at all."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.utils import validate_repo_id

from em_hf.hub.card import hub_base
from em_hf.hub.errors import NO_TOKEN, plain_errors, with_retries
from em_hf.hub.push import planned, source_of
from em_hf.hub.remote import Remote, State, license_of
from em_hf.hub.repository import MARK, Recipe, Repository
from em_hf.hub.runs import Run


@dataclass(frozen=True)
class Published:
    """What is on the Hub after a push.

    Attributes:
        url: of the repository, or of the pull request.
        commit: the commit that holds what was pushed.
        changed: whether this push made that commit; False where everything was there already.
        private: who may see it. An existing repository keeps the visibility it had.
        sizes: path -> bytes of the files.
    """

    repo_id: str
    url: str
    commit: str
    changed: bool
    private: bool
    sizes: dict[str, int]


def publish(
    run: Run | Recipe | str | Path,
    repo_id: str | None = None,
    *,
    public: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    tag: str | None = None,
    message: str | None = None,
    merge: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Published:
    """Push `run` to the Hub as one commit. A second push of the same run changes nothing.

    Args:
        run: a run, or its folder; or `Recipe()` for the decoding alone.
        repo_id: OWNER/NAME; NAME alone, and None for the run's own name, stand under the login's name.
        public: make a new repository public.
        revision: the branch to push to, made where it is missing.
        create_pr: propose the commit as a pull request on an existing repository.
        tag: name the commit.
        message: the commit's first line.
        merge: merge a LoRA adapter into its base model and push the whole model.
        say: is told what a user should know meanwhile, such as a wait.

    Raises:
        ValueError: the run cannot be pushed, there is no token, or the repository holds somebody's other model.
        OSError: the Hub cannot be reached or refuses; the message says what to do.
    """
    source = source_of(run)
    if get_token() is None:
        raise ValueError(NO_TOKEN)
    api = HfApi()
    repo_id = _full_name(api, source, repo_id, say)
    remote = Remote(api, repo_id, say)
    text = message or f"Push {source.name}"
    with plain_errors(repo_id):
        license = _license(api, source, say)
        with planned(source, merge=merge, repo_id=repo_id, license=license) as repository:
            state = remote.look(revision)
            _check_state(state, source, repo_id, create_pr=create_pr)
            state = remote.make(private=not public, revision=revision) if state is None else remote.branch(revision)
            done = remote.commit(repository, revision=revision, create_pr=create_pr, message=text)
        if tag is not None:
            remote.tag(tag, done.oid)
    url = done.pr_url or f"{api.endpoint}/{repo_id}"
    return Published(repo_id, url, done.oid, done.oid != state.head, state.private, repository.sizes)


@dataclass(frozen=True)
class Preview:
    """What `publish` would push, and where; `exists` and `private` are None where the Hub could not be asked."""

    repo_id: str
    repository: Repository
    exists: bool | None
    private: bool | None


@contextmanager
def previewed(
    run: Run | Recipe | str | Path,
    repo_id: str | None = None,
    *,
    public: bool = False,
    create_pr: bool = False,
    merge: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Preview]:
    """What `publish` would do. The Hub is only read; without it OWNER/NAME is needed, and what it knows is left out.

    Raises:
        ValueError: the run cannot be pushed there, or its place has no full name and there is no token to ask with.
        OSError: the Hub is needed for the name and cannot be reached.
    """
    source = source_of(run)
    api = HfApi()
    repo_id = _full_name(api, source, repo_id, say)
    license, exists, private = None, None, None
    try:
        with plain_errors(repo_id):
            license = _license(api, source, say)
            state = Remote(api, repo_id, say).look()
            _check_state(state, source, repo_id, create_pr=create_pr)
            exists, private = state is not None, not public if state is None else state.private
    except OSError as error:
        say(f"Not asked of the Hub, and so left out: the base model's license and whether {repo_id} exists ({error}).")
    with planned(source, merge=merge, repo_id=repo_id, license=license) as repository:
        yield Preview(repo_id, repository, exists, private)


def _full_name(api: HfApi, source: Run | Recipe, repo_id: str | None, say: Callable[[str], None]) -> str:
    """OWNER/NAME of where to push; the login is asked for its name where none is given."""
    name = repo_id or re.sub(r"[^\w.-]+", "-", source.name, flags=re.ASCII).strip(".-")
    if "/" not in name:
        if get_token() is None:
            raise ValueError(NO_TOKEN)
        with plain_errors(name):
            name = f"{with_retries(api.whoami, say=say)['name']}/{name}"
    validate_repo_id(name)
    return name


def _license(api: HfApi, source: Run | Recipe, say: Callable[[str], None]) -> str | None:
    base = hub_base(source) if isinstance(source, Run) else None
    return license_of(api, base, say=say) if base else None


def refuse_foreign(state: State | None, repo_id: str) -> None:
    """Raise ValueError where a repository stands that em-hf did not push."""
    if state is not None and state.files - {".gitattributes", "README.md"} and MARK not in state.files:
        raise ValueError(f"{repo_id} exists and em-hf did not push it; name another repository, or delete it first")


def _check_state(state: State | None, source: Run | Recipe, repo_id: str, *, create_pr: bool) -> None:
    """Raise ValueError where the push would have no repository, or would bury a model that is not this run's."""
    if state is None:
        if create_pr:
            raise ValueError(
                f"there is no repository {repo_id} to propose a change to; leave --create-pr out to make it"
            )
        return
    model = None if create_pr else state.a_model()
    if model and isinstance(source, Recipe):
        raise ValueError(f"{repo_id} holds a model ({model}), and the recipe alone would take its place: name another")
    if model and MARK not in state.files:
        raise ValueError(
            f"{repo_id} exists and holds a model that em-hf did not push ({model}); name another repository with "
            "--repo, or propose the change with --create-pr"
        )
