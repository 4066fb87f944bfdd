"""The contract of every host: one table of cases, golden values among them, through each engine's own interface.

A host is what an engine calls: rows of logits in, with what each row's request asked for, new rows out.
"""

import json
import os
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
from em_hf.generation.gguf import GgufModel, GgufTokenizer
from em_hf.generation.gguf_header import gguf_architecture
from em_hf.generation.llama_cpp import EntropyMinLlamaCppProcessor, complete, load_gguf
from em_hf.models import encode_prompts
from tests.conftest import missing
from tests.reference import minimize_entropy_row

Host = Callable[[Tensor, list[Any]], Tensor]
NAMES = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer")


def generate(rows: Tensor, asked: list[Any]) -> Tensor:
    """transformers' `generate`: a processor over the rows of a batch."""
    processor = EntropyMinLogitsProcessor([requested(entry) for entry in asked])
    return processor(torch.zeros(len(rows), 1, dtype=torch.long), rows)


def continuous_batching(rows: Tensor, asked: list[Any], known: bool = True) -> Tensor:
    """transformers' continuous batching: one number per request, in a tensor larger than the batch."""
    settings = settings_of_requests(asked, None, len(asked))
    processor = _PerRequest(EntropyMinForBatching(settings if known else None))
    kwargs = [{} if entry is None else {"entropy_min": entry} for entry in settings]
    states = [SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs=one)) for one in kwargs]
    arguments = torch.full((len(rows) + 3,), 99, dtype=torch.int32)
    processor.fill_defaults(arguments)
    arguments[: len(rows)] = processor.prepare_tensor_args(states)
    return processor(rows, arguments)


def transformers_serve(rows: Tensor, asked: list[Any]) -> Tensor:
    """The same where requests are not known beforehand, as in a server."""
    return continuous_batching(rows, asked, known=False)


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


HOSTS: list[Host] = [generate, continuous_batching, transformers_serve, over_sglang, llama_cpp, mlx, vllm_v1, vllm_v2]


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


def golden_error(host: Host, shared: Path) -> float:
    """The largest deviation in probability from a third of the golden values."""
    worst = 0.0
    with safe_open(shared / "golden" / "em_inf.safetensors", "pt") as golden:
        cases = sorted({key.split(".")[0] for key in golden.keys()})[::3]
        for number, values in list(enumerate(json.loads(golden.metadata()["em"])))[:3]:
            for case in cases:
                rows = golden.get_tensor(f"{case}.logits")
                wanted = golden.get_tensor(f"{case}.em{number}").softmax(-1)
                worst = max(worst, float((host(rows, [values] * len(rows)).softmax(-1) - wanted).abs().max()))
    return worst


def test_golden_values(host: Host, shared: Path) -> None:
    assert golden_error(host, shared) < 5e-5


MIXED = [
    True,
    False,
    {"n_grad_steps": 10},
    None,
    EntropyMinConfig(optimizer="sgd", learning_rate=5.0),
    1,
    '{"threshold": 0.1}',
]


def mixed_error(host: Host, size: int) -> float:
    """The largest deviation in probability from the naive reference; infinite if a row without EM-INF changed."""
    rows, worst = noise(len(MIXED), size), 0.0
    for row, new, entry in zip(rows, host(rows, MIXED), MIXED):
        if requested(entry) is None:
            worst = worst if torch.equal(new, row) else float("inf")
        else:
            assert not torch.equal(new, row)
            worst = max(worst, float((new.double().softmax(-1) - oracle(row, entry).softmax(-1)).abs().max()))
    return worst


@pytest.mark.parametrize("size", [60, 9000])
def test_rows_with_different_settings_beside_rows_without(host: Host, size: int) -> None:
    assert mixed_error(host, size) < 3e-5


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


WRONG = [{"treshold": 1}, {"threshold": -1}, "yes", 0.5, [True], 2, {1}]


@pytest.mark.parametrize("value", WRONG, ids=repr)
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


def test_requests_that_come_later_bring_their_settings(tiny_llama: Callable) -> None:
    """With settings that leave the largest logit alone a request is greedy; the others are as without EM-INF."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model = enable_entropy_min(tiny_llama(eos_token_id=127))
    sure = EntropyMinConfig(threshold=0.0, n_grad_steps=100, learning_rate=1.0, kl_weight=0.0)
    settings = GenerationConfig(do_sample=True, max_new_tokens=8, eos_token_id=127, pad_token_id=0)
    config = ContinuousBatchingConfig(block_size=16, num_blocks=64, max_batch_tokens=64)
    greedy = [
        model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=8, eos_token_id=127, pad_token_id=0)[0]
        for prompt in PROMPTS[:2]
    ]
    manager = model.init_continuous_batching(settings, config, entropy_min=sure)
    manager.start()
    try:
        asked = {manager.add_request(list(PROMPTS[0])): greedy[0]}  # what a request has by default
        asked[manager.add_request(list(PROMPTS[1]), entropy_min=sure.to_dict())] = greedy[1]
        others = [manager.add_request(list(PROMPTS[0]), entropy_min=False) for _ in range(3)]
        with pytest.raises(ValueError, match="threshold is -1"):
            manager.add_request(list(PROMPTS[0]), entropy_min={"threshold": -1})
        found = {}
        while len(found) < 5:
            result = manager.get_result(timeout=60)
            assert result is not None and result.error is None
            found[result.request_id] = result.generated_tokens
    finally:
        manager.stop(block=True, timeout=30)
        manager.destroy()
    for name, wanted in asked.items():
        assert found[name] == wanted[-len(found[name]) :].tolist()
    assert any(found[name] != greedy[0][3:].tolist() for name in others)
    graphs = ContinuousBatchingConfig(use_cuda_graph=True)
    with pytest.raises(ValueError, match="needs use_cuda_graph=False"):
        model.init_continuous_batching(settings, graphs, entropy_min=True)


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


def _retired() -> None:
    raise RuntimeError("get_global_server_args() is retired")


@pytest.mark.parametrize("module", ["runtime_context", "server_args"], ids=["0.5.23", "before"])
def test_an_sglang_server_that_decodes_speculatively_is_refused(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """0.5.23 tells its settings elsewhere than versions before it, whose place then raises."""
    getter = {"runtime_context": "get_spec", "server_args": "get_global_server_args"}[module]
    places: dict[str, Any] = {"server_args": SimpleNamespace(get_global_server_args=_retired)}
    algorithm = SimpleNamespace(speculative_algorithm="EAGLE")
    places[module] = SimpleNamespace(**{getter: lambda: algorithm})
    monkeypatch.setitem(sys.modules, "sglang", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sglang.srt", SimpleNamespace())
    for name in ("runtime_context", "server_args"):
        monkeypatch.setitem(sys.modules, f"sglang.srt.{name}", places.get(name))
    with pytest.raises(ValueError, match=r"speculative decoding \(EAGLE\) bypasses"):
        sglang.EntropyMinSGLangProcessor()
    algorithm.speculative_algorithm = None
    sglang.EntropyMinSGLangProcessor()


def test_rows_of_several_draft_tokens_are_each_their_requests(host: Host) -> None:
    """SGLang repeats a request's parameters for each of its tokens."""
    processor = sglang.EntropyMinSGLangProcessor()
    rows, config = noise(4, 50), EntropyMinConfig().to_dict()
    out = processor(rows, [{"entropy_min": config}] * 2 + [None] * 2)
    assert torch.equal(out[2:], rows[2:]) and not torch.equal(out[:2], rows[:2])
    with pytest.raises(ValueError, match="parameters for 1 rows, but there are 4"):
        processor(rows, [None])


# --- mlx-lm, for real, on MLX's CPU build --------------------------------------------------------------------------


def test_mlx_lm_decodes_with_it() -> None:
    """With settings that leave the largest logit alone the draw is the greedy one; each step is in the trace."""
    if find_spec("mlx_lm") is None:
        missing("mlx-lm")
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.models.llama import Model, ModelArgs
    from mlx_lm.sample_utils import make_sampler

    from em_hf.generation.mlx import EntropyMinMLXProcessor

    mx.random.seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 4}
    model = Model(ModelArgs(model_type="llama", rms_norm_eps=1e-5, vocab_size=128, **sizes))
    prompt = mx.array([5, 9, 11])

    def decode(temperature: float, *processors: Any) -> list[int]:
        settings = {"sampler": make_sampler(temp=temperature), "logits_processors": list(processors)}
        return [token for token, _ in generate_step(prompt, model, max_tokens=8, **settings)]

    trace, idle = EntropyTrace(), EntropyTrace()
    sure = {"threshold": 0.0, "n_grad_steps": 100, "learning_rate": 1.0, "kl_weight": 0.0}
    greedy = decode(0.0)
    assert decode(1.0, EntropyMinMLXProcessor(sure, trace)) == greedy
    assert decode(1.0, EntropyMinMLXProcessor(False, idle)) != greedy
    assert len(trace) >= 8 and trace.adjusted.all() and float(trace.after.max()) < 0.01 < float(trace.before.min())
    assert not idle.adjusted.any()


# --- llama.cpp, for real -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llm(smollm2_gguf: Path) -> Iterator[Any]:
    model = load_gguf(smollm2_gguf, n_ctx=256, n_threads=1)
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
    from em_hf.compare.side_by_side import compare_decoding

    model, tokenizer = GgufModel(llm), GgufTokenizer(llm)
    inputs = encode_prompts(tokenizer, ["Name three colours."])
    strong = EntropyMinConfig(n_grad_steps=60, kl_weight=0.0)
    result = compare_decoding(model, tokenizer, inputs, strong, seed=1, max_new_tokens=12)
    idle = EntropyMinConfig(threshold=100.0)
    again = compare_decoding(model, tokenizer, inputs, idle, seed=1, max_new_tokens=12)
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


def main() -> None:
    """Print the contract's table: what each host came to in each case."""
    shared = Path(os.environ.get("EM_HF_SHARED", "shared"))
    cases: dict[str, Callable[[Host], Any]] = {
        "golden values, largest deviation": lambda host: golden_error(host, shared),
        "mixed rows of 60, largest deviation": lambda host: mixed_error(host, 60),
        "mixed rows of 9,000, largest deviation": lambda host: mixed_error(host, 9000),
        "banned tokens weigh nothing": test_banned_tokens_stay_banned_and_weigh_nothing,
        "below the threshold bit for bit": test_a_row_below_its_threshold_comes_back_bit_for_bit,
        "bfloat16 rounded once": lambda host: test_half_precision_is_rounded_once(host, torch.bfloat16),
        "float16 rounded once": lambda host: test_half_precision_is_rounded_once(host, torch.float16),
        "adaptive temperature": test_adaptive_temperature_is_a_setting_like_others,
        "wrong settings, the same line": lambda host: [
            test_wrong_settings_are_the_same_one_line_everywhere(host, value) for value in WRONG
        ],
    }
    print("| case | " + " | ".join(host.__name__ for host in HOSTS) + " |")
    print("| --- |" + " --- |" * len(HOSTS))
    for name, case in cases.items():
        cells = []
        for host in HOSTS:
            try:
                value = case(host)
                cells.append(f"{value:.0e}" if isinstance(value, float) else "yes")
            except AssertionError:
                cells.append("NO")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
