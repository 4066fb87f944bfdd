"""EM-INF in `transformers serve`: the same server, with EM-INF on request (`pip install em-hf[serve]`).

`transformers serve` rejects a request with an unknown field (HTTP 422) and has no plug-in interface, so the server is
started through this module, with the same arguments:

```bash
python -m em_hf.generation.serve MODEL --port 8000 --continuous-batching
```

A request may then have `entropy_min` in addition to OpenAI's fields:

```python
from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="none")
messages = [{"role": "user", "content": "Name a colour."}]
client.chat.completions.create(model=MODEL, messages=messages, extra_body={"entropy_min": {"n_grad_steps": 10}})
```

It is true (the settings stored with the model, else the defaults), false, or fields of `EntropyMinConfig`. Invalid
settings are rejected when the request arrives: HTTP 400, with the field's name. Chat completions, completions and
responses accept it, streamed or not.

Where it acts: as in `generate` and, with `--continuous-batching`, as in `generate_batch`; CUDA graphs are then off,
since a captured graph has only the settings that were known at capture.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from transformers.utils.import_utils import is_serve_available

from em_hf.generation.config import requested
from em_hf.generation.mixin import STORED, EntropyMinGenerationMixin, can_generate, enable_entropy_min, mix_in
from em_hf.messages import one_line

ARGUMENT = "entropy_min"
# The attribute of a request's generation config that carries its `entropy_min` to the decoding thread.
_FIELD = "_em_hf_entropy_min"
# The classes replaced in this process, each with its module in transformers.cli.serving.
_CLASSES = (
    ("model_manager", "ModelManager"),
    ("chat_completion", "ChatCompletionHandler"),
    ("completion", "CompletionHandler"),
    ("response", "ResponseHandler"),
)
_asked: ContextVar[Any] = ContextVar("em_hf_serve", default=None)


class _ServedMixin(EntropyMinGenerationMixin):
    """Mixin for a server's model: the request's `entropy_min` is in its generation config or in the context."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        own = getattr(kwargs.get("generation_config"), "__dict__", {})
        return super().generate(*args, **kwargs, entropy_min=own.pop(_FIELD, None))

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().init_continuous_batching(*args, **kwargs, entropy_min=False)
        add_request = manager.add_request
        manager.add_request = lambda *given, **named: add_request(*given, **named, entropy_min=_asked.get())
        return manager


def _manager_that_enables(parent: type) -> type:
    class ModelManager(parent):  # type: ignore[misc, valid-type]
        """The parent, whose models take `entropy_min`."""

        def load_model_and_processor(self, *args: Any, **kwargs: Any) -> Any:
            model, processor = super().load_model_and_processor(*args, **kwargs)
            if can_generate(model) and not isinstance(model, _ServedMixin):
                mix_in(enable_entropy_min(model), _ServedMixin)
            return model, processor

    return ModelManager


def _handler_that_asks(parent: type) -> type:
    class Handler(parent):  # type: ignore[misc, valid-type]
        """The parent, whose requests may have `entropy_min`."""

        async def handle_request(self, body: dict[str, Any], request_id: str) -> Any:
            from fastapi import HTTPException

            value = body.pop(ARGUMENT, None)
            try:
                requested(value)
                _refuse_inside(body.get("generation_config"))
            except ValueError as error:
                raise HTTPException(status_code=400, detail=str(error)) from error
            token = _asked.set(value)
            try:
                return await super().handle_request(body, request_id)
            except ValueError as error:
                if value is None:
                    raise
                raise HTTPException(status_code=400, detail=str(error)) from error  # e.g. from the decoding mode
            finally:
                _asked.reset(token)

        def _build_generation_config(self, *args: Any, **kwargs: Any) -> Any:
            config = super()._build_generation_config(*args, **kwargs)
            if _asked.get() is not None:
                setattr(config, _FIELD, _asked.get())
            return config

    return Handler


def _refuse_inside(text: Any) -> None:
    """Raise ValueError if the JSON of a generation config asks for EM-INF, which would have no effect there."""
    try:
        fields = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return  # left to transformers to reject
    for name in (ARGUMENT, STORED, _FIELD):
        if isinstance(fields, dict) and name in fields:
            raise ValueError(f"{name} is a field of generation_config, where it does nothing: put it beside it")


@contextmanager
def serving() -> Iterator[None]:
    """Run the block so that a server that transformers' `Serve` creates accepts `entropy_min` in its requests.

    Raises:
        ImportError: A dependency of `transformers serve` is missing.
    """
    if not is_serve_available():
        raise ImportError("transformers serve needs fastapi, uvicorn and openai: pip install 'em-hf[serve]'")
    try:
        places = [(import_module(f"transformers.cli.serving.{module}"), name) for module, name in _CLASSES]
        parents = [getattr(module, name) for module, name in places]
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"em_hf.generation.serve knows the server of transformers 5.23, not this one: {error}"
        ) from error
    try:
        for (module, name), parent in zip(places, parents):
            setattr(module, name, (_manager_that_enables if name == "ModelManager" else _handler_that_asks)(parent))
        yield
    finally:
        for (module, name), parent in zip(places, parents):
            setattr(module, name, parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `transformers serve` with EM-INF, with the same arguments.

    Returns:
        0, or 1 with one line on stderr if the server cannot start.
    """
    try:
        with serving():
            from transformers.cli.transformers import app

            app(["serve", *(sys.argv[1:] if arguments is None else arguments)], prog_name="em_hf.generation.serve")
    except (ImportError, ValueError, OSError) as error:
        print(f"Error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
