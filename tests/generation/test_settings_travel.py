"""Stored settings survive saving and loading, in another process, for every way a model comes to be."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from em_hf import CoupledSampling, EntropyMinConfig, enable_entropy_min
from em_hf.models import load_model

CONFIG = EntropyMinConfig(threshold=0.15, n_grad_steps=11, kl_weight=0.0)
SETTINGS = {"do_sample": True, "top_k": 0, "max_new_tokens": 8, "entropy_min": True}
PROMPT = [[5, 9, 11], [17, 33, 21]]

ELSEWHERE = """
import json, sys, torch
from transformers import AutoModelForCausalLM
from em_hf import CoupledSampling, enable_entropy_min
if sys.argv[2] == "peft":
    from em_hf.models import _load_adapter
    model = _load_adapter(sys.argv[1], {"revision": "main", "trust_remote_code": False})
else:
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
enable_entropy_min(model.eval())
out = model.generate(input_ids=torch.tensor(json.loads(sys.argv[3])), do_sample=True, top_k=0, max_new_tokens=8,
                     entropy_min=True, coupled=CoupledSampling(4))
print(json.dumps([model.generation_config.entropy_min_config, out.tolist()]))
"""


def elsewhere(folder: Path, kind: str) -> Any:
    command = [sys.executable, "-c", ELSEWHERE, str(folder), kind, json.dumps(PROMPT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def decoded(model: Any) -> list:
    return model.generate(input_ids=torch.tensor(PROMPT), **SETTINGS, coupled=CoupledSampling(4)).tolist()


@pytest.mark.parametrize("kind", ["constructed", "from_config", "from_pretrained"])
def test_a_saved_model_decodes_the_same_in_another_process(tiny_llama: Callable, tmp_path: Path, kind: str) -> None:
    model = tiny_llama()
    if kind == "from_config":  # its generation config says it was derived, which would make loading drop the settings
        weights = model.state_dict()
        model = AutoModelForCausalLM.from_config(model.config).eval()
        model.load_state_dict(weights)
    elif kind == "from_pretrained":
        model.save_pretrained(tmp_path / "plain")
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    enable_entropy_min(model, CONFIG)
    model.save_pretrained(tmp_path / "saved")
    assert elsewhere(tmp_path / "saved", "whole") == [CONFIG.to_dict(), decoded(model)]


def test_a_saved_adapter_carries_the_settings_too(tiny_llama: Callable, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    tiny_llama().save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    model = enable_entropy_min(peft.get_peft_model(base, config).eval(), CONFIG)
    model.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "generation_config.json").is_file()
    assert elsewhere(tmp_path / "adapter", "peft") == [CONFIG.to_dict(), decoded(model)]


def test_a_published_config_that_transformers_only_saves_untouched_can_still_be_saved(
    tiny_llama: Callable, tmp_path: Path
) -> None:
    """A temperature without do_sample: transformers loads it, and refuses to save it once it was changed."""
    tiny_llama().save_pretrained(tmp_path / "published")
    path = tmp_path / "published" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "temperature": 0.6}))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "published")
    model.save_pretrained(tmp_path / "untouched")
    enable_entropy_min(model, CONFIG).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert saved["entropy_min_config"] == CONFIG.to_dict() and saved["temperature"] == 0.6
    assert "do_sample" not in saved  # what plain generate does is not ours to change


CUSTOM_MODEL = """
from transformers import LlamaForCausalLM
class OwnForCausalLM(LlamaForCausalLM):
    pass
"""
CUSTOM_GENERATE = """
from transformers import GenerationMixin
def generate(model, *args, **kwargs):
    kwargs = {k: v for k, v in kwargs.items() if k not in ("revision", "token", "custom_generate")}
    model.calls = getattr(model, "calls", 0) + 1
    return GenerationMixin.generate(model, *args, **kwargs)
"""


@pytest.fixture
def own_code(tiny_llama: Callable, tmp_path: Path) -> Path:
    """A folder whose model class and generate function are its own code."""
    folder = tmp_path / "own"
    model = tiny_llama()
    model.save_pretrained(folder)
    (folder / "own.py").write_text(CUSTOM_MODEL)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CUSTOM_GENERATE)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["OwnForCausalLM"], "auto_map": {"AutoModelForCausalLM": "own.OwnForCausalLM"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_model_with_code_of_its_own_is_enabled_saved_and_disabled(own_code: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(own_code, trust_remote_code=True).eval()
    own_class, own_generate = type(model), model.__dict__["generate"]
    ids = torch.tensor(PROMPT)
    torch.manual_seed(0)
    wanted = model.generate(input_ids=ids, do_sample=True, max_new_tokens=5)
    calls = model.calls
    enable_entropy_min(model, CONFIG)
    assert type(model).__name__ == "OwnForCausalLM" and type(model).__module__ == own_class.__module__
    # without the argument, still the repository's own generate; with it, EM-INF
    torch.manual_seed(0)
    assert torch.equal(model.generate(input_ids=ids, do_sample=True, max_new_tokens=5), wanted)
    assert model.calls == calls + 1
    out = model.generate(input_ids=ids, **SETTINGS, return_dict_in_generate=True)
    assert out.entropy_trace.adjusted.any() and model.calls == calls + 1
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"] == ["OwnForCausalLM"]
    from em_hf import disable_entropy_min

    disable_entropy_min(model)
    assert type(model) is own_class and model.__dict__["generate"] is own_generate


def test_loading_code_of_its_own_unasked_is_refused_in_one_line(own_code: Path) -> None:
    config = json.loads((own_code / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", **config["auto_map"]}}
    (own_code / "config.json").write_text(json.dumps(config))
    (own_code / "own.py").write_text("raise SystemExit('this code must not run unasked')")
    with pytest.raises(ValueError, match="--trust-remote-code") as error:
        load_model(str(own_code))
    assert "\n" not in str(error.value)


def test_a_model_from_a_repository_that_em_hf_pushed_decodes_plainly_with_em_hf_too(
    tiny_llama: Callable, tmp_path: Path
) -> None:
    """The repository's `generate` calls the class's, which is em-hf's once EM-INF is enabled."""
    from em_hf.hub.export import _recipe_files

    folder = tmp_path / "pushed"
    tiny_llama().save_pretrained(folder)
    for name, content in _recipe_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
    assert "generate" in model.__dict__
    ids = torch.tensor(PROMPT)
    wanted = tiny_llama().generate(input_ids=ids, do_sample=False, max_new_tokens=5)
    enable_entropy_min(model)
    for _ in range(2):
        assert torch.equal(model.generate(input_ids=ids, do_sample=False, max_new_tokens=5), wanted)
