"""What a Hub keeps: repositories with commits, branches, tags and pull requests, and the content as files on disk."""

import hashlib
import itertools
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Refused(Exception):
    """An answer other than success, in the Hub's words: status, message, and the code its client reads."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class File:
    """One file of a commit: where its content lies, and whether it went through large-file storage."""

    sha256: str
    git_oid: str
    size: int
    lfs: bool

    @property
    def oid(self) -> str:
        """The identity that the client compares with its own: SHA-256 of a large file, git's hash of another."""
        return self.sha256 if self.lfs else self.git_oid


@dataclass
class Repo:
    kind: str
    id: str
    private: bool
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)  # branch, tag or refs/pr/N -> commit
    tags: set[str] = field(default_factory=set)
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def head(self, revision: str) -> str:
        sha = self.refs.get(revision) or (revision if revision in self.commits else None)
        if sha is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    def files(self, revision: str = "main") -> dict[str, File]:
        return self.commits[self.head(revision)]


class Store:
    """All repositories of one Hub. Every change holds the lock, so a commit is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lock = threading.RLock()
        self._count = itertools.count(1)

    def create(self, kind: str, repo_id: str, *, private: bool) -> Repo:
        with self.lock:
            if (kind, repo_id) in self.repos:
                raise Refused(409, f"You already created this {kind} repo: {repo_id}")
            repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private)
            first = self.put(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", lfs=False)
            self._commit(repo, "main", {".gitattributes": first}, "initial commit")
            return repo

    def put(self, content: bytes, *, lfs: bool) -> File:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blob(sha256).write_bytes(content)
        git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return File(sha256, git_oid, len(content), lfs)

    def link(self, repo_id: str, folder: Path) -> None:
        """Make `folder` the content of a public model, large files without a copy, as they may be very large."""
        repo = self.repos.get(("model", repo_id)) or self.create("model", repo_id, private=False)
        files = {}
        for path in sorted(folder.iterdir()):
            if path.suffix != ".safetensors":
                files[path.name] = self.put(path.read_bytes(), lfs=False)
                continue
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if not self.blob(sha256).exists():
                self.blob(sha256).symlink_to(path)
            files[path.name] = File(sha256, "", path.stat().st_size, True)
        self._commit(repo, "main", files, "put there by a test")

    def blob(self, sha256: str) -> Path:
        return self.folder / sha256

    def read(self, file: File) -> bytes:
        return self.blob(file.sha256).read_bytes()

    def commit(self, repo: Repo, revision: str, operations: list[dict[str, Any]], *, pull_request: bool) -> str:
        """Apply the lines of a commit request to `revision`; the head must be the parent that the request names."""
        with self.lock:
            header = next(item["value"] for item in operations if item["key"] == "header")
            head = repo.head(revision)
            parent = header.get("parentCommit")
            if parent is not None and parent != head:
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            files = dict(repo.commits[head])
            for item in operations:
                self._apply(files, item["key"], item["value"])
            target = f"refs/pr/{len([ref for ref in repo.refs if ref.startswith('refs/pr/')]) + 1}"
            return self._commit(repo, target if pull_request else revision, files, header["summary"])

    def _apply(self, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
        if key == "file":
            import base64

            files[value["path"]] = self.put(base64.b64decode(value["content"]), lfs=False)
        elif key == "lfsFile":
            if not self.blob(value["oid"]).is_file():
                raise Refused(400, f"The LFS object {value['oid']} was never uploaded")
            files[value["path"]] = File(value["oid"], "", self.blob(value["oid"]).stat().st_size, True)
        elif key == "deletedFile":
            if value["path"] not in files:
                raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
            del files[value["path"]]

    def _commit(self, repo: Repo, ref: str, files: dict[str, File], message: str) -> str:
        sha = hashlib.sha1(f"{repo.id} {next(self._count)} {message}".encode()).hexdigest()
        repo.commits[sha] = files
        repo.refs[ref] = sha
        repo.messages.append(message)
        return sha
