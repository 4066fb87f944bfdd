"""`em-hf push` to a Hub: what gets there, what a second push does, and who may see it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from em_hf.hub import write_repository
from em_hf.hub.export import source_of
from tests.hub.conftest import TOKEN, Pusher, change_weights, environment, repo_of
from tests.hub.made import record
from tests.hub.server import Hub, User, card_errors, front_matter, serve

EM_HF = [sys.executable, "-c", "from em_hf.cli.main import main; main()", "push"]


def test_a_push_makes_a_private_repository_with_every_file_in_one_commit(
    run: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    done = push(run)
    assert done.code == 0, done.err
    repo = hub.repo(repo_of(run))
    assert repo.private
    assert repo.messages == ["initial commit", f"Push {repo_of(run).split('/')[1]}"]
    assert f"{hub.url}/{repo.id}" in done.out.splitlines()
    assert f"Pushed to {repo.id}, which is private." in done.err
    content = hub.content(repo.id)
    write_repository(run, tmp_path / "folder")
    folder = tmp_path / "folder"
    in_folder = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(content) == {*in_folder, ".gitattributes"}
    assert content["model.safetensors"] == (run / "model.safetensors").read_bytes()


def test_the_card_on_the_hub_passes_its_check_and_names_the_repository(run: Path, hub: Hub, push: Pusher) -> None:
    assert push(run).code == 0
    card = hub.content(repo_of(run))["README.md"].decode()
    assert card_errors(card) == []
    assert f'from_pretrained("{repo_of(run)}")' in card and '"."' not in card


def test_a_second_push_changes_nothing(run: Path, hub: Hub, push: Pusher) -> None:
    first = json.loads(push(run, "--json").out)
    hub.requests.clear()
    second = push(run, "--json")
    assert (second.code, json.loads(second.out)["changed"]) == (0, False)
    assert json.loads(second.out)["commit"] == first["commit"]
    assert f"Nothing to change in {repo_of(run)}, which is private." in second.err
    assert len(hub.repo(repo_of(run)).messages) == 2
    assert not {"create", "upload", "commit"} & set(hub.stages())


def test_another_run_replaces_the_files_of_the_first_and_leaves_those_of_others(
    run: Path, hub: Hub, push: Pusher
) -> None:
    record(run, name=repo_of(run).split("/")[1])
    push(run)
    repo = hub.repo(repo_of(run))
    assert {"entropy.jsonl", "entropy.png"} <= set(hub.content(repo.id))
    edited = dict(repo.commits[repo.refs["main"]])
    edited["NOTES.md"] = hub.store.put(b"mine", lfs=False)
    repo.commits[repo.refs["main"]] = edited
    change_weights(run, "1")
    record(run, name=repo.id.split("/")[1], log=[])  # no trace and no plot this time
    assert push(run).code == 0
    content = hub.content(repo.id)
    assert content["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert content["NOTES.md"] == b"mine"
    assert "entropy.jsonl" not in content and "entropy.png" not in content
    assert len(repo.messages) == 3


def test_public_is_asked_for_and_said(run: Path, hub: Hub, push: Pusher) -> None:
    done = push(run, "--repo", "lab/open", "--public", "--commit-message", "First words")
    assert done.code == 0, done.err
    assert not hub.repo("lab/open").private
    assert hub.repo("lab/open").messages[-1] == "First words"
    assert "Pushed to lab/open, which is public." in done.err


def test_an_existing_repository_keeps_its_visibility_and_the_user_is_told(run: Path, hub: Hub, push: Pusher) -> None:
    push(run)
    done = push(run, "--public")
    assert hub.repo(repo_of(run)).private
    assert "which is private" in done.err
    assert f"make it public at {hub.url}/{repo_of(run)}/settings" in done.err


def test_a_branch_is_made_and_main_is_left(run: Path, hub: Hub, push: Pusher) -> None:
    push(run)
    main = hub.content(repo_of(run))
    change_weights(run, "2")
    assert push(run, "--revision", "longer/run").code == 0
    assert hub.content(repo_of(run)) == main
    branch = hub.content(repo_of(run), "longer/run")
    assert branch["model.safetensors"] == (run / "model.safetensors").read_bytes()
    again = push(run, "--revision", "longer/run", "--json")
    assert json.loads(again.out)["changed"] is False


def test_a_tag_names_the_commit_and_is_never_moved(run: Path, hub: Hub, push: Pusher) -> None:
    assert push(run, "--tag", "v1").code == 0
    repo = hub.repo(repo_of(run))
    tagged = repo.refs["v1"]
    assert tagged == repo.refs["main"]
    assert push(run, "--tag", "v1").code == 0, "the same run under the same tag is no conflict"
    change_weights(run, "3")
    done = push(run, "--tag", "v1")
    assert done.code == 1
    assert f"the tag v1 of {repo.id} names another commit" in done.error
    assert repo.refs["v1"] == tagged


def test_a_pull_request_leaves_main_and_needs_no_write_access(run: Path, hub: Hub, push: Pusher) -> None:
    theirs = hub.store.create("model", f"bob/{run.parent.name}", private=False)
    sha = theirs.refs["main"]
    theirs.commits[sha] = {"config.json": hub.store.put(b"{}", lfs=False)}
    done = push(run, "--repo", theirs.id, "--create-pr", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["url"] == f"{hub.url}/{theirs.id}/discussions/1"
    assert theirs.refs["main"] == sha
    proposed = hub.content(theirs.id, "refs/pr/1")
    assert proposed["model.safetensors"] == (run / "model.safetensors").read_bytes()


def test_somebodys_other_model_is_not_replaced(run: Path, hub: Hub, push: Pusher) -> None:
    repo = hub.store.create("model", f"alice/{run.parent.name}", private=False)
    repo.commits[repo.refs["main"]] = {"pytorch_model.bin": hub.store.put(b"years of work", lfs=True)}
    done = push(run, "--repo", repo.id)
    assert done.code == 1
    assert "exists and em-hf did not write it (pytorch_model.bin, but no em_hf.json)" in done.error
    assert "--create-pr" in done.error
    assert hub.content(repo.id) == {"pytorch_model.bin": b"years of work"}


def test_the_base_models_license_goes_into_the_card(run: Path, hub: Hub, push: Pusher) -> None:
    base = hub.store.create("model", f"lab/{run.parent.name}-base", private=False)
    card = hub.store.put(b"---\nlicense: mit\n---\n# base\n", lfs=False)
    base.commits[base.refs["main"]] = {"README.md": card}
    record(run, name=repo_of(run).split("/")[1], base_model=base.id)
    assert push(run).code == 0
    told = front_matter(hub.content(repo_of(run))["README.md"].decode())
    assert told is not None
    assert (told["license"], told["base_model"]) == ("mit", base.id)


def test_large_files_go_in_parts_and_arrive_whole(run: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "store", part_size=50_000) as hub:
        hub.users[TOKEN] = User("alice")
        done = subprocess.run(
            [*EM_HF, run], env=environment(hub, tmp_path / "home"), stdin=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 0
        assert len([stage for stage in hub.stages() if stage == "upload"]) >= 4
        weights = hub.content(repo_of(run))["model.safetensors"]
        assert weights == (run / "model.safetensors").read_bytes()


def test_the_token_goes_to_the_hub_and_not_to_its_storage(run: Path, hub: Hub, push: Pusher) -> None:
    assert push(run).code == 0
    sent = {(stage, authorization) for stage, _, _, authorization in hub.requests}
    assert ("commit", f"Bearer {TOKEN}") in sent
    assert ("upload", None) in sent and ("upload", f"Bearer {TOKEN}") not in sent


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_only_reads(as_json: bool, run: Path, hub: Hub, push: Pusher) -> None:
    done = push(run, "--dry-run", *(["--json"] if as_json else []))
    assert done.code == 0, done.err
    assert {method for _, method, _, _ in hub.requests} == {"GET"}
    assert ("model", repo_of(run)) not in hub.store.repos
    assert f"nothing was pushed to the repository {repo_of(run)}, private." in done.err
    if as_json:
        told = json.loads(done.out)
        assert (told["repo"], told["visibility"], told["exists"]) == (repo_of(run), "private", False)
        assert {file["path"] for file in told["files"]} >= {"README.md", "model.safetensors"}
        assert repo_of(run) in told["card"]
    else:
        assert "model.safetensors" in done.out and "## Limits" in done.out


def test_a_dry_run_tells_what_the_push_then_does(run: Path, hub: Hub, push: Pusher) -> None:
    told = json.loads(push(run, "--dry-run", "--json").out)
    push(run)
    content = hub.content(repo_of(run))
    assert {file["path"]: file["bytes"] for file in told["files"]} == {
        path: len(data) for path, data in content.items() if path != ".gitattributes"
    }
    assert content["README.md"].decode() == told["card"] + "\n"
    assert json.loads(push(run, "--dry-run", "--json").out)["exists"] is True


API = """if True:
    import json, sys
    from em_hf.hub import previewed, publish, read_run
    run = read_run(sys.argv[1])
    with previewed(run, "lab/by-api") as preview:
        planned = preview.repository.sizes
        assert all((preview.repository.folder / path).stat().st_size == size for path, size in planned.items())
    first, again = publish(run, "lab/by-api", public=True), publish(sys.argv[1], "lab/by-api")
    same = [planned == first.sizes, first.commit == again.commit]
    print(json.dumps([*same, first.private, first.changed, again.changed]))
"""


def test_it_works_as_a_python_api(run: Path, hub: Hub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path / "home")
    done = subprocess.run([sys.executable, "-c", API, run], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True, True, False, True, False]
    assert hub.content("lab/by-api")["model.safetensors"] == (run / "model.safetensors").read_bytes()


def test_the_run_folder_is_never_touched(run: Path, hub: Hub, push: Pusher) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    push(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "x", "--repo", "a/b"], "--to writes a folder and --repo is for the Hub"),
        (["--to", "x", "--commit-message", "hello"], "--to writes a folder and --commit-message is for the Hub"),
        (["--overwrite"], "--overwrite goes with --to FOLDER"),
        (["--create-pr", "--tag", "v1"], "--create-pr makes a branch of its own"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_usage(
    words: list[str], says: str, run: Path, hub: Hub, push: Pusher
) -> None:
    done = push(run, *words)
    assert done.code == 2
    assert says in done.err
    assert hub.requests == []


def test_a_push_never_takes_the_way_that_may_split_it_over_several_commits(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hf_xet installed huggingface_hub's `upload_folder` is a pipeline of commits; ours is one `create_commit`."""
    import huggingface_hub._upload_pipeline as pipeline
    from huggingface_hub import CommitInfo, HfApi

    from em_hf.hub import push, staged

    commits = []

    def create_commit(self: HfApi, repo_id: str, operations: list[Any], **given: Any) -> CommitInfo:
        commits.append(([operation.path_in_repo for operation in operations], given["parent_commit"]))
        return CommitInfo(
            commit_url="https://huggingface.co/lab/x/commit/1", commit_message="", commit_description="", oid="1" * 40
        )

    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    monkeypatch.setattr(pipeline, "pipelined_upload", lambda *_, **__: pytest.fail("several commits"))
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    state = push.State(
        head="0" * 40, files=frozenset({"em_hf.json", "old.txt", "mine.txt"}), private=True, ours=frozenset({"old.txt"})
    )
    monkeypatch.setattr(push.Remote, "_look", lambda *_: state)
    with staged(source_of(run)) as repository:
        push.push_folder(repository, "lab/x", message="m", is_model=True)
    assert commits == [([*repository.sizes, "old.txt"], "0" * 40)]
