"""Models whose `generate` calls the `generate` of a model inside: the call's settings reach it, or it is refused."""

from typing import Any

import pytest
import torch
import transformers
from transformers import GenerationMixin

from em_hf import CoupledSampling, EntropyMinConfig, EntropyTrace, disable_entropy_min, enable_entropy_min
from em_hf.generation import minimize
from tests.reference import entropy

TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**TEXT, "image_size": 8, "patch_size": 4}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def blip() -> tuple[Any, dict]:
    text = {**TEXT, **SPECIAL, "vocab_size": 40, "encoder_hidden_size": 16, "sep_token_id": 2, "is_decoder": True}
    config = transformers.BlipConfig(text_config=text, vision_config=VISION)
    return transformers.BlipForConditionalGeneration(config), {"pixel_values": torch.randn(2, 3, 8, 8)}


def _q_former(kind: str) -> tuple[Any, dict]:
    opt = {
        "hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 40,
        "max_position_embeddings": 64, "word_embed_proj_dim": 16, "model_type": "opt", **SPECIAL,
    }  # fmt: skip
    former = {**TEXT, "vocab_size": 40, "encoder_hidden_size": 16}
    config = getattr(transformers, f"{kind}Config")(
        vision_config=VISION, qformer_config=former, text_config=opt, num_query_tokens=4, image_token_index=39
    )
    ids = torch.tensor([[39] * 4 + [5, 9]] * 2)
    inputs = {"pixel_values": torch.randn(2, 3, 8, 8), "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if kind == "InstructBlip":
        inputs |= {"qformer_input_ids": torch.tensor([[5, 6]] * 2), "qformer_attention_mask": torch.ones(2, 2).long()}
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), inputs


def blip2() -> tuple[Any, dict]:
    return _q_former("Blip2")


def instruct_blip() -> tuple[Any, dict]:
    return _q_former("InstructBlip")


def kosmos2() -> tuple[Any, dict]:
    text = {"vocab_size": 40, "embed_dim": 16, "ffn_dim": 16, "layers": 1, "attention_heads": 2, **SPECIAL}
    config = transformers.Kosmos2Config(text_config=text, vision_config=VISION, latent_query_num=4)
    ids = torch.tensor([[1, 5, 6, 7, 8, 9]] * 2)
    mask = torch.tensor([[0, 1, 1, 1, 1, 0]] * 2)
    inputs = {"pixel_values": torch.randn(2, 3, 8, 8), "input_ids": ids, "image_embeds_position_mask": mask}
    return transformers.Kosmos2ForConditionalGeneration(config), {**inputs, "attention_mask": torch.ones_like(ids)}


@pytest.fixture(params=[blip, blip2, instruct_blip, kosmos2], ids=lambda made: made.__name__)
def made(request: pytest.FixtureRequest) -> tuple[Any, dict]:
    torch.manual_seed(0)
    model, inputs = request.param()
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return enable_entropy_min(model.eval()), inputs


SAMPLE = {"do_sample": True, "top_k": 0, "max_new_tokens": 5, "min_new_tokens": 5}


def steps_taken(model: Any, inputs: dict, monkeypatch: pytest.MonkeyPatch, **call: Any) -> set[int]:
    """The `n_grad_steps` of every step that was made."""
    seen: set[int] = set()
    real = minimize.entropy_min_step

    def spy(logits: Any, config: EntropyMinConfig, active: Any = None) -> Any:
        seen.add(config.n_grad_steps)
        return real(logits, config, active)

    with monkeypatch.context() as patch:
        patch.setattr("em_hf.generation.processors.entropy_min_step", spy)
        model.generate(**inputs, **SAMPLE, **call)
    return seen


def test_settings_reach_the_model_inside(made: tuple[Any, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = made
    assert steps_taken(model, inputs, monkeypatch, entropy_min={"n_grad_steps": 10}) == {10}
    model.generation_config.entropy_min_config = {"n_grad_steps": 7}
    assert steps_taken(model, inputs, monkeypatch, entropy_min=True) == {7}
    assert steps_taken(model, inputs, monkeypatch, entropy_min=[{"n_grad_steps": 4}, False]) == {4}


def test_false_with_a_trace_measures_and_changes_nothing(made: tuple[Any, dict]) -> None:
    model, inputs = made
    torch.manual_seed(1)
    wanted = disable_entropy_min(model).generate(**inputs, **SAMPLE, output_scores=True, return_dict_in_generate=True)
    trace = EntropyTrace()
    torch.manual_seed(1)
    out = enable_entropy_min(model).generate(**inputs, **SAMPLE, entropy_min=False, entropy_trace=trace)
    assert torch.equal(out, wanted.sequences)
    assert not trace.adjusted.any() and trace.before.shape == (2, len(wanted.scores))
    exact = torch.stack([torch.stack([entropy(row) for row in scores.double()]) for scores in wanted.scores], 1)
    torch.testing.assert_close(trace.before.double(), exact, atol=1e-4, rtol=0)


def test_a_row_on_and_a_row_off_are_told_apart_in_the_trace(made: tuple[Any, dict]) -> None:
    model, inputs = made
    trace = EntropyTrace()
    config = EntropyMinConfig(threshold=0.0)
    model.generate(**inputs, **SAMPLE, entropy_min=[None, config], entropy_trace=trace, coupled=CoupledSampling(0))
    assert trace.adjusted.shape == (2, 5)
    assert trace.adjusted[1].all() and not trace.adjusted[0].any()


def test_beams_are_refused_there_too(made: tuple[Any, dict]) -> None:
    model, inputs = made
    with pytest.raises(ValueError, match="not beam"):
        model.generate(**inputs, num_beams=2, max_new_tokens=3, entropy_min=True)
    assert model.generate(**inputs, num_beams=2, max_new_tokens=3, entropy_min=False) is not None


def test_disabling_restores_the_models_inside(made: tuple[Any, dict]) -> None:
    model, inputs = made
    model.generate(**inputs, **SAMPLE, entropy_min=True)
    disable_entropy_min(model)
    inside = [module for module in model.modules() if isinstance(module, GenerationMixin)]
    assert len(inside) > 1 and all(type(module).__mro__[1].__name__ != "EntropyMinGenerationMixin" for module in inside)


def test_a_generate_that_never_asks_the_processors_is_refused_in_one_line() -> None:
    class Own(transformers.LlamaForCausalLM):
        def generate(self, input_ids: Any, **kwargs: Any) -> Any:
            return input_ids

    model = enable_entropy_min(Own(transformers.LlamaConfig(vocab_size=40, **TEXT)))
    with pytest.raises(ValueError, match=r"Own.generate does not use transformers' logits processors") as error:
        model.generate(torch.tensor([[1]]), entropy_min=True)
    assert "\n" not in str(error.value)
    assert model.generate(torch.tensor([[1]])).tolist() == [[1]]


def test_a_processor_that_was_never_told_its_call_raises() -> None:
    class Own(transformers.LlamaForCausalLM):
        def generate(self, input_ids: Any, logits_processor: Any = None, **kwargs: Any) -> Any:
            return logits_processor(input_ids, torch.zeros(1, 40))

    model = enable_entropy_min(Own(transformers.LlamaConfig(vocab_size=40, **TEXT)))
    with pytest.raises(ValueError, match="does not know this decoding loop"):
        model.generate(torch.tensor([[1]]), entropy_min={"n_grad_steps": 10})
