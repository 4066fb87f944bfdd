"""The wheel of the em-hf that is running, for a Space, since em-hf is on no package index yet."""

import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePosixPath

import em_hf


@lru_cache(maxsize=1)
def own_wheel() -> tuple[str, bytes]:
    """File name and content: built from the source tree where em-hf runs from one, else packed from what is installed.

    Raises:
        OSError: the source tree cannot be built; the last line of the builder's own message is in it.
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
    """A wheel again, of the files that an installed one left (PEP 427)."""
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
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)  # of no date: the same every time
    return f"{info.removesuffix('.dist-info')}-py3-none-any.whl", packed.getvalue()


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
