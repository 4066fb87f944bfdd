"""What the trace holds where rows stop for other reasons than an end-of-sequence token, and in audio models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from transformers import StoppingCriteria

from em_hf import EntropyTrace, enable_entropy_min
from em_hf.generation.processors import EntropyMinLogitsProcessor

SAMPLE = {"do_sample": True, "top_k": 0, "max_new_tokens": 6}
IDS = torch.tensor([[5, 9, 11], [17, 33, 21]])


class _StopsRow(StoppingCriteria):
    """Ends row 0 after two tokens and row 1 after four."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor([input_ids.shape[1] >= 5, input_ids.shape[1] >= 7])


def test_a_stopping_criterion_ends_a_rows_trace(tiny_llama: Callable) -> None:
    model, trace = enable_entropy_min(tiny_llama(eos_token_id=127)), EntropyTrace()
    torch.manual_seed(0)
    out = model.generate(IDS, **SAMPLE, entropy_min=True, entropy_trace=trace, stopping_criteria=[_StopsRow()])
    assert out.shape == (2, 7) and trace.before.shape == (2, 4)
    assert trace.before.isfinite().tolist() == [[True, True, False, False], [True] * 4]
    assert not trace.adjusted[0, 2:].any()


def test_stop_strings_end_a_rows_trace(smollm2: Any) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2, padding_side="left")
    model = enable_entropy_min(transformers.AutoModelForCausalLM.from_pretrained(smollm2))
    batch = tokenizer(["One, two, three,", "The sea is"], return_tensors="pt", padding=True)
    call = {"max_new_tokens": 12, "do_sample": False, "stop_strings": ["five"], "tokenizer": tokenizer}
    trace = EntropyTrace()
    out = model.generate(**batch, **call, entropy_min=False, entropy_trace=trace)
    new = [tokenizer.decode(row[batch["input_ids"].shape[1] :]) for row in out]
    assert "five" in new[0] and "five" not in new[1]
    length = int(trace.before[0].isfinite().sum())
    # the text up to the last finite entry is the shortest that holds the string
    ids = out[0, batch["input_ids"].shape[1] :]
    assert "five" in tokenizer.decode(ids[:length]) and "five" not in tokenizer.decode(ids[: length - 1])
    assert trace.before[1].isfinite().all()


def test_steps_after_all_rows_stopped_are_dropped() -> None:
    """As on a device where transformers looks a step late whether to stop, and takes that step back."""
    trace = EntropyTrace()
    numbers, flags = torch.ones(2), torch.tensor([True, True])
    for finished in (None, torch.tensor([True, False]), flags, flags):
        trace.record(numbers, numbers, flags, finished)
    trace.trim()
    assert len(trace) == 2


@pytest.fixture
def whisper() -> Any:
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=20,
        max_target_positions=40, bos_token_id=1, eos_token_id=2, pad_token_id=0, decoder_start_token_id=3,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    model.generation_config.no_timestamps_token_id = 50
    return enable_entropy_min(model)


def test_an_output_without_the_prompt_cuts_no_entries(whisper: Any) -> None:
    trace = EntropyTrace()
    out = whisper.generate(
        torch.randn(2, 8, 40), **SAMPLE, min_new_tokens=6, entropy_min=True, entropy_trace=trace
    )  # Whisper takes the start token off
    assert trace.before.shape == (2, 6) and trace.before.isfinite().all() and trace.adjusted.any()
    assert out.shape[1] in (6, 7)


def test_segments_have_the_trace_beside_them(whisper: Any) -> None:
    trace = EntropyTrace()
    out = whisper.generate(
        torch.randn(1, 8, 40),
        **SAMPLE,
        min_new_tokens=6,
        entropy_min=True,
        entropy_trace=trace,
        return_segments=True,
        return_timestamps=True,
    )
    assert isinstance(out, dict) and out["entropy_trace"] is trace and trace.before.shape[0] == 1


def test_a_list_of_settings_is_repeated_where_the_model_repeats_the_prompts_itself(whisper: Any) -> None:
    trace = EntropyTrace()
    call = {**SAMPLE, "min_new_tokens": 6, "num_return_sequences": 2, "entropy_trace": trace}
    whisper.generate(torch.randn(2, 8, 40), **call, entropy_min=[{"threshold": 0.0}, False])
    assert trace.adjusted.any(1).tolist() == [True, True, False, False]
    with pytest.raises(ValueError, match="entropy_min has 3 entries, but there are 4 prompts"):
        whisper.generate(torch.randn(2, 8, 40), **call, entropy_min=[True, False, False])


def test_a_processor_used_by_hand_follows_end_tokens_only_where_told() -> None:
    trace = EntropyTrace()
    processor = EntropyMinLogitsProcessor(trace=trace)
    processor.eos_token_ids = torch.tensor([2])
    for ids in ([[5]], [[5, 2]], [[5, 2, 0]]):
        processor(torch.tensor(ids), torch.randn(1, 10))
    assert trace.before.isnan().tolist() == [[False, True, True]]
