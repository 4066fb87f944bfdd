"""enable_entropy_min and the arguments it gives to generate."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)
from transformers.generation.streamers import BaseStreamer

from em_hf import (
    CoupledSampling,
    EntropyMinConfig,
    EntropyMinGenerationMixin,
    EntropyMinLogitsProcessor,
    EntropyTrace,
    disable_entropy_min,
    enable_entropy_min,
)

BATCH = {"input_ids": torch.tensor([[5, 9, 11], [17, 33, 21]]), "attention_mask": torch.ones(2, 3, dtype=torch.long)}
SAMPLING = {"do_sample": True, "top_k": 0, "max_new_tokens": 6}
SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
STRONG = EntropyMinConfig(n_grad_steps=40, kl_weight=0.0, learning_rate=0.2)


class _Tokens(BaseStreamer):
    def __init__(self) -> None:
        self.pieces: list[torch.Tensor] = []

    def put(self, value: torch.Tensor) -> None:
        self.pieces.append(value.reshape(-1))

    def end(self) -> None: ...


def test_enabling_switches_nothing_on_and_is_idempotent(tiny_llama: Callable) -> None:
    model = tiny_llama()
    plain = type(model)
    assert enable_entropy_min(model) is model
    mixed = type(model)
    assert type(enable_entropy_min(model)) is mixed and mixed is not plain and issubclass(mixed, plain)
    assert (mixed.__name__, mixed.__qualname__, mixed.__module__) == (
        plain.__name__,
        plain.__qualname__,
        plain.__module__,
    )
    assert not hasattr(model.generation_config, "entropy_min")
    assert not hasattr(LlamaForCausalLM.generate, "entropy_min") and type(tiny_llama()) is plain


def test_where_it_is_not_enabled_or_was_disabled_the_argument_is_transformers_own_error(tiny_llama: Callable) -> None:
    model = tiny_llama()
    with pytest.raises(ValueError, match=r"model_kwargs.*entropy_min"):
        model.generate(**BATCH, **SAMPLING, entropy_min=True)
    enable_entropy_min(model, EntropyMinConfig(threshold=0.7))
    assert disable_entropy_min(model) is model and type(model) is LlamaForCausalLM
    with pytest.raises(ValueError, match=r"model_kwargs.*entropy_min"):
        model.generate(**BATCH, **SAMPLING, entropy_min=True)
    assert model.generation_config.entropy_min_config["threshold"] == 0.7
    assert disable_entropy_min(model) is model


def test_as_a_base_class_it_needs_no_enabling() -> None:
    class M(EntropyMinGenerationMixin, LlamaForCausalLM):
        pass

    model = M(LlamaConfig(**SMALL)).eval()
    out = model.generate(**BATCH, **SAMPLING, entropy_min=True, return_dict_in_generate=True)
    assert out.entropy_trace.adjusted.any()
    enable_entropy_min(model, EntropyMinConfig(threshold=0.4))
    assert type(model) is M
    with pytest.raises(ValueError, match="base class"):
        disable_entropy_min(model)


def test_a_model_without_a_generation_head_is_refused() -> None:
    with pytest.raises(ValueError, match=r"LlamaModel has no generation head"):
        enable_entropy_min(LlamaModel(LlamaConfig(**SMALL)))
    with pytest.raises(ValueError, match=r"Linear has no generation head"):
        enable_entropy_min(torch.nn.Linear(2, 2))


def test_true_takes_the_stored_settings_and_a_call_overrides_them(tiny_llama: Callable) -> None:
    def adjusted(model: Any, value: Any, **more: Any) -> int:
        torch.manual_seed(0)
        out = model.generate(**BATCH, **SAMPLING, entropy_min=value, return_dict_in_generate=True, **more)
        return int(out.entropy_trace.adjusted.sum())

    model = enable_entropy_min(tiny_llama())
    everything = adjusted(model, True)
    assert everything > 0
    enable_entropy_min(model, EntropyMinConfig(threshold=50.0))
    assert model.generation_config.entropy_min_config == EntropyMinConfig(threshold=50.0).to_dict()
    assert adjusted(model, True) == 0
    assert adjusted(model, {"threshold": 0.3}) == adjusted(model, EntropyMinConfig()) == everything
    enable_entropy_min(model)  # None keeps what is stored
    assert adjusted(model, True) == 0
    explicit = GenerationConfig(do_sample=True)
    assert adjusted(model, True, generation_config=explicit) == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"treshold": 1}, "no field 'treshold'"),
        ({"threshold": -1}, "threshold is -1"),
        ("yes", "entropy_min is 'yes'"),
        (0.3, "entropy_min is 0.3"),
        ([True], "1 entries, but there are 2 prompts"),
        ([True, "no"], "entropy_min is 'no'"),
    ],
)
def test_a_wrong_setting_is_a_clear_error(tiny_llama: Callable, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        enable_entropy_min(tiny_llama()).generate(**BATCH, **SAMPLING, entropy_min=value)


def test_settings_a_prompt_are_repeated_for_its_return_sequences(tiny_llama: Callable) -> None:
    model, trace = enable_entropy_min(tiny_llama(eos_token_id=127)), EntropyTrace()
    model.generate(**BATCH, **SAMPLING, entropy_min=[False, True], entropy_trace=trace, num_return_sequences=3)
    assert trace.adjusted.any(1).tolist() == [False] * 3 + [True] * 3


def test_all_rows_share_the_noise_so_off_rows_equal_and_on_rows_part(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama(eos_token_id=127))
    ids = BATCH["input_ids"][:1].repeat(3, 1)
    out = model.generate(ids, **SAMPLING, entropy_min=[False, False, STRONG], coupled=CoupledSampling(0))
    assert torch.equal(out[0], out[1]) and not torch.equal(out[0], out[2])
    again = model.generate(ids[:1], **SAMPLING, entropy_min=[STRONG], coupled=CoupledSampling(0))
    assert torch.equal(again[0], out[2])
    other = model.generate(ids[:1], **SAMPLING, coupled=CoupledSampling(1))
    assert not torch.equal(other[0], out[0])


def test_groups_share_noise_within_themselves_only(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama(eos_token_id=127))
    ids = BATCH["input_ids"][:1].repeat(4, 1)
    out = model.generate(ids, **SAMPLING, coupled=CoupledSampling(0, groups=[0, 0, 1, 1]))
    assert torch.equal(out[0], out[1]) and torch.equal(out[2], out[3]) and not torch.equal(out[0], out[2])
    with pytest.raises(ValueError, match="groups for 3 rows, but the batch has 4"):
        model.generate(ids, **SAMPLING, coupled=CoupledSampling(0, groups=[0, 0, 1]))


def test_coupling_without_sampling_is_an_error(tiny_llama: Callable) -> None:
    with pytest.raises(ValueError, match="coupled needs do_sample=True"):
        enable_entropy_min(tiny_llama()).generate(**BATCH, max_new_tokens=2, coupled=CoupledSampling(0))


def test_greedy_decoding_is_unchanged_with_one_warning(tiny_llama: Callable) -> None:
    model = tiny_llama(eos_token_id=127)
    wanted = model.generate(**BATCH, max_new_tokens=6, do_sample=False)
    enable_entropy_min(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = model.generate(**BATCH, max_new_tokens=6, do_sample=False, entropy_min=True)
    ours = [w for w in caught if "greedy" in str(w.message)]
    assert len(ours) == 1 and "do_sample=True" in str(ours[0].message)
    assert torch.equal(out, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate(**BATCH, **SAMPLING, entropy_min=True, coupled=CoupledSampling(0))
        model.generate(**BATCH, max_new_tokens=2, do_sample=False, entropy_min=False)


def test_positional_arguments_and_the_users_own_processors_keep_working(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama())
    seen = []

    def ban(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        seen.append(scores.shape)
        return scores.masked_fill(torch.arange(scores.shape[-1]) != 42, -torch.inf)

    settings = GenerationConfig(**SAMPLING)
    out = model.generate(BATCH["input_ids"], settings, [ban], entropy_min=True, entropy_trace=EntropyTrace())
    assert len(seen) == 6 and (out[:, 3:] == 42).all()
    with pytest.raises(TypeError, match="multiple values"):
        model.generate(BATCH["input_ids"], inputs=BATCH["input_ids"], entropy_min=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 2}, "beam"),
        ({"num_beams": 2, "do_sample": True}, "beam"),
        ({"prompt_lookup_num_tokens": 2}, "assisted"),
        ({"cache_implementation": "paged"}, "paged"),
    ],
)
def test_a_mode_where_it_has_no_meaning_is_refused(tiny_llama: Callable, settings: dict, message: str) -> None:
    model = enable_entropy_min(tiny_llama())
    for argument in ({"entropy_min": True}, {"entropy_trace": EntropyTrace()}):
        with pytest.raises(ValueError, match=message):
            model.generate(BATCH["input_ids"][:1], max_new_tokens=3, **settings, **argument)
    with pytest.raises(ValueError, match="generate_batch"):
        model.generate_batch([[5, 9]], entropy_min=True)
    with pytest.raises(ValueError, match="assisted"):
        model.generate(BATCH["input_ids"][:1], assistant_model=tiny_llama(1), entropy_min=True)


def test_beam_search_without_the_argument_still_works(tiny_llama: Callable) -> None:
    model = tiny_llama()
    wanted = model.generate(**BATCH, num_beams=3, max_new_tokens=4)
    assert torch.equal(enable_entropy_min(model).generate(**BATCH, num_beams=3, max_new_tokens=4), wanted)


def test_streamers_see_every_token_as_it_comes(tiny_llama: Callable) -> None:
    model, streamer, trace = enable_entropy_min(tiny_llama(eos_token_id=127)), _Tokens(), EntropyTrace()
    out = model.generate(BATCH["input_ids"][:1], **SAMPLING, entropy_min=True, streamer=streamer, entropy_trace=trace)
    assert torch.equal(torch.cat(streamer.pieces), out[0])
    assert len(trace) == 6


def test_the_trace_can_be_read_while_generation_runs(tiny_llama: Callable) -> None:
    model, trace, lengths = enable_entropy_min(tiny_llama(eos_token_id=127)), EntropyTrace(), []

    class Watch(_Tokens):
        def put(self, value: torch.Tensor) -> None:
            lengths.append((len(trace), trace.before.shape[-1]))

    model.generate(BATCH["input_ids"][:1], **SAMPLING, entropy_min=True, streamer=Watch(), entropy_trace=trace)
    assert lengths == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]
    model.generate(BATCH["input_ids"][:1], **SAMPLING, entropy_min=True, entropy_trace=trace)
    assert len(trace) == 6  # a second call starts anew


def test_the_output_has_a_trace_only_where_a_dict_is_returned(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama())
    assert isinstance(model.generate(**BATCH, **SAMPLING, entropy_min=True), torch.Tensor)
    out = model.generate(**BATCH, **SAMPLING, entropy_min=True, return_dict_in_generate=True, output_scores=True)
    assert out.entropy_trace.before.shape == (2, len(out.scores))


def test_a_processor_used_by_hand_does_what_the_argument_does(tiny_llama: Callable) -> None:
    model, other = enable_entropy_min(tiny_llama()), tiny_llama()
    torch.manual_seed(0)
    by_argument = model.generate(**BATCH, **SAMPLING, entropy_min=STRONG)
    torch.manual_seed(0)
    by_hand = other.generate(**BATCH, **SAMPLING, logits_processor=[EntropyMinLogitsProcessor(STRONG)])
    assert torch.equal(by_argument, by_hand)


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "torch.save"])
def test_an_enabled_model_survives_copying(tiny_llama: Callable, way: str) -> None:
    model = enable_entropy_min(tiny_llama(), EntropyMinConfig(threshold=0.6))
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    elif way == "deepcopy":
        twin = copy.deepcopy(model)
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    assert type(twin) is type(model)
    settings = {**SAMPLING, "entropy_min": True, "coupled": CoupledSampling(0)}
    assert torch.equal(twin.generate(**BATCH, **settings), model.generate(**BATCH, **settings))
    assert type(disable_entropy_min(twin)) is LlamaForCausalLM and isinstance(model, EntropyMinGenerationMixin)


def test_saving_keeps_the_architecture_and_carries_the_settings(tiny_llama: Callable, tmp_path: Any) -> None:
    model = enable_entropy_min(tiny_llama(), EntropyMinConfig(threshold=0.6))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.architectures == ["LlamaForCausalLM"] and type(loaded) is LlamaForCausalLM
    assert loaded.generation_config.entropy_min_config == EntropyMinConfig(threshold=0.6).to_dict()
    with pytest.raises(ValueError, match=r"model_kwargs.*entropy_min"):
        loaded.generate(**BATCH, **SAMPLING, entropy_min=True)


def test_a_compiled_wrapper_is_enabled_inside(tiny_llama: Callable) -> None:
    model = tiny_llama()
    wrapper = torch.compile(model, backend="eager")
    assert enable_entropy_min(wrapper) is wrapper and isinstance(model, EntropyMinGenerationMixin)


def test_a_text_generation_pipeline_passes_the_argument_on(smollm2: Any) -> None:
    from transformers import AutoTokenizer, pipeline

    model = enable_entropy_min(AutoModelForCausalLM.from_pretrained(smollm2))
    generator = pipeline("text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained(smollm2))
    settings = {"do_sample": True, "max_new_tokens": 4, "return_full_text": False, "coupled": CoupledSampling(0)}
    plain = generator("The sea is", **settings)[0]["generated_text"]
    changed = generator("The sea is", **settings, entropy_min={"n_grad_steps": 100})[0]["generated_text"]
    assert plain and changed and plain != changed
