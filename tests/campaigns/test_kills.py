"""A small part of the campaign of kills; the whole one is `python -m tests.campaigns.kills`."""

import json
import subprocess
import sys
from pathlib import Path


def test_killed_runs_resume_to_what_an_uninterrupted_run_holds(tmp_path: Path) -> None:
    output = tmp_path / "kills.json"
    command = [sys.executable, "-m", "tests.campaigns.kills", "--n", "12", "--seed", "7", "--output", str(output)]
    command += ["--commands", "train em-ft,push"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(output.read_text())
    assert found["kills"] >= 12 and found["lost"] == 0 and len(found["by_command"]) == 2
