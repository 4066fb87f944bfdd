"""The report of `make bench`: its arithmetic by hand, and the whole path at its smallest."""

import json
import os
import socket
from pathlib import Path

import pytest

from benchmarks.bench import __main__ as bench
from benchmarks.bench.growth import Curve, fitted
from benchmarks.bench.lines import SMALLEST, Missing, paired
from benchmarks.bench.report import machine
from tests.smollm2 import cache_folder, with_first_layers


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    sizes = [3, 10, 70, 500]
    assert fitted(sizes, [0.02 * size**exponent for size in sizes]) == pytest.approx(exponent, abs=1e-12)


@pytest.mark.parametrize(("sizes", "seconds"), [([4, 4], [1.0, 2.0]), ([1, 2], [0.0, 1.0])])
def test_no_exponent_is_made_up(sizes: list[int], seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="two different sizes"):
        fitted(sizes, seconds)


def test_a_ratio_is_taken_pair_by_pair() -> None:
    # the machine was three times slower for the second pair: the ratio does not see it
    line = paired("s", "a", "b", [1.0, 3.0, 1.0], [2.0, 6.0, 2.0])
    assert line.ratio == {"q1": 0.5, "median": 0.5, "q3": 0.5}
    assert line.ours["median"] == 1000 and line.theirs["median"] == 2000 and line.repeats == 3
    assert line.row()[3] == "0.500 (0.500-0.500)"


def test_the_machine_is_named_without_host_or_folder() -> None:
    name = machine()
    assert name and all(c.isalnum() or c == "-" for c in name)
    assert socket.gethostname().lower() not in name and os.environ.get("USER", "nobody-at-all") not in name


def part(name: str) -> object:
    def measured(scale: object) -> list:
        if name == "gone":
            raise Missing("there is no such thing: make it")
        if name == "bad":
            raise RuntimeError("it broke")
        if name == "growth":
            return [Curve("a thing", "size", [1, 2], [0.1, 0.2], 1.0)]
        return [paired("A section", "a thing", "another", [1.0, 2.0], [2.0, 2.0], target="under 2", met=True)]

    return measured


def test_what_is_missing_is_named_and_what_breaks_spoils_no_other_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(bench, "PARTS", {name: part(name) for name in ("good", "gone", "growth")})
    assert bench.main(["--smallest", "--only", "good", "gone", "growth", "--output", str(tmp_path)]) == 0
    monkeypatch.setattr(bench, "PARTS", {name: part(name) for name in ("good", "bad")})
    assert bench.main(["--smallest", "--only", "good", "bad", "--output", str(tmp_path / "bad")]) == 1
    shown = (tmp_path / f"smallest-{machine()}.md").read_text(encoding="utf-8")
    assert "## A section" in shown and "under 2: yes" in shown and "0.750 (0.625-0.875)" in shown
    assert "- gone: there is no such thing: make it" in shown and "| a thing | size | 1 to 2 |" in shown
    broken = json.loads((tmp_path / "bad" / f"smallest-{machine()}.json").read_text())
    assert broken["left_out"] == {"bad": "broke: RuntimeError: it broke"} and len(broken["lines"]) == 1


def test_the_smallest_run_leaves_a_report_with_plots(
    smollm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The benchmarks, and the processes that they start, find this one in place of the whole model.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with_first_layers(smollm2, cache_folder())
    # vllm needs an environment of its own, gpu a GPU; without them they are left out and named.
    here = ["start", "em-inf-step", "decode", "answers", "em-ft", "em-rl", "app", "growth"]
    assert bench.main(["--smallest", "--only", *here, "--output", str(tmp_path)]) == 0
    stem = f"smallest-{machine()}"
    record = json.loads((tmp_path / f"{stem}.json").read_text())
    shown = (tmp_path / f"{stem}.md").read_text(encoding="utf-8")
    assert record["scale"] == SMALLEST.name and record["left_out"] == {} and "**Not a record**" in shown
    what = {line["what"] for line in record["lines"]}
    assert {"`em-hf --help`", "EM-INF step, batch 2", "transformers with EM-INF, batch 1"} <= what
    assert {"EM-INF", "EM-FT loss, 256 tokens", "app over HTTP"} <= what and any("rollouts" in name for name in what)
    assert all(curve["exponent"] for curve in record["growth"]) and record["growth"]
    for line in record["lines"]:
        assert line["ratio"]["q1"] <= line["ratio"]["median"] <= line["ratio"]["q3"] and line["ratio"]["median"] > 0
    assert f"({stem}-ratios.png)" in shown and (tmp_path / f"{stem}-ratios.png").stat().st_size > 1000
    assert str(Path.home()) not in shown and str(tmp_path.parent) not in shown
