"""The processor driven by hand through vLLM's two interfaces, without an engine.

V2 needs Triton's CPU backend, which no package index has: its loader and its calls are what can run of it here.
"""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality, build_logitsprocs
from vllm.v1.worker.gpu.sample.logits_processor import (
    LogitsContext,
    build_custom_logits_processors,
    build_custom_logits_processors_params_validator,
)

from em_hf import EntropyMinConfig, minimize_entropy
from em_hf.generation.vllm import EntropyMinVLLMProcessor, requested
from tests.reference import minimize_entropy_row

VOCABULARY = 200


def vllm_config(stored: object = None, logits_processors: object = None, speculative: object = None) -> SimpleNamespace:
    """What vLLM's loaders and the processor read of an engine's configuration."""
    generation = {} if stored is None else {"entropy_min_config": stored}
    return SimpleNamespace(
        model_config=SimpleNamespace(
            logits_processors=logits_processors,
            try_get_generation_config=lambda: generation,
            get_vocab_size=lambda: 200,
        ),
        scheduler_config=SimpleNamespace(max_num_seqs=8),
        speculative_config=speculative,
    )


def asking(value: object) -> SamplingParams:
    return SamplingParams(extra_args={"entropy_min": value})


def v1(**kwargs: object) -> EntropyMinVLLMProcessor:
    return EntropyMinVLLMProcessor(vllm_config(**kwargs), torch.device("cpu"), False)


def update(size: int, added: dict | None = None, removed: tuple = (), moved: tuple = ()) -> BatchUpdate:
    rows = [(row, params, [1, 2], []) for row, params in (added or {}).items()]
    return BatchUpdate(batch_size=size, removed=list(removed), added=rows, moved=list(moved))


def noise(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 2


# --- what a request says -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "config"),
    [
        (None, None),
        (False, None),
        (0, None),
        ("0", None),
        ("false", None),
        (True, EntropyMinConfig()),
        (1, EntropyMinConfig()),
        ("1", EntropyMinConfig()),
        ("true", EntropyMinConfig()),
        ({}, EntropyMinConfig()),
        ({"threshold": 0.1}, EntropyMinConfig(threshold=0.1)),
        ('{"n_grad_steps": 7}', EntropyMinConfig(n_grad_steps=7)),
        (EntropyMinConfig(optimizer="sgd"), EntropyMinConfig(optimizer="sgd")),
    ],
    ids=repr,
)
def test_a_request_asks_with_a_switch_a_dict_or_json_in_a_string(value: object, config: object) -> None:
    EntropyMinVLLMProcessor.validate_params(asking(value))
    assert requested(asking(value)) == config


def test_a_request_without_extra_arguments_asks_for_nothing() -> None:
    assert requested(SamplingParams()) is None
    assert requested(SamplingParams(extra_args={"other": 1})) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"threshold": -1}, "threshold is -1"),
        ({"n_grad_steps": 1000}, "n_grad_steps is 1000"),
        ({"steps": 3}, "no field 'steps'"),
        ('{"learning_rate": 2}', "learning_rate is 2"),
        ("yes", "entropy_min is 'yes', which is not JSON"),
        (2, "entropy_min is 2"),
        (0.5, "entropy_min is 0.5"),
        ([1], r"entropy_min is \[1\]"),
        ("[1]", r"entropy_min is \[1\]"),
        ("[" * 50_000, r"entropy_min is '\[\[\[.*, which is not JSON"),
        ('{"threshold": 1' + 400 * "0" + "}", "threshold is 1000"),
        ('{"optimizer": "sgd", "learning_rate": 1e300}', "learning_rate is 1e"),
    ],
)
def test_wrong_settings_are_refused_by_name_when_the_request_arrives(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EntropyMinVLLMProcessor.validate_params(asking(value))


def test_true_means_the_settings_stored_with_the_model() -> None:
    processor = v1(stored={"threshold": 0.05, "n_grad_steps": 9})
    processor.update_state(update(2, {0: asking(1), 1: asking({"n_grad_steps": 1})}))
    logits = noise(2)
    out = processor.apply(logits.clone())
    assert torch.equal(out[0], minimize_entropy(logits[0], EntropyMinConfig(threshold=0.05, n_grad_steps=9)))
    assert torch.equal(out[1], minimize_entropy(logits[1], EntropyMinConfig(n_grad_steps=1)))


def test_wrong_stored_settings_do_not_keep_an_engine_from_starting(caplog: pytest.LogCaptureFixture) -> None:
    assert v1(stored={"threshold": -1}).stored is None
    assert "threshold is -1" in caplog.text


# --- loading -----------------------------------------------------------------------------------------------------


def test_both_runners_find_the_processor_by_its_entry_point() -> None:
    of_v1 = build_logitsprocs(vllm_config(), torch.device("cpu"), False, False)
    assert [type(p) for p in of_v1.non_argmax_invariant].count(EntropyMinVLLMProcessor) == 1
    assert EntropyMinVLLMProcessor not in [type(p) for p in of_v1.argmax_invariant]
    of_v2 = build_custom_logits_processors(vllm_config(), request_states(), False)
    assert [type(p) for p in of_v2] == [EntropyMinVLLMProcessor]


def test_named_once_more_it_refuses_to_act_twice() -> None:
    for name in (EntropyMinVLLMProcessor, "em_hf.generation.vllm:EntropyMinVLLMProcessor"):
        with pytest.raises(ValueError, match="already has from its entry point"):
            v1(logits_processors=[name])


@pytest.mark.parametrize("missing", ["vllm.v1.worker.gpu.sample.logits_processor", "vllm.v1.sample.logits_processor"])
def test_a_vllm_with_one_of_the_two_interfaces_can_load_the_plug_in(missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from importlib.metadata import entry_points\n"
        "(plugin,) = entry_points(group='vllm.logits_processors', name='em_hf')\n"
        "print(*[base.__module__ for base in plugin.load().__bases__])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1].startswith("vllm.v1.") and not done.stdout.split()[-1].startswith(missing)


def test_the_plug_in_imports_nothing_that_vllm_might_lack() -> None:
    script = (
        "import sys, em_hf.generation.vllm; print(*[m for m in ('transformers', 'accelerate') if m in sys.modules])"
    )
    before = (
        "import sys, vllm.v1.sample.logits_processor, vllm.v1.worker.gpu.sample.logits_processor; print(*[m for m in "
    )
    before += "('transformers', 'accelerate') if m in sys.modules])"
    runs = [
        subprocess.run([sys.executable, "-c", s], capture_output=True, text=True, check=True) for s in (script, before)
    ]
    assert runs[0].stdout.split("\n")[-2] == runs[1].stdout.split("\n")[-2]


# --- V1 ----------------------------------------------------------------------------------------------------------


def test_rows_get_the_settings_of_their_request_and_the_others_come_back_bit_for_bit() -> None:
    processor = v1()
    strong = {"threshold": 0.0, "n_grad_steps": 5}
    processor.update_state(update(4, {0: asking(True), 1: SamplingParams(), 2: asking(strong), 3: asking(True)}))
    logits = noise(4)
    out = processor.apply(logits.clone())
    assert torch.equal(out[1], logits[1])
    for row, settings_ in ((0, {}), (2, strong), (3, {})):
        naive = minimize_entropy_row(logits[row].double(), **settings_)
        torch.testing.assert_close(out[row].softmax(-1), naive.softmax(-1).float(), rtol=0, atol=5e-5)
        assert not torch.equal(out[row], logits[row])


def test_without_a_request_that_asks_the_logits_are_the_very_tensor() -> None:
    processor = v1()
    processor.update_state(update(2, {0: SamplingParams(), 1: asking(False)}))
    logits = noise(2)
    assert processor.apply(logits) is logits
    assert torch.equal(logits, noise(2))


def test_tokens_that_vllm_banned_stay_banned_and_weigh_nothing() -> None:
    """What min_tokens does: `-inf` at the stop tokens, before the processor sees the logits."""
    processor = v1()
    processor.update_state(update(1, {0: asking({"threshold": 0.0})}))
    logits = noise(1)
    logits[0, [0, 2]] = -torch.inf
    out = processor.apply(logits.clone())[0]
    kept = torch.isfinite(logits[0])
    assert torch.equal(torch.isfinite(out), kept)
    alone = minimize_entropy_row(logits[0, kept].double(), threshold=0.0)
    torch.testing.assert_close(out[kept].softmax(-1), alone.softmax(-1).float(), rtol=0, atol=5e-5)
    assert (out[kept] - logits[0, kept]).abs().max() > 0.1


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "swap", "move"]), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)
    ),
    max_size=30,
)


@settings(max_examples=200)
@given(MOVES)
def test_settings_follow_the_requests_that_join_leave_swap_and_move(changes: list) -> None:
    """Against a plain list of who sits where; vLLM does removals, then additions, then moves."""
    choices: list[object] = [None, True, {"n_grad_steps": 1}, {"optimizer": "sgd"}]
    seats: list[object] = [None] * 6
    processor = v1()
    for change, a, b, choice in changes:
        if change == "join":
            seats[a] = choices[choice]
            processor.update_state(update(6, {a: asking(choices[choice])}))
        elif change == "leave":
            seats[a] = None
            processor.update_state(update(6, removed=(a,)))
        elif a != b:
            seats[b], seats[a] = seats[a], (seats[b] if change == "swap" else None)
            how = MoveDirectionality.SWAP if change == "swap" else MoveDirectionality.UNIDIRECTIONAL
            processor.update_state(update(6, moved=((a, b, how),)))
        processor.update_state(None)
    logits = noise(6)
    out = processor.apply(logits.clone())
    for row, asked in enumerate(seats):
        config = requested(asking(asked))
        assert torch.equal(out[row], logits[row] if config is None else minimize_entropy(logits[row], config))


# --- V2 ----------------------------------------------------------------------------------------------------------


def request_states(size: int = 8) -> SimpleNamespace:
    names = ("all_token_ids", "prompt_len", "prefill_len", "total_len")
    return SimpleNamespace(device=torch.device("cpu"), max_num_reqs=size, vocab_size=VOCABULARY, **dict.fromkeys(names))


def context(slots: list[int], rows_each: list[int] | None = None) -> LogitsContext:
    """The layout of a step: the batch's slots in order, each with so many rows (more than one with draft tokens)."""
    rows_each = rows_each or [1] * len(slots)
    rows = [slot for slot, count in zip(slots, rows_each) for _ in range(count)]
    local = [i for count in rows_each for i in range(count)]
    return LogitsContext(
        expanded_idx_mapping=torch.tensor(rows, dtype=torch.int32),
        idx_mapping=torch.tensor(slots, dtype=torch.int32),
        idx_mapping_np=np.array(slots, dtype=np.int32),
        expanded_local_pos=torch.tensor(local, dtype=torch.int32),
        input_ids=torch.zeros(len(rows), dtype=torch.int32),
        pos=torch.arange(len(rows)),
        seq_lens_upper_bound_np=np.full(len(slots), 10, dtype=np.int32),
    )


def v2() -> EntropyMinVLLMProcessor:
    (processor,) = build_custom_logits_processors(vllm_config(), request_states(), False)
    return processor


def test_v2_checks_requests_as_v1_does() -> None:
    validate = build_custom_logits_processors_params_validator(None)
    validate(asking(True))
    with pytest.raises(Exception, match="threshold is -1"):
        validate(asking({"threshold": -1}))


def test_v2_treats_the_slots_that_asked_whatever_the_order_of_the_rows() -> None:
    processor = v2()
    assert processor.add_request(5, asking(True))
    assert not processor.add_request(1, SamplingParams())
    assert processor.add_request(2, asking({"n_grad_steps": 1}))
    processor.apply_staged_writes()
    logits = noise(3)
    for order in ([5, 1, 2], [2, 5, 1], [1, 2, 5]):
        out = processor.apply(logits.clone(), context(order))
        for row, slot in enumerate(order):
            config = {5: EntropyMinConfig(), 1: None, 2: EntropyMinConfig(n_grad_steps=1)}[slot]
            assert torch.equal(out[row], logits[row] if config is None else minimize_entropy(logits[row], config))


def test_v2_treats_the_logits_of_every_draft_token() -> None:
    processor = v2()
    processor.add_request(0, SamplingParams())
    processor.add_request(3, asking(True))
    logits = noise(5)
    out = processor.apply(logits.clone(), context([3, 0], rows_each=[3, 2]))
    assert torch.equal(out[:3], minimize_entropy(logits[:3]))
    assert torch.equal(out[3:], logits[3:])


def test_v2_starts_a_slot_anew_for_the_next_request() -> None:
    processor = v2()
    logits = noise(1)
    for asked in (True, None, {"n_grad_steps": 1}, {"n_grad_steps": 2}, True, None):
        processor.add_request(4, asking(asked))
        config = requested(asking(asked))
        expected = logits if config is None else minimize_entropy(logits, config)
        assert torch.equal(processor.apply(logits.clone(), context([4])), expected)
    processor.add_request(0, SamplingParams())
    kept = processor.apply(logits, context([0]))
    assert kept is logits
