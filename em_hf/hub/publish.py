"""A run becomes a repository on the Hub: private unless asked otherwise, in one commit, or not at all."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, validate_repo_id

from em_hf.hub.card import hub_base
from em_hf.hub.errors import NO_TOKEN, patiently, plain_errors
from em_hf.hub.push import planned
from em_hf.hub.repository import MARK, Repository
from em_hf.hub.runs import Run, read_run

_A_MODEL = (".safetensors", ".bin", ".pt", ".gguf", ".h5", "config.json")


@dataclass(frozen=True)
class Published:
    """What is on the Hub after a push.

    Attributes:
        url: of the repository, or of the pull request.
        commit: the commit that holds the run.
        changed: whether this push made that commit; False where everything was there already.
        private: who may see it. An existing repository keeps the visibility it had.
        sizes: path -> bytes of the run's files.
    """

    repo_id: str
    url: str
    commit: str
    changed: bool
    private: bool
    sizes: dict[str, int]


@dataclass(frozen=True)
class _State:
    """A repository as it is: head commit, files, visibility, and the files that an earlier push left."""

    head: str
    files: frozenset[str]
    private: bool
    ours: frozenset[str]


def publish(
    run: Run | str | Path,
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
        run: a run, or its folder.
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
    run = run if isinstance(run, Run) else read_run(run)
    if get_token() is None:
        raise ValueError(NO_TOKEN)
    api = HfApi()
    repo_id = _full_name(api, run, repo_id, say)
    text = message or f"Push {run.name}"
    with plain_errors(repo_id):
        license = _base_license(api, run, say)
        with planned(run, merge=merge, repo_id=repo_id, license=license) as repository:
            state = patiently(lambda: _state(api, repo_id, revision), say=say)
            _check_state(state, repo_id, create_pr=create_pr)
            if state is None:
                patiently(lambda: api.create_repo(repo_id, private=not public, exist_ok=True), say=say)
            if revision is not None:
                patiently(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True), say=say)
            before = _known_state(patiently(lambda: _state(api, repo_id, revision), say=say), repo_id)
            done = _commit(api, repo_id, repository, revision=revision, create_pr=create_pr, message=text, say=say)
        if tag is not None:
            patiently(lambda: _tag(api, repo_id, tag, done.oid), say=say)
    url = done.pr_url or f"{api.endpoint}/{repo_id}"
    return Published(repo_id, url, done.oid, done.oid != before.head, before.private, repository.sizes)


@dataclass(frozen=True)
class Preview:
    """What `publish` would push, and where; `private` is None where the Hub could not be asked."""

    repo_id: str
    repository: Repository
    exists: bool | None
    private: bool | None


@contextmanager
def previewed(
    run: Run | str | Path,
    repo_id: str | None = None,
    *,
    public: bool = False,
    merge: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Preview]:
    """What `publish` would do. The Hub is only read; without it OWNER/NAME is needed, and what it knows is left out.

    Raises:
        ValueError: the run cannot be pushed, or its place has no full name and there is no token to ask with.
        OSError: the Hub is needed for the name and cannot be reached.
    """
    run = run if isinstance(run, Run) else read_run(run)
    api = HfApi()
    repo_id = _full_name(api, run, repo_id, say)
    license, exists, private = None, None, None
    try:
        with plain_errors(repo_id):
            license = _base_license(api, run, say)
            state = _state(api, repo_id, None)
            exists, private = state is not None, not public if state is None else state.private
    except OSError as error:
        say(f"Not asked of the Hub, and so left out: the base model's license and whether {repo_id} exists ({error}).")
    with planned(run, merge=merge, repo_id=repo_id, license=license) as repository:
        yield Preview(repo_id, repository, exists, private)


def _full_name(api: HfApi, run: Run, repo_id: str | None, say: Callable[[str], None]) -> str:
    """OWNER/NAME of where to push; the login is asked for its name where none is given."""
    name = repo_id or re.sub(r"[^\w.-]+", "-", run.name, flags=re.ASCII).strip(".-")
    if "/" not in name:
        if get_token() is None:
            raise ValueError(NO_TOKEN)
        with plain_errors(name):
            name = f"{patiently(api.whoami, say=say)['name']}/{name}"
    validate_repo_id(name)
    return name


def _base_license(api: HfApi, run: Run, say: Callable[[str], None]) -> str | None:
    """The license on the base model's card; None where that is not to be seen."""
    base = hub_base(run)
    if base is None:
        return None
    try:
        info = patiently(lambda: api.model_info(base), say=say)
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403, 404):
            return None
        raise
    return info.card_data.get("license") if info.card_data else None


def _state(api: HfApi, repo_id: str, revision: str | None) -> _State | None:
    try:
        info = api.model_info(repo_id, revision=revision)
    except RevisionNotFoundError:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        return None
    files = frozenset(sibling.rfilename for sibling in info.siblings or [])
    ours: Iterable[str] = ()
    if MARK in files:
        url = hf_hub_url(repo_id, MARK, revision=info.sha, endpoint=api.endpoint)
        answer = get_session().get(url, headers=build_hf_headers())
        hf_raise_for_status(answer)
        ours = answer.json().get("files", ())
    return _State(head=str(info.sha), files=files, private=bool(info.private), ours=frozenset(ours))


def _known_state(state: _State | None, repo_id: str) -> _State:
    if state is None:  # made, or already there, and still not to be seen
        raise ValueError(
            f"the name {repo_id} is taken by a repository that the token may not see; name another: --repo"
        )
    return state


def _check_state(state: _State | None, repo_id: str, *, create_pr: bool) -> None:
    if state is None and create_pr:
        raise ValueError(f"there is no repository {repo_id} to propose a change to; leave --create-pr out to make it")
    if state is not None and not create_pr and MARK not in state.files:
        theirs = sorted(path for path in state.files if path.endswith(_A_MODEL))
        if theirs:
            raise ValueError(
                f"{repo_id} exists and holds a model that em-hf did not push ({theirs[0]}); name another repository "
                "with --repo, or propose the change with --create-pr"
            )


def _commit(
    api: HfApi,
    repo_id: str,
    repository: Repository,
    *,
    revision: str | None,
    create_pr: bool,
    message: str,
    say: Callable[[str], None],
) -> CommitInfo:
    """One commit with the run's files, less what an earlier push left and this one lacks.

    Each try looks at the repository anew. So a commit whose answer was lost is found again and not made twice.
    """

    def attempt() -> CommitInfo:
        state = _known_state(_state(api, repo_id, revision), repo_id)
        additions = [CommitOperationAdd(path, source) for path, source in repository.files.items()]
        stale = sorted((state.ours & state.files) - set(repository.files))
        operations = [*additions, *(CommitOperationDelete(path) for path in stale)]
        return api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
            parent_commit=state.head,
        )

    return patiently(attempt, say=say)


def _tag(api: HfApi, repo_id: str, tag: str, commit: str) -> None:
    for ref in api.list_repo_refs(repo_id).tags:
        if ref.name == tag:
            if ref.target_commit == commit:
                return
            raise ValueError(f"the tag {tag} of {repo_id} names another commit; the run was pushed, name another tag")
    api.create_tag(repo_id, tag=tag, revision=commit)
