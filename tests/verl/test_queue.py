"""The trainer's hook on verl's own queue, under Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_rewards_go_through_verls_queue_and_come_back_as_its_advantages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.verl.queue_worker", str(tmp_path / "found.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"sequence", "token", "rent", "rent_last_third"}
    for name, of in found.items():
        by_hand = {
            "sequence": [sum(row) for row in of["old_log_probs"]],
            "token": [-sum(row) for row in of["entropy"]],
            "rent": [-sum(row) / len(row) for row in of["entropy"]],
            "rent_last_third": [-sum(row[-n:]) / n for row in of["entropy"] for n in [-(-len(row) // 3)]],
        }[name]
        assert [row[-1] for row in of["rm_scores"]] == pytest.approx(by_hand, abs=1e-5)
        assert all(value == 0 for row in of["rm_scores"] for value in row[:-1])
        assert of["mean"] == pytest.approx(sum(by_hand) / 4, abs=1e-5)
        others = [by_hand[i ^ 1] for i in range(4)]  # leave one out of two: the reward minus the other's
        wanted = [own - other for own, other in zip(by_hand, others, strict=True)]
        for row, advantage in zip(of["advantages"], wanted, strict=True):
            assert row == pytest.approx([advantage] * len(row), abs=1e-4)
