"""What `generate` takes for `entropy_min`, `entropy_trace` and `coupled`, and what it refuses in one line."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from em_hf import (
    CoupledSampling,
    EntropyMinConfig,
    EntropyMinLogitsProcessor,
    EntropyTrace,
    enable_entropy_min,
    minimize_entropy,
)

IDS = torch.tensor([[5, 9, 11]])
SAMPLE = {"do_sample": True, "top_k": 0, "max_new_tokens": 4}


@pytest.mark.parametrize("off", [False, None, [False], [None], 0])
@pytest.mark.parametrize("mode", ["beams", "assistant", "assistant by position", "lookup", "paged"])
def test_off_is_off_in_every_mode(tiny_llama: Callable, off: object, mode: str) -> None:
    model, plain = enable_entropy_min(tiny_llama()), tiny_llama()
    args: tuple = ()
    call: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    if mode == "beams":
        call["num_beams"] = 2
    elif mode == "lookup":
        call["prompt_lookup_num_tokens"] = 2
    elif mode == "assistant":
        call["assistant_model"] = tiny_llama(1)
    elif mode == "paged":
        if off is not False:
            return
        with pytest.raises(Exception) as theirs:  # whatever transformers makes of it is what comes
            plain.generate(IDS, cache_implementation="paged", max_new_tokens=-1)
        with pytest.raises(type(theirs.value)):
            model.generate(IDS, cache_implementation="paged", max_new_tokens=-1, entropy_min=False)
        return
    else:
        args = (None, None, None, None, None, tiny_llama(1))
    wanted = plain.generate(IDS, *args, **call)
    assert torch.equal(model.generate(IDS, *args, **call, entropy_min=off), wanted)


def test_an_assistant_by_position_is_refused(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama())
    with pytest.raises(ValueError, match="assisted"):
        model.generate(IDS, None, None, None, None, None, tiny_llama(1), entropy_min=True, max_new_tokens=3)


WRONG: list[Any] = [1, 0, True, "trace", [], {}, ..., 2.5, EntropyTrace, EntropyMinConfig()]


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("name", ["entropy_trace", "coupled"])
def test_a_wrong_type_is_one_line_that_names_the_argument(tiny_llama: Callable, name: str, value: Any) -> None:
    model = enable_entropy_min(tiny_llama())
    for entropy_min in (True, False):
        with pytest.raises(ValueError, match=f"{name} is ") as error:
            model.generate(IDS, **SAMPLE, entropy_min=entropy_min, **{name: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("groups", [3, "01", [0.5], [True], [None], [-1], {0: 1}, ...], ids=repr)
def test_wrong_groups_are_one_line(groups: Any) -> None:
    with pytest.raises(ValueError, match="CoupledSampling: groups is "):
        CoupledSampling(0, groups=groups)


@pytest.mark.parametrize("value", [2, -1, 0.3, "yes", "[1]", "{", ..., {1}, b"1", [[True]], [...], []], ids=repr)
def test_a_value_that_is_no_setting_is_one_line(tiny_llama: Callable, value: Any) -> None:
    with pytest.raises(ValueError, match="entropy_min is ") as error:
        enable_entropy_min(tiny_llama()).generate(IDS, **SAMPLE, entropy_min=value)
    assert "\n" not in str(error.value)


def test_the_stored_name_as_an_argument_is_refused(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama(), EntropyMinConfig(n_grad_steps=5))
    for more in ({}, {"entropy_min": True}):
        with pytest.raises(ValueError, match=r"entropy_min_config is where settings are stored.*entropy_min="):
            model.generate(IDS, **SAMPLE, entropy_min_config={"n_grad_steps": 9}, **more)


def test_settings_stored_as_an_object_work_and_are_saved(tiny_llama: Callable, tmp_path: Any) -> None:
    model, config = enable_entropy_min(tiny_llama()), EntropyMinConfig(threshold=50.0)
    model.generation_config.entropy_min_config = config
    trace = EntropyTrace()
    model.generate(IDS, **SAMPLE, entropy_min=True, entropy_trace=trace)
    assert not trace.adjusted.any()
    own = GenerationConfig(do_sample=True)
    own.entropy_min_config = EntropyMinConfig(threshold=0.0)
    model.generate(IDS, own, entropy_min=True, entropy_trace=trace, max_new_tokens=3)
    assert trace.adjusted.all() and own.entropy_min_config == EntropyMinConfig(threshold=0.0)
    model.generation_config.entropy_min_config = config
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.generation_config.entropy_min_config == config.to_dict()


@pytest.mark.parametrize("stored", [3, "x", ["threshold"], {"threshold": "x"}])
def test_stored_settings_of_another_shape_are_one_line(tiny_llama: Callable, stored: Any) -> None:
    model = enable_entropy_min(tiny_llama())
    model.generation_config.entropy_min_config = stored
    with pytest.raises(ValueError, match="EntropyMinConfig"):
        model.generate(IDS, **SAMPLE, entropy_min=True)
    assert model.generate(IDS, **SAMPLE).shape[0] == 1


def test_em_inf_by_argument_and_by_processor_is_refused(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama())
    processors = [EntropyMinLogitsProcessor()]
    with pytest.raises(ValueError, match=r"asked for twice.*logits_processor"):
        model.generate(IDS, **SAMPLE, entropy_min=True, logits_processor=processors)
    trace = EntropyTrace()
    model.generate(IDS, **SAMPLE, entropy_min=False, entropy_trace=trace, logits_processor=processors)
    assert not trace.adjusted.any()  # the trace is of what came after the processor


HARD = EntropyMinConfig(optimizer="sgd", learning_rate=1e4, kl_weight=3.0, threshold=0.0, n_grad_steps=3)


def test_greedy_decoding_is_unchanged_by_settings_that_do_turn_the_order_over(tiny_llama: Callable) -> None:
    torch.manual_seed(0)
    rows = torch.randn(200, 128)
    assert (minimize_entropy(rows, HARD).argmax(-1) != rows.argmax(-1)).any(), "these settings turn nothing over"
    model = tiny_llama(eos_token_id=127, initializer_range=0.3)
    ids = torch.randint(5, 120, (16, 6))
    wanted = model.generate(ids, do_sample=False, max_new_tokens=12)
    trace = EntropyTrace()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = enable_entropy_min(model).generate(
            ids, do_sample=False, max_new_tokens=12, entropy_min=HARD, entropy_trace=trace
        )
    assert torch.equal(out, wanted)
    assert trace.adjusted.any() and not trace.adjusted.all()  # the rows that would have turned over are left alone
