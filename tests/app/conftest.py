"""A running app with two models: the pocket reasoner, and "endless", which never ends its text by itself."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing

PROMPT = "Kim has 51 oranges. Omar has 19 more oranges than Kim. Then Omar gives 45 oranges away. How many in all?"


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_endless(tmp_path_factory.mktemp("models") / "endless")


def make_endless(folder: Path) -> Path:
    """Save a small random model over the pocket reasoner's tokens, for which no token ends a text, to `folder`."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from em_hf.pocket import POCKET_REASONER

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(POCKET_REASONER)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=1,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass
class Served:
    url: str
    demo: Any
    endless: Path


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `em-hf train` leaves, as far as the app reads it: the pocket reasoner, a little changed."""
    import json

    import torch

    from em_hf.models import load_model

    folder = tmp_path_factory.mktemp("runs") / "first"
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "run.json").write_text(json.dumps({"base_model": "pocket-reasoner", "status": "finished"}))
    return folder


@pytest.fixture(scope="session")
def served(endless: Path, run_folder: Path) -> Iterator[Served]:
    from em_hf.app.models import Models
    from em_hf.app.ui import build, launch_options

    demo = build(Models(["pocket-reasoner", str(endless)]), run=str(run_folder))
    _, url, _ = demo.launch(
        **launch_options(), server_name="127.0.0.1", server_port=None, prevent_thread_lock=True, quiet=True
    )
    yield Served(url, demo, endless)
    demo.close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium that Playwright drives."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    missing("Chromium (apt-get install chromium)")
    raise AssertionError


@pytest.fixture
def slow_steps(served: Served) -> Iterator[list[float]]:
    """Notes each step of the endless model and makes it last at least 50 ms: 1,024 would take most of a minute."""
    from em_hf.app.models import loaded

    steps: list[float] = []

    def note(*_: Any) -> None:
        steps.append(time.monotonic())
        time.sleep(0.05)

    hook = loaded(str(served.endless)).model.register_forward_hook(note)
    yield steps
    hook.remove()
