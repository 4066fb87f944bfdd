"""The documentation's code that needs vLLM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import blocks

CODE = [code for code in blocks("python") if "vllm" in code]


@pytest.mark.parametrize("code", CODE, ids=lambda code: code.strip().splitlines()[-1])
def test_the_block_runs(code: str, tmp_path: Path) -> None:
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    script = tmp_path / "block.py"  # as a user runs it, since vLLM's processes import the file again
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "####" in done.stdout


def test_there_is_something_to_run() -> None:
    assert len(CODE) == 1


def test_the_example_script_answers_plainly_and_with_em_inf(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "vllm_em_inf.py"
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("=== plain: ") == done.stdout.count("=== EM-INF: ") == 2 and "####" in done.stdout
