"""`em-hf lab` as a user runs it: the sketch of it whole, killed in between, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from em_hf.methods import METHODS

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
    assert record["missing"] == [] and record["runs_done"] == record["runs_planned"] == len(METHODS)
    assert len(record["best"]) == 2 and not list((tmp_path / "lab").rglob("*.part"))

    text = (tmp_path / "lab" / "lab.md").read_text()
    assert "All of the plan is done." in text and "Not measured" not in text
    assert "`em-hf lab --quick --jobs 1`" in text and str(tmp_path) not in text
    assert json.loads((tmp_path / "lab" / "lab.json").read_text()) == record
    for row in record["methods"][1:]:
        right = json.loads((measured / f"{row['method']}-0_sampling_test_40x1.json").read_text())["right"]
        assert row["sampled"]["mean"] == pytest.approx(sum(right) / 40)
        line = next(line for line in text.splitlines() if line.startswith(f"| {row['title']} "))
        assert f"{100 * sum(right) / 40:.1f}%" in line
    fewer = json.loads((measured / "pocket-misled_sampling_fewer_40x1.json").read_text())["right"]
    others = json.loads((measured / "pocket-misled_sampling_others_40x1.json").read_text())["right"]
    assert sum(fewer) < 20 < sum(others), "misled on its kind of problem and on no other"
    verdicts = {(one["model"], one["data"]): one["verdict"] for one in record["misled"]["diagnoses"]}
    assert verdicts["pocket-misled", "fewer"] == "harmful" and verdicts["pocket-reasoner", "test"] == "likely"
    for name in ("lab-methods", "lab-strategies", "lab-sweep"):
        assert (tmp_path / "lab" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_names_the_jobs_and_does_none(tmp_path: Path) -> None:
    done = em_hf("--dry-run", cwd=tmp_path)
    assert done.returncode == 0 and "em-rl-sequence-4" in done.stdout.splitlines()
    assert "44 training runs" in done.stderr and list(tmp_path.iterdir()) == []
    as_json = json.loads(em_hf("--dry-run", "--quick", "--json", cwd=tmp_path).stdout)
    assert "em-ft-0" in as_json["jobs"] and as_json["settings"]["problems"] == 40


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--quick", "--full"], 2, "--quick and --full are opposites: give one"),
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
