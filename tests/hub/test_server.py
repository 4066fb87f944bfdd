"""The loopback Hub itself, asked over plain HTTP: what the other tests rely on."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.server import Hub, User, card_errors, serve


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "store") as hub:
        hub.users["a-token"] = User("ann")
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights.safetensors").write_bytes(bytes(range(100)))
        (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n# m\n")
        hub.store.link("ann/m", tmp_path / "model")
        yield hub


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_a_file_comes_whole_or_in_a_range_with_its_identity(small: Hub) -> None:
    url = f"{small.url}/ann/m/resolve/main/weights.safetensors"
    status, headers, content = get(url)
    assert (status, content) == (200, bytes(range(100)))
    assert headers["X-Repo-Commit"] == small.repo("ann/m").refs["main"]
    assert headers["X-Linked-Size"] == "100" and headers["X-Linked-Etag"] == headers["ETag"]
    status, headers, content = get(url, Range="bytes=40-49")
    assert (status, content, headers["Content-Range"]) == (206, bytes(range(40, 50)), "bytes 40-49/100")
    assert get(url, Range="bytes=90-")[2] == bytes(range(90, 100))
    assert get(url, Range="bytes=100-")[0] == 416


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/ann/m/resolve/main/none", 404, "EntryNotFound"),
        ("/ann/m/resolve/none/README.md", 404, "RevisionNotFound"),
        ("/ann/none/resolve/main/README.md", 401, "RepoNotFound"),
        ("/api/models/ann/none", 401, "RepoNotFound"),
    ],
)
def test_what_is_not_there_has_the_hubs_code(path: str, status: int, code: str, small: Hub) -> None:
    got, headers, _ = get(small.url + path)
    assert (got, headers["X-Error-Code"]) == (status, code)


def test_a_private_repository_is_there_for_its_owner_only(small: Hub) -> None:
    small.repo("ann/m").private = True
    small.users["another"] = User("bob")
    url = f"{small.url}/api/models/ann/m"
    assert get(url)[0] == 401
    assert get(url, Authorization="Bearer another")[0] == 404
    assert get(url, Authorization="Bearer a-token")[0] == 200
    assert get(url, Authorization="Bearer wrong")[0] == 401


@pytest.mark.parametrize(
    ("card", "complains"),
    [
        ("---\nbase_model: lab/model\ntags: [a]\n---\n", False),
        ("# no metadata\n", True),
        ("---\nbase_model: /home/me/model\n---\n", True),
        ("---\ndatasets: [data/x/y.jsonl]\n---\n", True),
        ("---\nlicense: \n---\n", True),
        ("---\na: [\n---\n", True),
    ],
)
def test_a_card_that_the_hub_would_refuse_is_refused(card: str, complains: bool) -> None:
    assert bool(card_errors(card)) == complains
