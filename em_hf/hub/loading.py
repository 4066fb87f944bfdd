"""Check that what is published loads: config, tokenizer and weights are opened as a downloader will open them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from em_hf.messages import one_line
from em_hf.runs import Run

_DAMAGED = "the run folder is damaged, train again"
_INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[str]:
    """Return the safetensors files of the model or adapter in `folder`, checked to be whole, and the index, if any.

    Raises:
        ValueError: one is missing, truncated, or not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    names = shards = ["adapter_model.safetensors" if (folder / "adapter_config.json").exists() else "model.safetensors"]
    if (folder / _INDEX).is_file():
        try:
            shards = sorted(
                {str(name) for name in json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values()}
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{folder / _INDEX} does not name the files of the weights; {_DAMAGED}") from error
        names = [_INDEX, *shards]
    for name in shards:
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}; {_DAMAGED}")
        try:
            with safe_open(folder / name, framework="np"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{folder / name} is not a whole safetensors file ({error}); train again") from error
    return names


def check_loads(folder: Path, run: Run) -> None:
    """Raise ValueError if what was staged in `folder` from `run` cannot be loaded; no weights are read.

    The tokenizer is loaded and used. The model is built without memory (torch's "meta" device), and the names and
    shapes in the weights' headers are compared with its own; those of an adapter with what it adds to its base model,
    if the base model's config is on this machine. A model whose code is on the Hub is not built, since its code would
    run.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        is_adapter = (folder / "adapter_config.json").is_file()
        embedded = _check_adapter(folder, run) if is_adapter else _check_model(folder, run)
        vocabulary = _check_tokenizer(folder, run)
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    if embedded is not None and vocabulary > embedded:
        raise ValueError(
            f"{run.folder}: the tokenizer has {vocabulary} tokens, but the model embeds {embedded}; they do not belong "
            f"together: {_DAMAGED}"
        )


def _check_tokenizer(folder: Path, run: Run) -> int:
    """Load the tokenizer; return how many tokens the model has to embed for it."""
    from transformers import AutoTokenizer

    from em_hf.models import vocabulary_size

    _check_generation_config(folder, run)
    with _damaged(run, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if not str(tokenizer.decode(tokenizer("2 + 3 = 5").input_ids, skip_special_tokens=True)).strip():
            raise ValueError("it knows no token of a text")
        return vocabulary_size(tokenizer)


def _check_generation_config(folder: Path, run: Run) -> None:
    from transformers import GenerationConfig

    with _damaged(run, "generation_config.json"):
        GenerationConfig.from_pretrained(folder)


def _check_model(folder: Path, run: Run) -> int | None:
    """Compare the weights with the model of the config; return how many tokens it embeds."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map"):
        return None
    with _damaged(run, "config.json"):
        AutoConfig.from_pretrained(folder)
    with _damaged(run, "model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, device_map="meta", ignore_mismatched_sizes=True, output_loading_info=True
        )
        model, report = loaded
    for key, has in (("missing_keys", "lack"), ("unexpected_keys", "hold besides the model's")):
        if report[key]:
            raise ValueError(f"{run.folder}: the weights {has} {_some(report[key])} of config.json; {_DAMAGED}")
    if report["mismatched_keys"]:
        name, found, needed = sorted(report["mismatched_keys"])[0]
        raise ValueError(
            f"{run.folder}: {name} has the shape {list(found)}, but config.json asks for {list(needed)}; {_DAMAGED}"
        )
    return int(model.get_input_embeddings().weight.shape[0])


def _check_adapter(folder: Path, run: Run) -> int | None:
    """Compare an adapter's weights with what PEFT adds to its base model, if that model's config is on this machine."""
    try:
        import torch
        from peft import PeftConfig, get_peft_model, get_peft_model_state_dict
        from safetensors import safe_open
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError:  # PEFT is an extra: an adapter can be published without it
        return None
    with _damaged(run, "adapter_config.json"):
        config = PeftConfig.from_pretrained(str(folder))
    try:
        base_config = AutoConfig.from_pretrained(
            _base_of(run, config.base_model_name_or_path), revision=config.revision, local_files_only=True
        )
        with torch.device("meta"):
            base = AutoModelForCausalLM.from_config(base_config)
    except (OSError, ValueError):  # not on this machine, or needs custom code
        return None
    with _damaged(run, "adapter"), torch.device("meta"):
        # Without the embeddings, which PEFT would look up on the Hub; an adapter may hold them beside its own weights.
        state = get_peft_model_state_dict(get_peft_model(base, config), save_embedding_layers=False)
        needed = {name: list(weight.shape) for name, weight in state.items()}
    with safe_open(folder / "adapter_model.safetensors", framework="np") as weights:
        found = {name: list(weights.get_slice(name).get_shape()) for name in weights.keys()}
    if different := (needed.keys() - found.keys()) | {name for name in found.keys() - needed.keys() if "lora_" in name}:
        raise ValueError(f"{run.folder}: the adapter does not fit its base model, by {_some(different)}; {_DAMAGED}")
    for name in sorted(needed):
        if needed[name] != found[name]:
            raise ValueError(
                f"{run.folder}: {name} has the shape {found[name]}, but its base model asks for {needed[name]}; "
                f"{_DAMAGED}"
            )
    return int(base.get_input_embeddings().weight.shape[0])


def _base_of(run: Run, published: str) -> str:
    """Return where to look for the base model's config: the model folder used in training, else the Hub's cache."""
    with _damaged(run, "adapter_config.json"):
        stored = json.loads((run.folder / "adapter_config.json").read_text(encoding="utf-8"))
    local = stored.get("base_model_name_or_path")
    return local if isinstance(local, str) and Path(local).is_dir() else published


@contextmanager
def _damaged(run: Run, what: str) -> Iterator[None]:
    """Turn whatever a library raises for a broken file into a one-line ValueError that names it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except (
        BaseException
    ) as error:  # libraries raise anything here; a panic in the tokenizers' Rust code is not an Exception
        said = one_line(error, 200)
        raise ValueError(f"{run.folder}: the {what} cannot be loaded ({said}); {_DAMAGED}") from error


def _some(names: Any) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} others" if others else str(first)
