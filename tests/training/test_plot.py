"""The picture beside a finished run."""

import shutil
import sys
from pathlib import Path

import pytest

from em_hf.runs import read_run
from em_hf.training.plot import PLOT_FILE, plot_run

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "old_run"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD_RUN, tmp_path / "run"))


def test_entropy_and_accuracy_are_drawn_as_they_stand_in_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: (drawn.append(self), Path(path).write_bytes(b"png")))
    assert plot_run(run) == run / PLOT_FILE
    entropy, accuracy = drawn[0].axes
    assert list(entropy.lines[0].get_ydata()) == [line.entropy for line in read_run(run).log]
    results = read_run(run).results
    assert results is not None
    assert [label.get_text() for label in accuracy.get_yticklabels()] == [row.name for row in results.rows]
    points = accuracy.containers[0].lines[0].get_xdata()
    assert list(points) == pytest.approx([100 * (row.accuracy or 0) for row in results.rows])
    assert "nats" in entropy.get_ylabel() and "95% interval" in accuracy.get_xlabel()


def test_a_run_with_nothing_to_show_has_no_picture(run: Path) -> None:
    lines = (run / "log.jsonl").read_text().splitlines()
    (run / "log.jsonl").write_text("".join(line.replace('"entropy"', '"was"') + "\n" for line in lines))
    (run / "results.json").unlink()
    assert plot_run(run) is None
    assert not (run / PLOT_FILE).exists()


def test_without_matplotlib_there_is_none(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert plot_run(run) is None and not (run / PLOT_FILE).exists()
