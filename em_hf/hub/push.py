"""Push a folder to the Hub: private unless requested otherwise, in one commit or not at all."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff, validate_repo_id

from em_hf.hub.card import hub_base
from em_hf.hub.errors import NO_TOKEN, plain_errors, with_retries
from em_hf.hub.export import MARK, Recipe, Repository, refuse_foreign, source_of, staged
from em_hf.runs import Run

Say = Callable[[str], None]
_A_MODEL = (".safetensors", ".bin", ".pt", ".gguf", ".h5", "config.json")


def _quiet(_: str) -> None:
    """Discard a message: the default `say`."""


@dataclass(frozen=True)
class Published:
    """What is on the Hub after a push.

    Attributes:
        url: of the repository, or of the pull request.
        commit: the commit that holds what was pushed.
        changed: whether this push made that commit; False if everything was already there.
        private: the repository's visibility; an existing one keeps its own.
        sizes: path -> bytes of the files.
    """

    repo_id: str
    url: str
    commit: str
    changed: bool
    private: bool
    sizes: dict[str, int]


@dataclass(frozen=True)
class Preview:
    """What `publish` would push, and where; `exists` and `private` are None if the Hub could not be queried."""

    repo_id: str
    repository: Repository
    exists: bool | None
    private: bool | None


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
    say: Say = _quiet,
) -> Published:
    """Push `run` to the Hub as one commit. A second push of the same run changes nothing.

    Args:
        run: a run, or its folder; or `Recipe()` for the decoding alone.
        repo_id: OWNER/NAME; NAME alone is under the logged-in account, and None is the run's name there.
        public: make a new repository public.
        revision: the branch to push to, created if it is missing.
        create_pr: propose the commit as a pull request on an existing repository.
        tag: name the commit.
        message: the commit's first line.
        merge: merge a LoRA adapter into its base model and push the whole model.
        say: called with messages for the user, such as about a wait.

    Raises:
        ValueError: the run cannot be pushed, there is no token, or the repository holds what must not be replaced.
        OSError: the Hub cannot be reached or refuses; the message says what to do.
    """
    source = source_of(run)
    if get_token() is None:
        raise ValueError(NO_TOKEN)
    api = HfApi()
    repo_id = _full_name(api, source, repo_id, say)
    with plain_errors(repo_id):
        license = _license_of(api, source, say)
    with staged(source, merge=merge, repo_id=repo_id, license=license) as repository:
        return push_folder(
            repository,
            repo_id,
            is_model=isinstance(source, Run),
            public=public,
            revision=revision,
            create_pr=create_pr,
            tag=tag,
            message=message or f"Push {source.name}",
            say=say,
        )


def push_folder(
    repository: Repository,
    repo_id: str,
    *,
    message: str,
    kind: str = "model",
    is_model: bool = False,
    public: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    tag: str | None = None,
    hardware: str | None = None,
    payment: str | None = None,
    say: Say = _quiet,
) -> Published:
    """Push a folder that em-hf wrote to OWNER/NAME; every upload to the Hub goes through here.

    Args:
        kind: "model", "space" or "dataset".
        is_model: whether it holds a model, and so may replace one.
        hardware: what a new Space runs on.
        payment: the message if the Hub requires payment.

    Other arguments, and errors, as in `publish`.
    """
    api = HfApi()
    remote = Remote(api, repo_id, say, kind)
    with plain_errors(repo_id, payment=payment):
        state = remote.look(revision)
        check_may_push(state, repo_id, is_model=is_model, create_pr=create_pr)
        if state is None:
            state = remote.make(private=not public, revision=revision, hardware=hardware)
        else:
            state = remote.branch(revision)
        done = remote.commit(repository, revision=revision, create_pr=create_pr, message=message)
        if tag is not None:
            remote.tag(tag, done.oid)
    prefix = "" if kind == "model" else f"{kind}s/"
    url = done.pr_url or f"{api.endpoint}/{prefix}{repo_id}"
    return Published(repo_id, url, done.oid, done.oid != state.head, state.private, repository.sizes)


@contextmanager
def previewed(
    run: Run | Recipe | str | Path,
    repo_id: str | None = None,
    *,
    public: bool = False,
    create_pr: bool = False,
    merge: bool = False,
    say: Say = _quiet,
) -> Iterator[Preview]:
    """Preview what `publish` would do; the Hub is only read.

    Without the Hub, `repo_id` must be OWNER/NAME, and what only the Hub knows is left out.

    Raises:
        ValueError: the run cannot be pushed there, or `repo_id` lacks the owner and there is no token to look it up.
        OSError: the Hub is needed for the name and cannot be reached.
    """
    source = source_of(run)
    api = HfApi()
    repo_id = _full_name(api, source, repo_id, say)
    license, exists, private = None, None, None
    try:
        with plain_errors(repo_id):
            license = _license_of(api, source, say)
            state = Remote(api, repo_id, say).look()
        check_may_push(state, repo_id, is_model=isinstance(source, Run), create_pr=create_pr)
        exists, private = state is not None, not public if state is None else state.private
    except OSError as error:
        say(f"Not asked of the Hub, and so left out: the base model's license and whether {repo_id} exists ({error}).")
    with staged(source, merge=merge, repo_id=repo_id, license=license) as repository:
        yield Preview(repo_id, repository, exists, private)


@dataclass(frozen=True)
class State:
    """A repository's state: head commit, files, visibility, and the files that an earlier push of em-hf left."""

    head: str
    files: frozenset[str]
    private: bool
    ours: frozenset[str]


def check_may_push(state: State | None, repo_id: str, *, is_model: bool, create_pr: bool = False) -> None:
    """Raise ValueError if there is no repository to propose a change to, or the push would replace others' content.

    A pull request replaces nothing by itself, since the owner decides.
    """
    if state is None:
        if create_pr:
            raise ValueError(
                f"there is no repository {repo_id} to propose a change to; leave --create-pr out to make it"
            )
        return
    if create_pr:
        return
    refuse_foreign(
        repo_id, state.files, way_out="name another repository with --repo, or propose the change with --create-pr"
    )
    model = next((path for path in sorted(state.files) if path.endswith(_A_MODEL)), None)
    if model and not is_model:
        raise ValueError(f"{repo_id} holds a model ({model}), whose place this would take: name another repository")


@dataclass(frozen=True)
class Remote:
    """One repository on the Hub, by name and kind; every step is safe to repeat, and `say` reports waits."""

    api: HfApi
    repo_id: str
    say: Say
    kind: str = "model"

    def look(self, revision: str | None = None) -> State | None:
        """Return the state at `revision`, or at main if there is no such branch; None if it cannot be seen."""
        return with_retries(lambda: self._look(revision), say=self.say)

    def _look(self, revision: str | None) -> State | None:
        try:
            info = self.api.repo_info(self.repo_id, revision=revision, repo_type=self.kind)
        except RevisionNotFoundError:
            info = self.api.repo_info(self.repo_id, repo_type=self.kind)
        except RepositoryNotFoundError:
            return None
        # Only the Hub's kernels lack `siblings`, and `kind` is never that.
        files = frozenset(sibling.rfilename for sibling in info.siblings or [])  # type: ignore[union-attr]
        ours: Iterable[Any] = ()
        if MARK in files:
            url = hf_hub_url(self.repo_id, MARK, revision=info.sha, endpoint=self.api.endpoint, repo_type=self.kind)
            answer = http_backoff("GET", url, headers=build_hf_headers())
            hf_raise_for_status(answer)
            mark = answer.json()
            ours = (mark.get("files") if isinstance(mark, dict) else None) or ()
        return State(head=str(info.sha), files=files, private=bool(info.private), ours=frozenset(map(str, ours)))

    def make(self, *, private: bool, revision: str | None = None, hardware: str | None = None) -> State:
        """Create the repository and the branch if they are missing, a Space on `hardware`, and return the state.

        Raises:
            ValueError: it exists but cannot be seen: the name is somebody else's.
        """
        options: dict[str, Any] = {"private": private, "exist_ok": True, "repo_type": self.kind}
        if self.kind == "space":
            options |= {"space_sdk": "gradio", "space_hardware": hardware}
        with_retries(lambda: self.api.create_repo(self.repo_id, **options), say=self.say)
        return self.branch(revision)

    def branch(self, revision: str | None) -> State:
        """Create the branch if it is missing, and return its state; errors as in `make`."""
        if revision is not None:
            options: dict[str, Any] = {"branch": revision, "exist_ok": True, "repo_type": self.kind}
            with_retries(lambda: self.api.create_branch(self.repo_id, **options), say=self.say)
        return self._known(self.look(revision))

    def _known(self, state: State | None) -> State:
        if state is None:
            raise ValueError(
                f"the name {self.repo_id} is taken by a repository that the token may not see; name another: --repo"
            )
        return state

    def commit(
        self, repository: Repository, *, message: str, revision: str | None = None, create_pr: bool = False
    ) -> CommitInfo:
        """Make one commit with the files of `repository`, deleting what an earlier push left and this one lacks.

        Each attempt reads the repository's state again, so a commit whose response was lost is not made twice.

        Uses huggingface_hub's `create_commit` and not its `upload_folder`, which with hf_xet installed may split a
        folder over several commits (from 250 files or five minutes on, or if a commit of more than 20 files fails),
        and opens a draft pull request before anything is uploaded: a failure would leave half a repository.
        """

        def attempt() -> CommitInfo:
            state = self._known(self._look(revision))
            additions = [CommitOperationAdd(path, repository.folder / path) for path in repository.sizes]
            stale = sorted((state.ours & state.files) - set(repository.sizes))
            return self.api.create_commit(
                self.repo_id,
                [*additions, *(CommitOperationDelete(path) for path in stale)],
                commit_message=message,
                revision=revision,
                create_pr=create_pr,
                parent_commit=state.head,
                repo_type=self.kind,
            )

        return with_retries(attempt, say=self.say)

    def tag(self, tag: str, commit: str) -> None:
        """Tag `commit`; a tag that already names another commit is not moved (ValueError)."""

        def attempt() -> None:
            for ref in self.api.list_repo_refs(self.repo_id, repo_type=self.kind).tags:
                if ref.name == tag:
                    if ref.target_commit == commit:
                        return
                    raise ValueError(
                        f"the tag {tag} of {self.repo_id} names another commit; the run was pushed, name another tag"
                    )
            self.api.create_tag(self.repo_id, tag=tag, revision=commit, repo_type=self.kind)

        with_retries(attempt, say=self.say)


def _full_name(api: HfApi, source: Run | Recipe, repo_id: str | None, say: Say) -> str:
    """Return OWNER/NAME to push to; a missing owner is the logged-in account."""
    name = repo_id or re.sub(r"[^\w.-]+", "-", source.name, flags=re.ASCII).strip(".-")
    if "/" not in name:
        if get_token() is None:
            raise ValueError(NO_TOKEN)
        with plain_errors(name):
            name = f"{with_retries(api.whoami, say=say)['name']}/{name}"
    validate_repo_id(name)
    return name


def _license_of(api: HfApi, source: Run | Recipe, say: Say) -> str | None:
    """Return the license on the Hub card of the run's base model, or None if it cannot be seen."""
    base = hub_base(source) if isinstance(source, Run) else None
    if base is None:
        return None
    try:
        info = with_retries(lambda: api.model_info(base), say=say)
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403, 404):
            return None
        raise
    return info.card_data.get("license") if info.card_data else None
