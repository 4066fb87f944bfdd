"""A Space that shows a pushed model decoding with and without EM-INF: this package's app, set up for that model.

It ships the wheel of the running em-hf instead of a released one.
"""

import base64
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, RepoCard

import em_hf
from em_hf.hub.errors import plain_errors, with_retries
from em_hf.hub.export import Repository, stage
from em_hf.hub.folders import temporary_folder
from em_hf.hub.push import Published, Say, push_folder

HARDWARE = ("cpu-basic", "zero-a10g")
_PAYMENT = (
    "the Hub wants payment for a Space on that hardware: with a free account, ask for ZeroGPU "
    "(--space-hardware zero-a10g), or run the app on your machine: em-hf app --model {model}"
)


@contextmanager
def staged_space(model: str, *, license: str | None = None) -> Iterator[Repository]:
    """Stage the Space of the model with this Hub id in a temporary folder: `app/`, `models.json` and the wheel.

    requirements.txt names the wheel instead of the released em-hf.
    """
    app = resources.files("em_hf.app")
    card = RepoCard(app.joinpath("README.md").read_text(encoding="utf-8"))
    card.data["models"] = [model]
    card.data["title"] = f"{model.split('/')[-1]}: EM-INF, side by side"
    if license:
        card.data["license"] = license
    name, wheel = own_wheel()
    requirements = [
        f"./{name}" if line.startswith("em-hf") else line
        for line in app.joinpath("requirements.txt").read_text(encoding="utf-8").splitlines()
    ]
    files: dict[str, Path | bytes] = {
        "app.py": app.joinpath("app.py").read_bytes(),
        "models.json": (json.dumps([model], indent=2) + "\n").encode(),
        "requirements.txt": ("\n".join(requirements) + "\n").encode(),
        name: wheel,
    }
    with temporary_folder() as folder:
        yield stage(folder / "repository", files, card, mark={"space_of": model})


def publish_space(
    model: str,
    repo_id: str | None = None,
    *,
    public: bool = False,
    hardware: str | None = None,
    message: str | None = None,
    say: Say = lambda _: None,
) -> Published:
    """Push the Space of the model `OWNER/NAME`, by default as `OWNER/NAME-space`, in one commit.

    Args:
        public: make a new Space public.
        hardware: what a new Space runs on, such as "cpu-basic" or "zero-a10g"; None: the Hub's default.

    Raises:
        ValueError: the repository holds something that em-hf did not push.
        OSError: the wheel cannot be built, or the Hub cannot be reached, refuses, or wants payment.
    """
    repo_id = repo_id or f"{model}-space"
    with staged_space(model) as repository:
        done = push_folder(
            repository,
            repo_id,
            kind="space",
            public=public,
            hardware=hardware,
            payment=_PAYMENT.format(model=model),
            message=message or f"Show {model}",
            say=say,
        )
    api = HfApi()
    with plain_errors(model):
        if with_retries(lambda: api.repo_info(model), say=say).private:
            say(f"{model} is private: give the Space a token to read it, as the secret HF_TOKEN in its settings.")
    return done


@lru_cache(maxsize=1)
def own_wheel() -> tuple[str, bytes]:
    """Return the wheel's file name and content, built from em-hf's source tree, or from what is installed.

    Raises:
        OSError: the source tree cannot be built; the message holds the last line of the builder's.
    """
    tree = Path(em_hf.__file__).parents[1]
    is_source = (tree / "pyproject.toml").is_file() and (tree / "em_hf").is_dir()
    return _built(tree) if is_source else _packed(metadata.distribution("em-hf"))


_PARTS = ("em_hf", "cli", "app", "model_cards", "pyproject.toml", "README.md", "LICENSE")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _built(source: Path) -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="em-hf-wheel-") as folder:
        # A copy: setuptools would leave build/ behind, and put into the wheel what earlier builds left there.
        tree = Path(folder) / "tree"
        for part in _PARTS:
            (shutil.copytree if (source / part).is_dir() else _copy)(source / part, tree / part)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(tree)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1577836800"}  # the same bytes from the same source
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise OSError(f"the wheel of em-hf for the Space could not be built: {why}")
        return wheels[0].name, wheels[0].read_bytes()


def _packed(distribution: metadata.Distribution) -> tuple[str, bytes]:
    """Repack a wheel from the files of an installed one (PEP 427)."""
    files: dict[str, bytes] = {}
    for installed in distribution.files or ():
        place = PurePosixPath(installed)
        written_by_pip = place.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
        if ".." in place.parts or "__pycache__" in place.parts or written_by_pip:
            continue
        files[str(place)] = Path(str(installed.locate())).read_bytes()
    info = next(name.split("/")[0] for name in files if name.split("/")[0].endswith(".dist-info"))
    rows = [(name, _digest(content), str(len(content))) for name, content in files.items()]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
    files[f"{info}/RECORD"] = table.getvalue().encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)  # no date: the same every time
    return f"{info.removesuffix('.dist-info')}-py3-none-any.whl", packed.getvalue()


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
