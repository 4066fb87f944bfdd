"""What the tests share. Under EM_HF_REQUIRE_ALL=1 a test that would skip for something missing fails instead."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is loaded from the Hub; tests of the Hub bring their own server

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported: its kernels then run on the CPU

# The same examples at every run; `--hypothesis-profile=search` looks for new ones.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("search", print_blob=True, deadline=None)
settings.load_profile("same")


# These run where vLLM is, in an environment of their own: `make test-vllm`.
collect_ignore = [name for name in ("vllm", "verl") if find_spec(name) is None]


# The files that take longest. They come first, so that at the end no worker waits for another that has one of them.
LONGEST = (
    "training/test_smollm2.py",
    "app/test_browser.py",
    "cli/test_lab.py",
    "hub/test_end_to_end.py",
    "benchmarks/test_bench.py",
    "training/test_resume.py",
    "cli/test_train.py",
    "training/test_plan.py",
    "training/test_processes.py",
    "hub/test_publish_failures.py",
    "cli/test_eval.py",
    "app/test_api.py",
    "evaluation/test_diagnose.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def missing(what: str) -> None:
    """Skip for want of `what`, or fail where everything is required."""
    if os.environ.get("EM_HF_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is required here")
    pytest.skip(f"{what} is not here")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden values and benchmark data: EM_HF_SHARED, by default beside the repository."""
    folder = Path(os.environ.get("EM_HF_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        missing(f"the shared folder {folder} (EM_HF_SHARED)")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2's GGUF file, where llama.cpp is there to read it."""
    from tests.smollm2 import gguf_file

    if find_spec("llama_cpp") is None:
        missing("llama-cpp-python")
    try:
        return gguf_file()
    except OSError as error:
        missing(str(error))
        raise


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct in float32."""
    from tests.smollm2 import smollm2_folder

    try:
        return smollm2_folder()
    except OSError as error:
        missing(str(error))
        raise


@pytest.fixture
def tiny_llama() -> Callable:
    """Makes a random two-layer Llama with 128 tokens of vocabulary; the same for the same seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(seed: int = 0, **changes: object) -> LlamaForCausalLM:
        torch.manual_seed(seed)
        sizes: dict[str, object] = {
            "vocab_size": 128,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "initializer_range": 0.5,
        }
        return LlamaForCausalLM(LlamaConfig(**{**sizes, **changes})).eval()

    return make


@pytest.fixture
def letters() -> object:
    """A tokenizer with one token per letter."""
    from tests.letters import letter_tokenizer

    return letter_tokenizer()


@pytest.fixture
def letter_model() -> Callable:
    """Makes a random Llama over the letters, small enough to enumerate; the same for the same seed."""
    from tests.letters import letter_model

    return letter_model
