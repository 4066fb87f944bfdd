"""Options and output of `em-hf train --plan`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from em_hf.settings import setting, settings_of
from em_hf.training.cluster import CARDS, GB, SHARDINGS, Card, Cluster, card_of

from .common import note, print_json


@dataclass(frozen=True)
class PlanOptions:
    """Options for what `--plan` plans for."""

    plan: bool = setting(False, help="Print the memory, compute and time this run would need.", group="scale")
    gpu: str | None = setting(
        None, help="GPU to plan for.", group="scale", choices=tuple(CARDS), unset="h100-80gb", label="GPU"
    )
    gpu_memory: float | None = setting(
        None, help="Memory of the GPU to plan for, in GB.", group="scale", above=0, unset="that GPU's"
    )
    gpu_tflops: float | None = setting(
        None, help="Its peak in bfloat16, in TFLOP/s.", group="scale", above=0, unset="that GPU's"
    )
    gpu_bandwidth: float | None = setting(
        None, help="Its memory bandwidth, in GB/s.", group="scale", above=0, unset="that GPU's"
    )
    mfu: float | None = setting(
        None, help="Share of the peak that is reached.", group="scale", above=0, high=1, unset="0.4", label="MFU"
    )
    prompt_length: int | None = setting(
        None, help="Prompt length to plan for, in tokens.", group="scale", low=1, unset="256"
    )


def check_alone(options: dict[str, Any]) -> None:
    """Raise UsageError if an option of --plan is given without it."""
    for name in settings_of(PlanOptions):
        if name != "plan" and options[name] is not None and not options["plan"]:
            raise click.UsageError(f"--{name.replace('_', '-')} describes what to plan for: give --plan too")


def show_plan(settings: Any, options: dict[str, Any]) -> None:
    """Print the plan; warnings, such as that the run does not fit, go to stderr."""
    from em_hf.training.plan import Plan
    from em_hf.training.sizes import Shape

    lora = None
    if settings.lora:
        from em_hf.training.settings import lora_config

        lora = lora_config(settings)
    shape = Shape.of_config(config_of(settings), settings.model, lora=lora)
    plan = Plan(shape, settings, cluster_of(options), options["prompt_length"] or 256)
    if options["as_json"]:
        print_json(plan.to_dict())
    else:
        click.echo(text(plan))
    for warning in plan.warnings:
        note(f"Warning: {warning}.")


def config_of(settings: Any) -> Any:
    from transformers import AutoConfig

    from em_hf.models import explain, resolve_model, type_of

    try:
        return AutoConfig.from_pretrained(
            resolve_model(settings.model),
            revision=settings.revision or "main",
            trust_remote_code=settings.trust_remote_code,
        )
    except (OSError, ValueError) as error:
        raise type_of(error)(explain(error, settings.model)) from error


def cluster_of(options: dict[str, Any]) -> Cluster:
    """Return the requested GPUs, one per process, laid out as in the accelerate config."""
    gpus, sharding = 1, "none"
    if options["accelerate_config"] is not None:
        gpus, sharding = layout(options["accelerate_config"])
    name = options["gpu"] or "h100-80gb"
    card: Card = card_of(name)
    given = {"memory": ("gpu_memory", GB), "flops": ("gpu_tflops", 1e12), "bandwidth": ("gpu_bandwidth", GB)}
    changes = {key: options[o] * unit for key, (o, unit) in given.items() if options[o] is not None}
    if changes:
        card, name = replace(card, **changes), f"{name}, changed" if options["gpu"] else "GPU"
    return Cluster(card, options["num_processes"] or gpus, sharding, options["mfu"] or 0.4, name)


def layout(file: Path) -> tuple[int, str]:
    """Return the number of processes and the sharding of an accelerate config."""
    import yaml

    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    kind = str(config.get("distributed_type", "NO"))
    sharding = "none"
    if kind == "FSDP":
        sharding = "fsdp2"
    elif kind == "DEEPSPEED":
        stage = (config.get("deepspeed_config") or {}).get("zero_stage")
        if stage != 3:
            raise ValueError(f"{file} has DeepSpeed's zero_stage {stage}, but --plan knows {', '.join(SHARDINGS)}")
        sharding = "zero3"
    return int(config.get("num_processes") or 1), sharding


def duration(seconds: float) -> str:
    """Return seconds as text, in the most readable unit."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def count(parameters: int) -> str:
    size, name = (1e9, "billion") if parameters >= 1e9 else (1e6, "million")
    return f"{parameters / size:.3g} {name}"


def text(plan: Any) -> str:
    """Return the plan as human-readable text."""
    memory, flops, seconds, work = plan.memory, plan.flops, plan.seconds, plan.work
    decode, shape, cluster = plan.decode_step(), plan.shape, plan.cluster
    whole_run = flops["rule"] * plan.settings.steps
    kind = " with LoRA" if plan.settings.lora else ""
    lines = [
        f"{plan.settings.method}{kind} of {shape.name}: {count(shape.parameters)} parameters, "
        f"{count(plan.trained)} trained, vocabulary {shape.vocabulary:,}",
        f"{cluster.gpus:,} x {cluster.name} ({cluster.card.memory / GB:.0f} GB, {cluster.card.flops / 1e12:.0f} "
        f"TFLOP/s, MFU {cluster.mfu:g}), sharding {cluster.sharding}",
        f"{work.samples:,} samples per step ({work.batches} batch(es) of {work.batch} per GPU) of {work.prompt:,} + "
        f"{work.completion:,} tokens, {plan.settings.steps} steps",
        "",
        "memory per GPU, GB",
    ]
    parts = {
        "weights": "weights",
        "working_weights": "weights to multiply with",
        "reference": "reference policy",
        "gradients": "gradients",
        "optimizer": "optimizer state",
        "ddp_buckets": "DDP's buckets",
        "vllm": "vLLM",
        "activations": "activations",
        "loss": "loss",
        "cache": f"cache of {work.sampled_at_once} samples",
    }
    rows = [(label, memory[name]) for name, label in parts.items() if memory[name]]
    rows += [(f"peak while {name}", memory[name]) for name in ("sampling", "training", "updating")]
    lines += [f"  {label:<28}{value / GB:>9.2f}" for label, value in rows]
    verdict = "fits" if plan.fits else "does not fit"
    lines += [
        f"  {verdict}; the loss from whole logits would take {memory['loss_with_whole_logits'] / GB:.1f} GB",
        "",
        "compute, FLOPs",
        f"  {'by the rule of 6PD and 2PD':<28}{flops['rule']:>9.2e} per step, {whole_run:.2e} in all",
        f"  {'as spent':<28}{flops['spent']:>9.2e} per step (attention, recomputation and scoring too)",
        "",
        "time, at best",
        f"  {'sampling':<28}{duration(seconds['sampling']):>9} per step",
        f"  {'training':<28}{duration(seconds['training']):>9} per step",
        f"  {'in all':<28}{duration(seconds['run']):>9}",
        f"  {'a decoding step':<28}{duration(decode['seconds']):>9} for {decode['rows']} row(s); EM-INF would add "
        f"{decode['em_inf_share']:.1%}",
    ]
    return "\n".join(lines)
