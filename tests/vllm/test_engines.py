"""Engines in processes of their own: what em_hf must not change, and what it cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def engine(kind: str, model: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.vllm.engines", kind, str(model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.fail(f"{kind}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().split("\n")[-1])


def test_vllm_with_em_hf_installed_decodes_what_it_decodes_without_bit_for_bit(smollm2: Path) -> None:
    bare, installed = engine("bare", smollm2), engine("installed", smollm2)
    assert installed.pop("processors") == [*bare.pop("processors"), "EntropyMinVLLMProcessor"]
    assert installed == bare
    assert all(len(rows) == 4 for rows in bare.values())


def test_under_speculative_decoding_v1_checks_the_settings_and_then_ignores_them(smollm2: Path) -> None:
    """README and docstring say so. When vLLM loads plug-ins there, or lets them refuse, both have to be rewritten."""
    found = engine("speculating", smollm2)
    assert found["processors"] == ["MinTokensLogitsProcessor"]
    assert len(found["asked"]) == 4
    assert "threshold is -1" in found["refused"]
