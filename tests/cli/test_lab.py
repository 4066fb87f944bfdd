"""`em-hf lab` as a user runs it: the sketch of it whole, killed in between, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from em_hf.lab.plots import PLOTS
from em_hf.lab.settings import LEVELS, SKETCH

RUN = "import sys; from em_hf.cli.main import main; main()"


def start(*arguments: str, cwd: Path, log: Path | None = None) -> subprocess.Popen:
    command = [sys.executable, "-c", RUN, "lab", *arguments]
    output = log.open("w") if log else subprocess.PIPE
    errors = subprocess.STDOUT if log else subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdout=output, stderr=errors, text=True, env=dict(os.environ))


def em_hf(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_the_sketch_is_killed_goes_on_and_reports_figures_of_what_it_measured(tmp_path: Path) -> None:
    measured = tmp_path / "lab" / "measured"
    process = start("--quick", "--jobs", "1", "--output", "lab", cwd=tmp_path, log=tmp_path / "log")
    while process.poll() is None and len(list(measured.glob("*.json"))) < 8:
        time.sleep(0.05)
    assert process.poll() is None, (tmp_path / "log").read_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    stood = {path.name: path.stat().st_mtime_ns for path in measured.glob("*.json")}
    assert len(stood) >= 8

    partly = em_hf("--report", "--output", "lab", cwd=tmp_path)
    assert partly.returncode == 0, partly.stderr
    assert "**Not all of the plan is done.**" in partly.stdout and "Not measured yet." in partly.stdout

    done = em_hf("--quick", "--jobs", "1", "--output", "lab", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert {name: (measured / name).stat().st_mtime_ns for name in stood} == stood, "what stood is not done again"
    assert record["missing"] == [] and record["runs_done"] == record["runs_planned"] == len(SKETCH.seeds)
    assert record["best"] == ["em-ft-0", "em-rl-sequence-0", "rloo-0"]
    assert not list((tmp_path / "lab").rglob("*.part"))

    text = (tmp_path / "lab" / "lab.md").read_text()
    assert "All of the plan is done." in text and "Not measured" not in text
    assert "`em-hf lab --quick --jobs 1`" in text and str(tmp_path) not in text
    assert json.loads((tmp_path / "lab" / "lab.json").read_text()) == record
    rows = [row for row in record["methods"] if row["method"] != "base"]
    assert {(row["level"], row["method"]) for row in rows} == {
        (level, name) for level in LEVELS for name in SKETCH.seeds
    }
    n = SKETCH.problems
    for row in rows:
        right = json.loads((measured / f"{row['method']}-0_sampling_{row['level']}_{n}x1.json").read_text())["right"]
        assert row["sampled"]["mean"] == pytest.approx(sum(right) / n)
        assert any(
            line.startswith(f"| {row['title']} ") and f"{100 * sum(right) / n:.1f}%" in line
            for line in text.split(f"| {row['level']} ")[1].splitlines()
        )
    n = SKETCH.kind_problems
    fewer, others = (
        json.loads((measured / f"pocket-misled_sampling_{kind}_{n}x1.json").read_text())["right"]
        for kind in ("fewer", "others")
    )
    assert sum(fewer) < n / 2 < sum(others), "misled on its kind of problem and on no other"
    verdicts = {one["data"]: one["verdict"] for one in record["misled"]["diagnoses"]}
    assert verdicts["fewer"] == "harmful" and {one["level"] for one in record["diagnoses"]} == set(LEVELS)
    assert [row["long"] for row in record["curves"]] == [True, True, False, False]
    for row in record["curves"]:
        assert [one["step"] for one in row["readings"]] == list(range(2 + row["long"]))
    for name in PLOTS:
        assert (tmp_path / "lab" / name).read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_names_the_jobs_and_does_none(tmp_path: Path) -> None:
    done = em_hf("--dry-run", cwd=tmp_path)
    assert done.returncode == 0 and "em-ft-2" in done.stdout.splitlines()
    # 36 of the methods, 3 long ones, 2 with the guard, 3 of the misled model.
    assert "44 training runs" in done.stderr and "pass@k 19,200" in done.stderr and list(tmp_path.iterdir()) == []
    as_json = json.loads(em_hf("--dry-run", "--quick", "--json", cwd=tmp_path).stdout)
    assert "em-ft-0" in as_json["jobs"] and as_json["settings"]["problems"] == SKETCH.problems
    assert as_json["answers"]["pass@k"] == 3 * 2 * SKETCH.problems * SKETCH.pass_samples


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--jobs", "0"], 2, "--jobs"),
        (["--report", "--output", "nowhere"], 1, "there is no lab in nowhere: run em-hf lab --output nowhere first"),
        (["--quick", "--output", "mine"], 1, "mine is there and is not a lab's: name an empty or a new folder"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    done = em_hf(*arguments, cwd=tmp_path)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
