"""What a run starts from: its prompts, split into those to train on, to watch and to measure, and its base model."""

from importlib.util import find_spec
from typing import Any

from em_hf.messages import one_line
from em_hf.methods import METHODS
from em_hf.training.distributed import own_device, world_size
from em_hf.training.settings import RunSettings, load_precision, lora_config


def check_extras(settings: RunSettings) -> None:
    """Raise ImportError, before any work is done, if a library that the run will need is missing."""
    if METHODS[settings.method].loop and find_spec("trl") is None:
        raise ImportError(f"{settings.method} needs TRL: pip install 'em-hf[train]'")
    if settings.lora:
        lora_config(settings)


def check_prompts(settings: RunSettings, prompts: Any) -> None:
    """Raise ValueError if there are fewer prompts than a step of TRL's loops takes: TRL drops incomplete steps."""
    needed = settings.batch_size * settings.gradient_accumulation_steps * world_size()
    if METHODS[settings.method].samples and len(prompts) < needed:
        sizes = {"batch_size": settings.batch_size, "gradient_accumulation_steps": settings.gradient_accumulation_steps}
        sizes["processes"] = world_size()
        product = " x ".join(f"{name} {size}" for name, size in sizes.items() if size > 1)
        raise ValueError(
            f"{len(prompts)} prompts are left to train on, but a step of {settings.method} takes {needed} ({product}): "
            "give more prompts (--limit, or another --dataset), a smaller --batch-size, or fewer "
            "--gradient-accumulation-steps"
        )


def few_held_out(settings: RunSettings, held_out: Any, n_prompts: int) -> str | None:
    """Return a note if fewer prompts than requested could be held out, or None if there are enough.

    Args:
        n_prompts: The total number of prompts.
    """
    if held_out is None or len(held_out) >= settings.eval_problems:
        return None
    return (
        f"Only {len(held_out)} of the {settings.eval_problems} prompts asked for could be held out to measure on: no "
        f"more than a tenth of the {n_prompts} there are, and those whose labels, if any, can be read. The intervals "
        "say how little so few can tell."
    )


def load_base(settings: RunSettings) -> tuple[Any, Any]:
    """Return the model to train, with the EM settings stored in it, and its tokenizer."""
    from em_hf.models import unwrap_model

    model, tokenizer = load(settings, settings.model, revision=settings.revision)
    if unwrap_model(model) is not model:
        raise ValueError(
            f"model is {settings.model}, a LoRA adapter: merge it into its base model (merge_and_unload in PEFT), save "
            "that, and train on from there"
        )
    return model, tokenizer


def load(settings: RunSettings, name: str, revision: str | None = None) -> tuple[Any, Any]:
    """Return the model and tokenizer of that name, with this run's precision, device and EM settings."""
    from em_hf.generation.mixin import settings_of_model, store_config
    from em_hf.models import load_model, unwrap_model

    model, tokenizer = load_model(
        name,
        revision=revision,
        dtype=load_precision(settings),
        device=own_device(settings.device),
        trust_remote_code=settings.trust_remote_code,
    )
    config = unwrap_model(model).generation_config
    try:
        config.validate(strict=True)
    except ValueError:
        # Some published models have a temperature without do_sample. transformers loads that, and saves it unchanged,
        # but not once something, such as our settings, has been added to it.
        config.do_sample = True
        try:
            config.validate(strict=True)
        except ValueError as error:
            why = one_line(error)
            raise ValueError(f"{name} has a generation_config.json that would not save, so fix it: {why}") from error
    store_config(model, settings_of_model(model, settings.entropy_min))
    return model, tokenizer


def load_data(settings: RunSettings) -> tuple[Any, Any, Any]:
    """Return the prompts to train on, those to watch while training, and those to measure on before and after.

    The first have labels only if the method needs them, the second only with `early_stopping`. The last two are None
    if none are requested, or if there are too few prompts to spare any; where labels are used, rows without a usable
    one are left out of them.
    """
    from em_hf.data import load_prompts
    from em_hf.settings import POCKET_DATASETS

    source: dict[str, Any] = {"name": settings.dataset, "split": settings.split, "level": settings.level}
    source |= {"prompt_column": settings.prompt_column, "answer_column": settings.answer_column}
    needs = METHODS[settings.method].needs
    labels: dict[str, Any] = {"with_answers": needs == "answers", "with_solutions": needs == "solutions"}
    watched = settings.probe_problems if settings.guard else 0
    if settings.dataset in POCKET_DATASETS:
        return _pocket_data(settings, source, labels, watched)
    source |= {"config": settings.dataset_config, "limit": settings.limit}
    everything = load_prompts(**labels, **source)
    if needs and everything.answers is None and everything.solutions is None:
        raise ValueError(f"{settings.method} needs {needs}, but {settings.dataset} has none: give --answer-column")
    measured = min(settings.eval_problems, len(everything) // 10)
    watched = min(watched, len(everything) // 10)
    train, held_out, probe = everything, None, None
    if measured or (watched and settings.early_stopping):
        answered = load_prompts(with_answers=True, keep_unanswered=True, **source)
    if measured:
        (train, _), (answered, held_out) = train.split_off(measured), answered.split_off(measured)
        held_out = held_out.answered()
    if watched:
        train, probe = train.split_off(watched)
        if settings.early_stopping:
            probe = answered.split_off(watched)[1].answered()
            if probe.answers is None:
                raise ValueError(f"early_stopping needs answers, but {settings.dataset} has none: give --answer-column")
    return train, probe, held_out


def _pocket_data(settings: RunSettings, source: dict, labels: dict, watched: int) -> tuple[Any, Any, Any]:
    from em_hf.data import load_prompts

    wanted = settings.steps * settings.batch_size * settings.gradient_accumulation_steps * world_size()
    wanted = min(wanted, settings.limit or wanted)
    train = load_prompts(limit=wanted, **labels, **source)
    of = {"measure": "test", "watch": "validation"}
    if settings.eval_problems and settings.split == of["measure"]:
        raise ValueError(
            "split is test, which holds the pocket problems to measure on: train on another, or give --eval-problems 0"
        )
    probe = held_out = None
    if watched and settings.split != of["watch"]:
        probe = load_prompts(**{**source, "split": of["watch"]}, limit=watched, with_answers=settings.early_stopping)
    if settings.eval_problems:
        held_out = load_prompts(**{**source, "split": of["measure"]}, limit=settings.eval_problems)
    return train, probe, held_out


def check_lengths(model: Any, tokenizer: Any, prompts: list[str], settings: RunSettings) -> None:
    """Raise ValueError if a prompt does not fit the context with its completion, or has tokens unknown to the model."""
    from em_hf.models import check_fit, context_length

    limit, whose = context_length(model), settings.model
    if settings.vllm == "server":
        from em_hf.training.vllm import server_context

        served = server_context(settings.vllm_server)
        if served is not None and (limit is None or served < limit):
            limit, whose = served, "the vLLM server"
    check_fit(
        model,
        tokenizer,
        prompts,
        settings.max_completion_length,
        setting="max_completion_length",
        limit=limit,
        whose=whose,
        chat_template=settings.chat_template,
    )
