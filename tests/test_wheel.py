"""The built wheel, installed elsewhere: it puts nothing but em_hf into site-packages, and its data are found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A site-packages folder with the wheel alone, and a folder to work in."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    site = folder / "site"
    wheel = next(folder.glob("*.whl"))
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    work = folder / "work"
    work.mkdir()
    return site, work


def em_hf(installed: tuple[Path, Path], *arguments: str) -> subprocess.CompletedProcess:
    """The installed command, away from the repository; everything it needs comes from this environment's libraries."""
    site, work = installed
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import em_hf\n"
        "assert em_hf.__file__.startswith(sys.path[0]), em_hf.__file__\n"
        "from em_hf.cli.main import main; main()"
    )
    run = [sys.executable, "-c", code, str(site), *arguments]
    return subprocess.run(run, cwd=work, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site)})


def test_only_em_hf_and_its_metadata_land_in_site_packages(installed: tuple[Path, Path]) -> None:
    names = {path.name for path in installed[0].iterdir()} - {"bin", "__pycache__"}
    assert {name.split("-")[0] for name in names} == {"em_hf"}
    assert sum(name.endswith(".dist-info") for name in names) == 1
    assert {path.name for path in (installed[0] / "bin").iterdir()} == {"em-hf"}
    app = ("app/app.py", "app/README.md", "app/requirements.txt", "app/assets/view.js", "app/assets/view.css")
    for inside in (*app, "cli/main.py", "model_cards/template.md", "training/recipes/pocket.yaml", "py.typed"):
        assert (installed[0] / "em_hf" / inside).is_file(), inside


def test_every_module_and_data_file_of_the_repository_is_in_the_wheel(installed: tuple[Path, Path]) -> None:
    """The editable install of this environment would find a forgotten package in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "em_hf", "app", "cli", "model_cards"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    places = {name: name if name.startswith("em_hf/") else f"em_hf/{name}" for name in listed}
    assert len(places) > 200
    assert [name for name, place in places.items() if not (installed[0] / place).is_file()] == []


def test_train_push_and_generate_find_weights_recipes_and_template(installed: tuple[Path, Path]) -> None:
    steps = (
        ["train", "--steps", "1", "--batch-size", "2", "--eval-problems", "2", "--output", "run", "--json"],
        ["push", "run", "--to", "repository"],
        ["generate", "--model", "repository", "--max-new-tokens", "3", "--json"],
    )
    for arguments in steps:
        done = em_hf(installed, *arguments)
        assert done.returncode == 0, done.stderr
    assert "entropy" in (installed[1] / "repository" / "README.md").read_text(encoding="utf-8")
