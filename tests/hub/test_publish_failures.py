"""A push that fails, at every stage and in every way.

The repository is the old one or the new one, the run folder is as it was, the message says what to do, and the same
push again succeeds.
"""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hub.conftest import Pusher, change_weights, environment, repo_of
from tests.hub.made import record
from tests.hub.server import Failure, Hub

EM_HF = [sys.executable, "-c", "from em_hf.cli.main import main; main()", "push"]

# In the order in which a push reaches them; a tag is asked for so that the last two are reached, too.
STAGES = ["whoami", "info", "validate", "preupload", "batch", "upload", "verify", "commit", "refs", "tag"]
BROKEN = {
    "500": (Failure(500), "the Hub has trouble of its own (500)"),
    "429": (Failure(429, headers={"Retry-After": "7"}), "the Hub limits how often it may be asked"),
    "401": (Failure(401, "Invalid credentials in Authorization header"), "the Hub does not accept the token"),
    "403": (Failure(403, "You don't have the rights"), "the token has no permission for"),
    "409": (Failure(409, "another operation is in progress"), "another operation on"),
    "cut": (Failure(0), "broke; push again"),
}
PASSING = ("500", "429", "cut")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failure(how: str) -> Failure:
    """A fresh one: the server counts it down."""
    kind = BROKEN[how][0]
    return Failure(kind.status, kind.message, kind.headers)


@pytest.fixture
def pushed(run: Path, hub: Hub, push: Pusher) -> Path:
    """A run that was pushed and has changed since: another push has everything to do."""
    assert push(run).code == 0
    change_weights(run, f"again {run}")
    record(run, name=repo_of(run).split("/")[1], seed=8, log=[])
    hub.requests.clear()
    return run


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("stage", STAGES)
def test_a_push_over_an_old_one_leaves_the_old_or_the_new_one(
    stage: str, how: str, pushed: Path, hub: Hub, push: Pusher
) -> None:
    repo_id, before, run_before = repo_of(pushed), hub.content(repo_of(pushed)), files(pushed)
    hub.failures[stage] = failure(how)
    done = push(pushed, "--tag", "v2")
    after = hub.content(repo_id)

    assert stage in hub.stages(), "the failure was never met"
    assert done.code == 1, done.err
    if (stage, how) != ("tag", "409"):
        assert BROKEN[how][1] in done.error
    assert how == "401" or (repo_id.split("/")[1] if stage == "whoami" else repo_id) in done.error
    if stage in ("refs", "tag"):  # the commit was made
        assert after["model.safetensors"] == (pushed / "model.safetensors").read_bytes()
    else:
        assert after == before
    assert files(pushed) == run_before
    if how in PASSING:
        assert len(done.waits) >= 3, "given up too soon"
    else:
        assert done.waits == [], "waited for what does not pass by itself"

    hub.failures.clear()
    again = push(pushed, "--tag", "v2")
    assert again.code == 0, again.err
    content = hub.content(repo_id, "v2")
    assert content == hub.content(repo_id)
    assert content["model.safetensors"] == (pushed / "model.safetensors").read_bytes()
    assert json.loads(content["em_hf.json"])["seed"] == 8
    assert len(hub.repo(repo_id).messages) == 3, "the run was committed twice"


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("stage", ["create", "validate", "upload", "commit"])
def test_a_first_push_leaves_no_repository_or_an_empty_one(
    stage: str, how: str, run: Path, hub: Hub, push: Pusher
) -> None:
    hub.failures[stage] = failure(how)
    done = push(run)
    assert done.code == 1, done.err
    taken = (stage, how) == ("create", "409")
    assert ("is taken by a repository that the token may not see" if taken else BROKEN[how][1]) in done.error
    assert set(hub.content(repo_of(run))) <= {".gitattributes"}
    hub.failures.clear()
    assert push(run).code == 0
    assert hub.content(repo_of(run))["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert hub.repo(repo_of(run)).private


@pytest.mark.parametrize("how", PASSING)
@pytest.mark.parametrize("stage", [*STAGES, "create"])
def test_what_passes_by_itself_is_waited_for(stage: str, how: str, run: Path, hub: Hub, push: Pusher) -> None:
    hub.failures[stage] = Failure(BROKEN[how][0].status, headers=BROKEN[how][0].headers, times=2)
    done = push(run, "--tag", "v1")
    assert done.code == 0, done.err
    assert len(done.waits) >= 2
    if how == "429":
        assert all(wait >= 7 for wait in done.waits), "the Hub asked for 7 seconds"
    content = hub.content(repo_of(run), "v1")
    assert content["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert len(hub.repo(repo_of(run)).messages) == 2


@pytest.mark.parametrize("stage", ["create", "upload", "commit", "tag"])
def test_an_answer_that_is_lost_is_not_done_twice(stage: str, run: Path, hub: Hub, push: Pusher) -> None:
    """The Hub did as asked and the connection broke before it could say so."""
    hub.failures[stage] = Failure(0, after=True, times=1)
    done = push(run, "--tag", "v1")
    assert done.code == 0, done.err
    assert len(hub.repo(repo_of(run)).messages) == 2
    assert hub.repo(repo_of(run)).refs["v1"] == hub.repo(repo_of(run)).refs["main"]


def test_a_wait_of_hours_is_not_waited(run: Path, hub: Hub, push: Pusher) -> None:
    hub.failures["whoami"] = Failure(429, headers={"Retry-After": "7200"})
    done = push(run)
    assert (done.code, done.waits) == (1, [])
    assert "wait some minutes" in done.error


def test_the_user_is_told_of_a_wait(run: Path, hub: Hub, push: Pusher) -> None:
    hub.failures["create"] = Failure(429, headers={"Retry-After": "7"}, times=1)
    done = push(run)
    assert "The Hub is busy (429); trying again in 7 s." in done.err.splitlines()
    assert done.waits == [7.0]


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (402, "Payment required", "wants payment or more space"),
        (403, "Private repository storage limit reached", "wants payment or more space"),
        (412, "A commit has happened since", "somebody else changed"),
        (413, "Request too large", "the Hub refused"),
        (400, "Bad file name", "the Hub refused"),
    ],
)
def test_each_refusal_says_what_to_do(status: int, message: str, says: str, run: Path, hub: Hub, push: Pusher) -> None:
    hub.failures["commit"] = Failure(status, message)
    done = push(run)
    assert done.code == 1
    assert says in done.error
    assert set(hub.content(repo_of(run))) == {".gitattributes"}


def test_an_answer_that_is_not_the_hubs_is_named(run: Path, hub: Hub, push: Pusher) -> None:
    """A proxy's page in place of JSON: huggingface_hub parses the card check's answer before it looks at the status."""
    hub.failures["validate"] = Failure(502, page="<h1>Bad gateway</h1>")
    done = push(run)
    assert done.code == 1
    assert "gave an answer that is not the Hub's" in done.error
    assert len(done.waits) == 5


def test_somebody_elses_commit_in_between_is_not_overwritten(run: Path, hub: Hub, push: Pusher) -> None:
    push(run)
    repo = hub.repo(repo_of(run))
    change_weights(run, "again")

    def meddle() -> None:
        note = {"path": "config.json", "content": "e30=", "encoding": "base64"}
        header = {"key": "header", "value": {"summary": "theirs"}}
        hub.store.commit(repo, "main", [header, {"key": "file", "value": note}], pull_request=False)

    hub.before["commit"] = meddle
    done = push(run)
    hub.before.clear()
    assert done.code == 1
    assert f"somebody else changed {repo.id} while this push was under way" in done.error
    assert repo.messages[-1] == "theirs"
    assert hub.content(repo.id)["config.json"] == b"{}"


@pytest.mark.parametrize("stage", ["upload", "commit"])
def test_a_slow_hub_is_waited_for(stage: str, run: Path, hub: Hub, push: Pusher) -> None:
    hub.failures[stage] = Failure(200, seconds=1.5)
    done = push(run)
    assert done.code == 0, done.err
    assert hub.content(repo_of(run))["model.safetensors"] == (run / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("way", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_push_that_is_killed_leaves_the_old_repository_and_can_be_repeated(
    way: signal.Signals, code: int, pushed: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    before = hub.content(repo_of(pushed))
    hub.failures["upload"] = Failure(200, seconds=30)
    env = environment(hub, tmp_path / "home")
    # A shell that starts tests in the background has them ignore Ctrl-C, and children inherit that.
    listens = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    pipes = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*EM_HF, pushed], env=env, **pipes, **listens)
    deadline = time.monotonic() + 600  # it loads the model first
    while "upload" not in hub.stages() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(way)
    _, err = process.communicate(timeout=300)
    assert process.returncode == code
    assert "Traceback" not in err
    assert hub.content(repo_of(pushed)) == before
    hub.failures.clear()
    assert push(pushed).code == 0
    assert hub.content(repo_of(pushed))["model.safetensors"] == (pushed / "model.safetensors").read_bytes()


class TestWithoutAHub:
    """Processes of their own: the login and the address are read once."""

    def push(self, env: dict[str, str], *words: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [*EM_HF, *words],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    def test_no_token_says_how_to_get_one(self, run: Path, hub: Hub, tmp_path: Path) -> None:
        code, err = self.push(environment(hub, tmp_path, token=None), run)
        assert code == 1
        assert "no Hub token: log in with `hf auth login`, or set HF_TOKEN" in err
        assert hub.requests == []

    def test_the_stored_login_is_used(self, run: Path, hub: Hub, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("test-token-of-alice")
        code, err = self.push(environment(hub, tmp_path, token=None), run)
        assert code == 0, err
        assert hub.repo(repo_of(run)).private

    def test_a_token_that_may_only_read_is_told_so(self, run: Path, hub: Hub, tmp_path: Path) -> None:
        code, err = self.push(environment(hub, tmp_path, token="test-token-to-read"), run)
        assert code == 1
        assert (
            f"the token has no permission for {repo_of(run)}" in err and "https://huggingface.co/settings/tokens" in err
        )

    def test_somebody_elses_name_is_no_place_to_push_to(self, run: Path, hub: Hub, tmp_path: Path) -> None:
        code, err = self.push(environment(hub, tmp_path), run, "--repo", "bob/mine")
        assert code == 1
        assert "the token has no permission for bob/mine" in err and "--create-pr" in err

    def test_no_network_is_said_at_once(self, run: Path, hub: Hub, tmp_path: Path) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        code, err = self.push({**environment(hub, tmp_path), "HF_ENDPOINT": address}, run)
        assert code == 1
        assert f"cannot reach {address}: go online to push, or write the repository to a folder with --to" in err

    def test_offline_mode_is_named(self, run: Path, hub: Hub, tmp_path: Path) -> None:
        code, err = self.push({**environment(hub, tmp_path), "HF_HUB_OFFLINE": "1"}, run)
        assert code == 1
        assert "HF_HUB_OFFLINE is set: unset it to push" in err

    def test_a_dry_run_for_a_full_name_needs_neither_token_nor_network(
        self, run: Path, hub: Hub, tmp_path: Path
    ) -> None:
        env = {**environment(hub, tmp_path, token=None), "HF_HUB_OFFLINE": "1"}
        code, err = self.push(env, run, "--repo", "alice/x", "--dry-run")
        assert code == 0, err
        assert "Not asked of the Hub, and so left out" in err
        assert "nothing was pushed to the repository alice/x, private" in err
