"""One repository on the Hub: looked at, made, committed to and tagged, each step safe to repeat."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from em_hf.hub.errors import with_retries
from em_hf.hub.repository import MARK, Repository

_A_MODEL = (".safetensors", ".bin", ".pt", ".gguf", ".h5", "config.json")


@dataclass(frozen=True)
class State:
    """A repository as it is: head commit, files, visibility, and the files that an earlier push of em-hf left."""

    head: str
    files: frozenset[str]
    private: bool
    ours: frozenset[str]

    def a_model(self) -> str | None:
        """A file that shows that a model is in it, if there is one."""
        return next((path for path in sorted(self.files) if path.endswith(_A_MODEL)), None)


@dataclass(frozen=True)
class Remote:
    """A repository by its name and kind ("model", "space" or "dataset"); `say` is told of waits."""

    api: HfApi
    repo_id: str
    say: Callable[[str], None]
    kind: str = "model"

    def look(self, revision: str | None = None) -> State | None:
        """How it is at `revision`, or at main where there is no such branch; None where it cannot be seen."""
        return with_retries(lambda: self._look(revision), say=self.say)

    def _look(self, revision: str | None) -> State | None:
        try:
            info = self.api.repo_info(self.repo_id, revision=revision, repo_type=self.kind)
        except RevisionNotFoundError:
            info = self.api.repo_info(self.repo_id, repo_type=self.kind)
        except RepositoryNotFoundError:
            return None
        files = frozenset(sibling.rfilename for sibling in info.siblings or [])
        ours: Iterable[str] = ()
        if MARK in files:
            url = hf_hub_url(self.repo_id, MARK, revision=info.sha, endpoint=self.api.endpoint, repo_type=self.kind)
            answer = get_session().get(url, headers=build_hf_headers())
            hf_raise_for_status(answer)
            ours = answer.json().get("files", ())
        return State(head=str(info.sha), files=files, private=bool(info.private), ours=frozenset(ours))

    def make(self, *, private: bool, revision: str | None = None, hardware: str | None = None) -> State:
        """The repository and the branch, made where they are missing; a Space on `hardware`.

        Raises:
            ValueError: it is there and still not to be seen: the name is somebody else's.
        """
        options: dict[str, Any] = {"private": private, "exist_ok": True, "repo_type": self.kind}
        if self.kind == "space":
            options |= {"space_sdk": "gradio", "space_hardware": hardware}
        with_retries(lambda: self.api.create_repo(self.repo_id, **options), say=self.say)
        return self.branch(revision)

    def branch(self, revision: str | None) -> State:
        """The branch, made where it is missing; errors as in `make`."""
        if revision is not None:
            with_retries(lambda: self.api.create_branch(self.repo_id, branch=revision, exist_ok=True), say=self.say)
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
        """One commit with the files of `repository`, less what an earlier push left and this one lacks.

        Each try looks at the repository anew. So a commit whose answer was lost is found again and not made twice.
        """

        def attempt() -> CommitInfo:
            state = self._known(self._look(revision))
            additions = [CommitOperationAdd(path, source) for path, source in repository.files.items()]
            stale = sorted((state.ours & state.files) - set(repository.files))
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
        """Name `commit`; a tag that is there already is not moved (ValueError)."""

        def attempt() -> None:
            for ref in self.api.list_repo_refs(self.repo_id).tags:
                if ref.name == tag:
                    if ref.target_commit == commit:
                        return
                    raise ValueError(
                        f"the tag {tag} of {self.repo_id} names another commit; the run was pushed, name another tag"
                    )
            self.api.create_tag(self.repo_id, tag=tag, revision=commit)

        with_retries(attempt, say=self.say)


def license_of(api: HfApi, model: str, *, say: Callable[[str], None]) -> str | None:
    """The license on the card of a model on the Hub; None where that is not to be seen."""
    try:
        info = with_retries(lambda: api.model_info(model), say=say)
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403, 404):
            return None
        raise
    return info.card_data.get("license") if info.card_data else None
