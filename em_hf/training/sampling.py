"""How samples of the policy are drawn: a generation config that holds what was asked for and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import GenerationConfig

from em_hf.models import unwrap_model


def sampling_config(model: Any, tokenizer: Any, **settings: Any) -> GenerationConfig:
    """A generation config with these settings, top_k 0, top_p 1 and the model's special tokens, and nothing else."""
    known = model.generation_config
    eos = known.eos_token_id if known.eos_token_id is not None else tokenizer.eos_token_id
    eos = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else known.pad_token_id
    return GenerationConfig(
        top_k=0,
        top_p=1.0,
        bos_token_id=known.bos_token_id,
        eos_token_id=eos or None,
        pad_token_id=pad,
        use_cache=True,
        **settings,
    )


@contextmanager
def using_generation_config(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Within: the model's own generation config is `config`, so that it lends no default (a penalty …)."""
    base = unwrap_model(model)
    own, base.generation_config = base.generation_config, config
    try:
        yield
    finally:
        base.generation_config = own


@contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Within: dropout, and gradient checkpointing, which would switch the cache off, do nothing."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
