"""A Hub on the loopback: the HTTP API as huggingface_hub's client uses it, with failures on command.

It speaks whoami, repository creation, card validation, preupload, large-file batch, upload (whole and in parts) and
verification, commits with a parent check, pull requests, branches, tags, refs, repository info, trees, and resolve with
ranges and ETags. It does what the client can see of the real one, no more. Clients run in processes of their own, with
HF_ENDPOINT set to `Hub.url`.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.hub.store import File, Refused, Repo, Store

LARGE = (".safetensors", ".bin", ".png", ".parquet")
_REPO = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>model|dataset|space)s/{_REPO}"

# stage, method, path; the stage names the handler `on_<stage>` and what `Hub.fail` takes.
ROUTES = [
    ("whoami", "GET", r"/api/whoami-v2"),
    ("create", "POST", r"/api/repos/create"),
    ("validate", "POST", r"/api/validate-yaml"),
    ("preupload", "POST", rf"{_API}/preupload/(?P<revision>[^/]+)"),
    ("batch", "POST", rf"/(?:(?P<prefix>datasets|spaces)/)?{_REPO}\.git/info/lfs/objects/batch"),
    ("upload", "PUT", r"/storage/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?"),
    ("complete", "POST", r"/storage/(?P<oid>[0-9a-f]{64})/complete"),
    ("verify", "POST", r"/api/verify"),
    ("commit", "POST", rf"{_API}/commit/(?P<revision>[^/]+)"),
    ("refs", "GET", rf"{_API}/refs"),
    ("branch", "POST", rf"{_API}/branch/(?P<revision>[^/]+)"),
    ("tag", "POST", rf"{_API}/tag/(?P<revision>[^/]+)"),
    ("tree", "GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/.*)?"),
    ("info", "GET", rf"{_API}(?:/revision/(?P<revision>[^/]+))?"),
    ("resolve", "GET", rf"/(?:(?P<prefix>datasets|spaces)/)?{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
]


@dataclass
class User:
    name: str
    orgs: tuple[str, ...] = ()
    can_write: bool = True


@dataclass
class Failure:
    """What goes wrong at a stage.

    Attributes:
        status: the HTTP status to answer with; 200 is only slow; 0 cuts the connection, in the middle of an upload if
            there is one.
        times: how often; then the stage works.
        after: carry the request out first, so that only the answer is lost.
        seconds: wait so long before anything else.
        on: which of the stage's requests is the first to fail, counted from 0.
        page: answer with this HTML, as a proxy would, and not with the Hub's JSON.
    """

    status: int = 0
    message: str = "failed on command"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 10**6
    after: bool = False
    seconds: float = 0.0
    on: int = 0
    page: str = ""


class Hub:
    """The server and what it holds. `failures` maps a stage to what goes wrong there."""

    def __init__(self, folder: Path, *, part_size: int = 10**9) -> None:
        self.store = Store(folder)
        self.users: dict[str, User] = {}
        self.failures: dict[str, Failure] = {}
        self.before: dict[str, Callable[[], None]] = {}  # what happens just before a stage's request is carried out
        self.requests: list[tuple[str, str, str, str | None]] = []  # stage, method, path, authorization
        self.part_size = part_size
        self.url = ""

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        return self.store.repos[kind, repo_id]

    def content(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Path -> content of everything at `revision`, or nothing where there is no such repository."""
        if (kind, repo_id) not in self.store.repos:
            return {}
        files = self.repo(repo_id, kind).files(revision)
        return {path: self.store.read(file) for path, file in sorted(files.items())}

    def stages(self) -> list[str]:
        return [stage for stage, *_ in self.requests]


@contextmanager
def serve(folder: Path, *, part_size: int = 10**9) -> Iterator[Hub]:
    """A running Hub that keeps its files under `folder`. Large files over `part_size` bytes are uploaded in parts."""
    hub = Hub(folder, part_size=part_size)

    class Bound(_Handler):
        pass

    Bound.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Cut(Exception):
    """Drop the connection without an answer."""


class _Answered(Exception):
    """The answer has been sent."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two small writes, and would wait for the client's delayed ACK
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Keep quiet: tests read `Hub.requests`."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    # -- one request -------------------------------------------------------------------------------------------

    def _answer(self, method: str) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        try:
            stage, self.args = self._route(method, url.path)
            self.hub.requests.append((stage, self.command, self.path, self.headers.get("Authorization")))
            failure = self._failure(stage)
            if failure is not None:
                time.sleep(failure.seconds)
                if not failure.after:
                    self._fail(failure)
            self.body = self._read()
            if stage in self.hub.before:
                self.hub.before[stage]()
            handler: Callable[[], Any] = getattr(self, f"on_{stage}")
            answer = handler()
            if failure is not None and failure.after:
                self._fail(failure)
            if answer is not None:
                self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        except _Cut:
            self.close_connection = True
        except _Answered:
            pass
        except Refused as refused:
            self._refuse(refused)

    def _route(self, method: str, path: str) -> tuple[str, dict[str, str]]:
        for stage, verb, pattern in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                return stage, {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
        self._read()
        raise Refused(404, f"no such route: {method} {path}")

    def _failure(self, stage: str) -> Failure | None:
        failure = self.hub.failures.get(stage)
        if failure is None or failure.times <= 0:
            return None
        if failure.on > 0:
            failure.on -= 1
            return None
        failure.times -= 1
        return failure

    def _fail(self, failure: Failure) -> None:
        if failure.status == 200:  # slow, and then fine
            return
        if failure.status == 0:
            if not failure.after:  # in the middle of the upload, if there is one
                self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            raise _Cut
        if not failure.after:
            self.body = self._read()
        if failure.page:
            self._send(failure.status, failure.page.encode(), {"Content-Type": "text/html"})
            raise _Answered
        self._refuse(Refused(failure.status, failure.message), failure.headers)
        raise _Answered

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, refused: Refused, headers: dict[str, str] | None = None) -> None:
        told = {"X-Error-Message": refused.message, **({"X-Error-Code": refused.code} if refused.code else {})}
        said = {"error": refused.message}
        if self.path == "/api/repos/create":
            asked = json.loads(self.body)
            said["url"] = f"{self.hub.url}/{asked.get('organization') or 'alice'}/{asked['name']}"
        body = json.dumps(said).encode()
        self._send(refused.status, body, {"Content-Type": "application/json", **told, **(headers or {})})

    # -- who may do what ---------------------------------------------------------------------------------------

    def _user(self, *, needed: bool = False) -> User | None:
        given = self.headers.get("Authorization")
        if given is None:
            if needed:
                raise Refused(401, "Invalid username or password.")
            return None
        user = self.hub.users.get(given.removeprefix("Bearer "))
        if user is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return user

    def _repo(self, *, write: bool = False) -> Repo:
        """The repository that the path names; to those who may not see it, it is not there."""
        kind = self.args.get("kind") or self.args.get("prefix", "models").removesuffix("s")
        user = self._user(needed=write)
        repo = self.hub.store.repos.get((kind, self.args["repo"]))
        owner = self.args["repo"].split("/")[0]
        mine = user is not None and owner in (user.name, *user.orgs)
        if repo is None or (repo.private and not mine):
            raise Refused(401 if user is None else 404, "Repository not found", "RepoNotFound")
        if write and not (mine and user is not None and user.can_write) and "create_pr" not in self.query:
            raise Refused(403, "You don't have the rights to write to this repository")
        return repo

    # -- the routes --------------------------------------------------------------------------------------------

    def on_whoami(self) -> dict[str, Any]:
        user = self._user(needed=True)
        assert user is not None
        return {"type": "user", "name": user.name, "orgs": [{"name": name} for name in user.orgs]}

    def on_create(self) -> dict[str, Any]:
        user, asked = self._user(needed=True), json.loads(self.body)
        assert user is not None
        owner = asked.get("organization") or user.name
        if owner not in (user.name, *user.orgs) or not user.can_write:
            raise Refused(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        kind, repo_id = asked.get("type", "model"), f"{owner}/{asked['name']}"
        self.hub.store.create(kind, repo_id, private=asked.get("visibility") == "private")
        prefix = "" if kind == "model" else f"{kind}s/"
        return {"url": f"{self.hub.url}/{prefix}{repo_id}", "id": repo_id, "name": repo_id}

    def on_validate(self) -> dict[str, Any] | None:
        errors = [{"message": message} for message in card_errors(json.loads(self.body)["content"])]
        if not errors:
            return {"errors": [], "warnings": []}
        answer = json.dumps({"errors": errors, "warnings": []}).encode()
        self._send(400, answer, {"Content-Type": "application/json"})
        return None

    def on_preupload(self) -> dict[str, Any]:
        repo = self._repo(write=True)
        present = repo.files(self.args["revision"])
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": present[file["path"]].oid if file["path"] in present else None,
                }
                for file in json.loads(self.body)["files"]
            ]
        }

    def on_batch(self) -> dict[str, Any]:
        self._user(needed=True)
        return {"transfer": "basic", "objects": [self._batch(item) for item in json.loads(self.body)["objects"]]}

    def _batch(self, item: dict[str, Any]) -> dict[str, Any]:
        if self.hub.store.blob(item["oid"]).is_file():
            return item
        href, size = f"{self.hub.url}/storage/{item['oid']}", self.hub.part_size
        verify = {"href": f"{self.hub.url}/api/verify"}
        if item["size"] <= size:
            return {**item, "actions": {"upload": {"href": href}, "verify": verify}}
        parts = {str(part + 1): f"{href}/{part + 1}" for part in range(-(-item["size"] // size))}
        upload = {"href": f"{href}/complete", "header": {"chunk_size": str(size), **parts}}
        return {**item, "actions": {"upload": upload, "verify": verify}}

    def on_upload(self) -> None:
        if "part" in self.args:
            part = self.hub.store.folder / f"{self.args['oid']}.{self.args['part']}"
            part.write_bytes(self.body)
        else:
            self._keep(self.body)
        self._send(200, b"", {"ETag": hashlib.md5(self.body).hexdigest()})

    def on_complete(self) -> dict[str, Any]:
        numbers = [part["partNumber"] for part in json.loads(self.body)["parts"]]
        parts = [self.hub.store.folder / f"{self.args['oid']}.{number}" for number in sorted(numbers)]
        self._keep(b"".join(part.read_bytes() for part in parts))
        return {}

    def _keep(self, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != self.args["oid"]:
            raise Refused(400, "The content does not have the SHA-256 that was announced")
        self.hub.store.put(content, lfs=True)

    def on_verify(self) -> dict[str, Any]:
        if not self.hub.store.blob(json.loads(self.body)["oid"]).is_file():
            raise Refused(404, "The object is not there")
        return {}

    def on_commit(self) -> dict[str, Any]:
        repo, pull_request = self._repo(write=True), "create_pr" in self.query
        operations = [json.loads(line) for line in self.body.splitlines() if line]
        sha = self.hub.store.commit(repo, self.args["revision"], operations, pull_request=pull_request)
        number = len([ref for ref in repo.refs if ref.startswith("refs/pr/")])
        return {
            "success": True,
            "commitOid": sha,
            "commitUrl": f"{self.hub.url}/{repo.id}/commit/{sha}",
            "pullRequestUrl": f"{self.hub.url}/{repo.id}/discussions/{number}" if pull_request else None,
        }

    def on_refs(self) -> dict[str, Any]:
        repo = self._repo()
        refs = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
        for name, sha in repo.refs.items():
            group = "pullRequests" if name.startswith("refs/pr/") else "tags" if name in repo.tags else "branches"
            ref = {"branches": f"refs/heads/{name}", "tags": f"refs/tags/{name}"}.get(group, name)
            refs[group].append({"name": name, "ref": ref, "targetCommit": sha})
        return refs

    def on_branch(self) -> dict[str, Any]:
        repo = self._repo(write=True)
        return self._name(repo, self.args["revision"], json.loads(self.body or b"{}").get("startingPoint") or "main")

    def on_tag(self) -> dict[str, Any]:
        repo = self._repo(write=True)
        tag = json.loads(self.body)["tag"]
        answer = self._name(repo, tag, self.args["revision"])
        repo.tags.add(tag)
        return answer

    def _name(self, repo: Repo, name: str, revision: str) -> dict[str, Any]:
        if name in repo.refs:
            raise Refused(409, f"Reference already exists: {name}")
        repo.refs[name] = repo.head(revision)
        return {}

    def on_info(self) -> dict[str, Any]:
        repo = self._repo()
        revision = self.args.get("revision", "main")
        files = repo.files(revision)
        card = self.hub.store.read(files["README.md"]).decode() if "README.md" in files else ""
        return {
            "id": repo.id,
            "modelId": repo.id,
            "sha": repo.head(revision),
            "private": repo.private,
            "gated": False,
            "tags": (front_matter(card) or {}).get("tags", []),
            "cardData": front_matter(card),
            "siblings": [{"rfilename": path, **({"size": file.size})} for path, file in sorted(files.items())],
        }

    def on_tree(self) -> None:
        files = self._repo().files(self.args["revision"])
        entries = [
            {"type": "file", "path": path, "size": file.size, "oid": file.git_oid, **_large(file)}
            for path, file in sorted(files.items())
        ]
        self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def on_resolve(self) -> None:
        repo = self._repo()
        if repo.gated:
            raise Refused(403, f"Access to model {repo.id} is restricted. Ask for access on its page.", "GatedRepo")
        sha = repo.head(self.args["revision"])
        file = repo.commits[sha].get(self.args["path"])
        if file is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        first, last, status = 0, file.size - 1, 200
        headers = {"X-Repo-Commit": sha, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.oid}"', "X-Linked-Size": str(file.size)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            first, last, status = int(asked[1]), int(asked[2] or file.size - 1), 206
            if first >= file.size:
                raise Refused(416, "Requested range not satisfiable")
            headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(last + 1 - first)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with self.hub.store.blob(file.sha256).open("rb") as content:
            content.seek(first)
            left = last + 1 - first
            while left > 0 and (piece := content.read(min(left, 1 << 20))):
                self.wfile.write(piece)
                left -= len(piece)


def _large(file: File) -> dict[str, Any]:
    return {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 130}} if file.lfs else {}


def front_matter(card: str) -> dict[str, Any] | None:
    block = re.match(r"\s*---\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", card, flags=re.DOTALL)
    return yaml.safe_load(block[1]) if block else None


def card_errors(card: str) -> list[str]:
    """What the Hub's check of a card's metadata would object to, as far as its documentation says."""
    try:
        data = front_matter(card)
    except yaml.YAMLError as error:
        return [f"the metadata is not YAML: {error}"]
    if not isinstance(data, dict):
        return ["there is no metadata block"]
    errors = []
    for key in ("base_model", "datasets"):
        for name in [data[key]] if isinstance(data.get(key), str) else data.get(key) or []:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(name)):
                errors.append(f'"{key}" with value "{name}" is not valid. Use a model or dataset id.')
    for key in ("license", "library_name", "pipeline_tag", "base_model_relation"):
        if key in data and not (isinstance(data[key], str) and data[key]):
            errors.append(f'"{key}" must be a string')
    if not all(isinstance(tag, str) and tag for tag in data.get("tags", [])):
        errors.append('"tags" must be strings')
    return errors
