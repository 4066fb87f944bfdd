"""Costs around the method: the app's share of a live decode, and the startup time."""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench.lines import Line, Missing, Scale, paired
from benchmarks.common import Times, quartiles

# The command that measures a GPU, with its own report.
ON_GPU = "python -m benchmarks.em_inf_gpu"
APP, START = "App", "Start"
SCRIPT = Path(sys.executable).with_name("em-hf")


def gpu(scale: Scale) -> list[Line]:
    """Raise Missing: this report covers only the processor.

    Raises:
        Missing: always; it names the command that measures a GPU.
    """
    import torch

    here = torch.cuda.is_available()
    raise Missing(f"{ON_GPU} measures it" if here else f"there is none here; {ON_GPU} measures one")


def app(scale: Scale) -> list[Line]:
    """Compare the app over HTTP with the same decode without a server, and that with one without a per-token view."""
    if importlib.util.find_spec("gradio") is None:
        raise Missing("gradio is not installed: pip install 'em-hf[app]'")
    from benchmarks.app_latency import Clocks, measure, served
    from tests.smollm2 import smollm2_folder

    folder = str(smollm2_folder())
    with served(folder) as (url, demo):
        clocks = Clocks(folder, url, demo, None)
        calls = {"generate": clocks.generate, "live": clocks.live, "http": clocks.http}
        times = measure(calls, scale.runs, scale.tokens)
    return [
        paired(APP, what, against, times[mine].whole, times[other].whole, unit="s", factor=1)
        for what, mine, against, other in (
            ("app over HTTP", "http", "live decode, no server", "live"),
            ("live decode, token by token", "live", "`generate`", "generate"),
        )
    ]


def start(scale: Scale) -> list[Line]:
    """Compare `import em_hf` and `em-hf --help` with bare Python, each in a separate process, in turn."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import": [sys.executable, "-c", "import em_hf"],
        "help": [str(SCRIPT), "--help"],
        "transformers": [sys.executable, "-c", "import transformers"],
    }
    if not SCRIPT.is_file():
        raise Missing("the script em-hf is not installed beside this Python: pip install -e .")
    times = {name: Times() for name in commands}
    names = list(commands)
    for turn in range(-1, max(2, scale.repeats // 2)):  # the first fills the file cache
        for name in names[turn % 4 :] + names[: turn % 4]:
            begun = time.perf_counter()
            subprocess.run(commands[name], check=True, capture_output=True)
            if turn >= 0:
                times[name].wall.append(time.perf_counter() - begun)
    bare = times["python"].wall
    more = quartiles([mine - other for mine, other in zip(times["import"].wall, bare)])["median"]
    whole = quartiles(times["help"].wall)["median"]
    return [
        paired(
            START,
            "`import em_hf`",
            "bare Python",
            times["import"].wall,
            bare,
            target="at most 0.3 s more",
            met=more <= 0.3,
        ),
        paired(START, "`em-hf --help`", "bare Python", times["help"].wall, bare, target="under 0.5 s", met=whole < 0.5),
        paired(START, "`import em_hf`", "`import transformers`", times["import"].wall, times["transformers"].wall),
    ]
