"""Models by name: from a folder, as an adapter, from a Hub (a server on this machine), and what cannot be loaded."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from em_hf import EntropyMinConfig, enable_entropy_min
from em_hf.models import context_length, encode_prompts, hub_commit, load_model, place_of, vocabulary_size
from em_hf.pocket import POCKET_REASONER
from em_hf.runs import RunFacts, write_json
from tests.hub.server import Hub, serve


@pytest.fixture
def folder(tiny_llama: Callable, tmp_path: Path) -> Path:
    """A tiny model with the pocket reasoner's tokenizer, whose first 128 tokens it knows."""
    tiny_llama().save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(POCKET_REASONER).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def make_adapter(folder: Path, into: Path) -> Path:
    """An adapter of the model in `folder`, with EM settings of its own, saved as a run saves it."""
    model = get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=2))
    enable_entropy_min(model, EntropyMinConfig(threshold=0.25)).save_pretrained(into)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(into)
    return into


def test_the_pocket_reasoner_is_a_name() -> None:
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    assert model.dtype == torch.float32 and not model.training
    assert tokenizer.padding_side == "left" and tokenizer.pad_token is not None


def test_a_folder_loads_in_the_precision_asked_for(folder: Path) -> None:
    assert load_model(str(folder), device="cpu")[0].dtype == torch.float32
    assert load_model(str(folder), device="cpu", dtype="bfloat16")[0].dtype == torch.bfloat16


def test_an_adapter_loads_with_its_base_model_and_the_settings_saved_beside_it(folder: Path, tmp_path: Path) -> None:
    model, _ = load_model(str(make_adapter(folder, tmp_path / "adapter")), device="cpu")
    assert "lora" in " ".join(name for name, _ in model.named_parameters())
    assert model.get_base_model().generation_config.entropy_min_config["threshold"] == 0.25


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a Hub, with commit 1 (v1) and 2 (main) of lab/model and of bare."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("lab--model", "bare"):
        cached = tmp_path / "cache" / f"models--{name}"
        (cached / "refs").mkdir(parents=True)
        for ref, commit in (("v1", "1" * 40), ("main", "2" * 40)):
            shutil.copytree(folder, cached / "snapshots" / commit)
            (cached / "refs" / ref).write_text(commit)
    return tmp_path / "cache"


def test_the_commit_of_a_hub_model_is_that_in_the_cache_and_a_folder_has_none(
    cache: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lab/model", "bare"):
        assert hub_commit(name) == hub_commit(name, "main") == hub_commit(name, "2" * 40) == "2" * 40
        assert hub_commit(name, "v1") == "1" * 40
    for nowhere in ("v3", "3" * 40):
        with pytest.raises(OSError):
            hub_commit("lab/model", nowhere)
    for local in (folder, "pocket-reasoner", cache / "models--bare" / "snapshots" / ("1" * 40)):
        assert hub_commit(str(local)) is None and hub_commit(str(local), "1" * 40) is None
    shutil.copytree(folder, tmp_path / "lab" / "model")
    monkeypatch.chdir(tmp_path)  # a folder of that name comes first, as it does where models are loaded
    assert hub_commit("lab/model") is None


@pytest.mark.parametrize("revision", [None, "v1", "1" * 40])
@pytest.mark.parametrize("stored", [None, "1" * 40])
@pytest.mark.parametrize("on_hub", [True, False])
def test_a_runs_adapter_that_does_not_say_on_which_revision_it_was_trained_is_refused(
    revision: str | None, stored: str | None, on_hub: bool, cache: Path, folder: Path, tmp_path: Path
) -> None:
    """PEFT would take main. A folder has no revisions; nor is there another for a run that was given none."""
    adapter = make_adapter(folder, tmp_path / "adapter")
    path = adapter / "adapter_config.json"
    config = {"base_model_name_or_path": "lab/model" if on_hub else str(folder), "revision": stored}
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    write_json(adapter / "run.json", RunFacts("finished", base_revision=revision))
    if revision and on_hub and not stored:
        says = f'was trained on revision {revision} of its base model, .* put "revision": "{revision}" there'
        with pytest.raises(ValueError, match=says) as told:
            load_model(str(adapter), device="cpu")
        assert "\n" not in str(told.value)
        path.write_text(json.dumps({**json.loads(path.read_text()), "revision": revision}))
    load_model(str(adapter), device="cpu")


def break_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_head(folder: Path) -> None:
    config = transformers.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    transformers.ViTModel(config).save_pretrained(folder)


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    auto_map = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": auto_map}))


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def change_weights(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def lack_a_layer(folder: Path) -> None:
    change_weights(
        folder / "model.safetensors", lambda w: [w.pop(name) for name in list(w) if name.startswith("model.layers.1.")]
    )


def other_shapes(folder: Path) -> None:
    change_weights(folder / "model.safetensors", lambda w: w.update({"model.norm.weight": torch.ones(5)}))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lack_a_layer, ValueError, r"the weights of .* lack model\.layers\.1\.\S+ and 8 others of config\.json"),
        (other_shapes, ValueError, "files are damaged"),
        (break_weights, OSError, "the weights of .* cannot be read .*: copy or download them again"),
        (break_config, OSError, "config.json"),
        (no_head, ValueError, "is a vit model, which has no causal language modeling head to generate with; name a"),
        (own_code, ValueError, "comes with code of its own; read it, then allow it with --trust-remote-code"),
        (no_tokenizer, (OSError, ValueError), "tokenizer"),
    ],
)
def test_a_folder_that_is_no_model_for_this_is_told_in_one_line(
    folder: Path, change: Callable, kind: Any, message: str
) -> None:
    change(folder)
    with pytest.raises(kind, match=message) as told:
        load_model(str(folder), device="cpu")
    assert "\n" not in str(told.value) and folder.name in str(told.value)


def test_an_adapter_that_lacks_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter = make_adapter(folder, tmp_path / "adapter")
    change_weights(adapter / "adapter_model.safetensors", lambda w: w.pop(next(iter(w))))
    with pytest.raises(ValueError, match="missing adapter keys") as told:
        load_model(str(adapter), device="cpu")
    assert "\n" not in str(told.value)


def test_an_added_token_that_no_text_uses_needs_no_row(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<image {i}>" for i in range(600)]})
    assert len(tokenizer) > 1000 and vocabulary_size(tokenizer) == 1678


def test_what_a_folder_is_called_says_nothing_about_the_hub(folder: Path) -> None:
    named = folder.rename(folder.with_name("gated-offline-404"))
    break_config(named)
    with pytest.raises(OSError, match="JSON"):
        load_model(str(named), device="cpu")


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="there is no model folder at"):
        load_model(str(tmp_path / "nowhere"))


def test_a_device_this_machine_does_not_have_is_named_with_those_it_has() -> None:
    assert place_of("cpu") == torch.device("cpu")
    for name in ("toaster", "cuda:99", "meta"):
        with pytest.raises(ValueError, match=f"device is '{name}', but this machine has cpu"):
            place_of(name)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve(tmp_path / "hub") as hub:
        yield hub


LOAD = """if True:
    import json, sys
    from em_hf.models import unwrap_model
    from em_hf.models import load_model
    told = {}
    for name in sys.argv[1:]:
        try:
            model, _ = load_model(name, device="cpu")
            told[name] = getattr(unwrap_model(model).generation_config, "entropy_min_config", None)
        except (OSError, ValueError) as error:
            told[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(told))
"""


def test_from_the_hub_a_model_an_adapter_alone_a_gated_one_one_with_code_and_none(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    hub.store.link("lab/whole", folder)
    hub.store.link("lab/gated", folder)
    hub.store.repos["model", "lab/gated"].gated = True
    hub.store.link("lab/adapter", make_adapter(folder, tmp_path / "adapter"))
    config = (folder / "config.json").read_text()
    own_code(folder)
    hub.store.link("lab/code", folder)
    (folder / "config.json").write_text(config)  # the adapter's base model is this folder

    names = ["lab/whole", "lab/gated", "lab/adapter", "lab/code", "lab/none"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    env = {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", LOAD, *names], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["lab/whole"] is None
    assert told["lab/adapter"]["threshold"] == 0.25
    assert told["lab/gated"].startswith("OSError: lab/gated is gated: accept its terms on its Hub page, then log in")
    assert told["lab/code"].startswith("ValueError: lab/code comes with code of its own; read it, then allow it")
    assert told["lab/none"].startswith("OSError: there is no model lab/none, neither as a folder here nor on the Hub")


def test_prompts_become_a_left_padded_batch_and_one_over_the_limit_is_told_with_its_length() -> None:
    _, tokenizer = load_model("pocket-reasoner", device="cpu")
    prompts = ["1", "123"]
    alone = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    batch = encode_prompts(tokenizer, prompts, chat_template=False)
    padding = len(alone[1]) - len(alone[0])
    assert padding > 0
    assert batch["attention_mask"].tolist() == [[0] * padding + [1] * len(alone[0]), [1] * len(alone[1])]
    assert batch["input_ids"][0, padding:].tolist() == alone[0] and batch["input_ids"][1].tolist() == alone[1]
    limit = len(alone[1]) - 1
    message = f"a prompt has {len(alone[1])} tokens, but the model's context leaves room for {limit}"
    with pytest.raises(ValueError, match=message):
        encode_prompts(tokenizer, prompts, chat_template=False, limit=limit)
    encode_prompts(tokenizer, prompts, chat_template=False, limit=limit + 1)


def test_a_chat_template_is_used_where_there_is_one_and_wanted() -> None:
    _, tokenizer = load_model("pocket-reasoner", device="cpu")
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{% endfor %} <bot>"
    batch = encode_prompts(tokenizer, ["1 2"])
    plain = tokenizer("<user> 1 2 <bot>", add_special_tokens=False)["input_ids"]
    assert batch["input_ids"].tolist() == [plain]
    without = encode_prompts(tokenizer, ["1 2"], chat_template=False)
    assert without["input_ids"].tolist() == [tokenizer("1 2")["input_ids"]]


@pytest.mark.parametrize(
    ("kind", "config", "length"),
    [
        (transformers.LlamaForCausalLM, transformers.LlamaConfig(max_position_embeddings=77, num_hidden_layers=1), 77),
        (transformers.GPT2LMHeadModel, transformers.GPT2Config(n_positions=66, n_layer=1), 66),
        (transformers.MambaForCausalLM, transformers.MambaConfig(num_hidden_layers=1), None),
    ],
)
def test_the_context_is_known_where_there_is_a_bound(kind: Any, config: Any, length: int | None) -> None:
    with torch.device("meta"):
        assert context_length(kind(config)) == length


CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_a_text_and_its_message_are_the_same_prompt_and_a_system_message_stands_before_it() -> None:
    tokenizer = AutoTokenizer.from_pretrained(POCKET_REASONER)
    tokenizer.chat_template = CHAT
    user = {"role": "user", "content": "1 + 2"}
    begun = {"role": "assistant", "content": "It is"}
    prompts = ["1 + 2", [user], [{"role": "system", "content": "Be brief."}, user], [user, begun]]
    batch = encode_prompts(tokenizer, prompts)
    rows = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    texts = [tokenizer.decode(ids[mask.bool()]) for ids, mask in rows]
    plain = "<user>1 + 2<assistant>"
    assert texts == [plain, plain, f"<system>Be brief.{plain}", "<user>1 + 2<assistant>It is"]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([{"role": "user", "content": "1"}], "the tokenizer has no chat template"),
        ([], "a prompt is an empty list, but must be text or a list of messages"),
        ([{"role": "user"}], "a prompt is a list of something else"),
        ([{"role": "user", "content": None}], "a prompt is a list of something else"),
        (["1", "2"], "a prompt is a list of something else"),
        (7, "a prompt is int"),
        (None, "a prompt is NoneType"),
        (b"1", "a prompt is bytes"),
    ],
)
def test_what_is_no_prompt_is_refused_in_one_line(prompt: object, message: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(POCKET_REASONER)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match=message) as error:
        encode_prompts(tokenizer, [prompt])  # type: ignore[list-item]
    assert "\n" not in str(error.value)


def test_the_frozen_head_of_an_adapters_model_gets_its_rows_whole(tiny_llama: Callable, tmp_path: Path) -> None:
    """A slice of the hidden states would be multiplied row by row: torch folds only what is contiguous."""
    from peft import LoraConfig, get_peft_model

    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer = load_model("pocket-reasoner")[1]
    tokenizer.save_pretrained(tmp_path / "base")
    adapted = get_peft_model(load_model(str(tmp_path / "base"), device="cpu")[0], LoraConfig(task_type="CAUSAL_LM"))
    for part in (adapted, tokenizer):
        part.save_pretrained(tmp_path / "adapter")
    model, _ = load_model(str(tmp_path / "adapter"), device="cpu")
    whole: list[bool] = []
    head = model.get_output_embeddings()
    assert not head.weight.requires_grad
    head.register_forward_pre_hook(lambda module, inputs: whole.append(inputs[0].is_contiguous()))
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    adapted.eval()
    call = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": 2, "do_sample": False}
    assert torch.equal(model.generate(**call), adapted.generate(**call))
    assert whole == [True, True]
