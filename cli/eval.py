"""`em-hf eval`: benchmarks under inference-time strategies, through lm-eval, every figure with its interval."""

import os
import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from em_hf.evaluation.settings import EvalSettings
from em_hf.evaluation.strategies import STRATEGIES, Strategy, make_strategy
from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import DrawSettings, setting, settings_of

from .checks import check_device, check_extra, check_model
from .common import load_libraries, note, print_json
from .config_file import config_option
from .options import (
    Command,
    dry_run_option,
    entropy_min_options,
    entropy_min_settings,
    json_option,
    listing_option,
    setting_options,
)

DEFAULT_STRATEGIES = ("greedy", "sampling", "em-inf")
EM_FIELDS = tuple(name for name in settings_of(EntropyMinConfig) if name != "method")


@dataclass(frozen=True)
class EvalOptions:
    """Under which strategies a model is evaluated, and where the results go."""

    strategy: str | None = setting(
        None, help="One strategy alone.", choices=tuple(STRATEGIES), unset="those of --compare"
    )
    compare: tuple[str, ...] = setting(
        DEFAULT_STRATEGIES, help="Several strategies.", choices=tuple(STRATEGIES), metavar="A,B,…"
    )
    n: int | None = setting(
        None,
        help="Answers of self-consistency, drafts of refinement.",
        low=2,
        high=1024,
        unset="4 answers, 3 drafts",
    )
    data_dir: Path | None = setting(
        None,
        help="Folder of local copies of the benchmarks; also EM_HF_DATA_DIR.",
        group="data",
        exists="folder",
        unset="the Hub",
    )
    scicode_targets: Path | None = setting(
        None,
        help="HDF5 file of SciCode's test targets, from its authors; also EM_HF_SCICODE_TARGETS.",
        group="data",
        exists="file",
    )
    allow_code_execution: bool = setting(
        False, help="Run the programs that the model writes, in a sandbox.", group="scale"
    )
    output: Path | None = setting(
        None, help="Folder for results; the same command continues from it.", group="output", metavar="FOLDER"
    )
    overwrite: bool = setting(False, help="Replace the evaluation in that folder.", group="output")


def strategies_of(names: tuple[str, ...], options: dict[str, Any], stored: dict[str, Any] | None) -> list[Strategy]:
    """The strategies with the options given, over the EM-INF settings stored with the model."""
    given = {name: options[name] for name in EM_FIELDS if options[name] is not None}
    made = []
    for name in names:
        plain = make_strategy(name)
        same_method = stored and plain.entropy_min and stored.get("method") == plain.entropy_min.method
        made.append(
            make_strategy(
                name,
                **{key: options[key] for key in ("temperature", "top_k", "top_p", "min_p", "n")},
                entropy_min={**(stored if same_method and stored else {}), **given},
            )
        )
    return made


def list_all() -> str:
    """Return tasks and strategies, a line each."""
    load_libraries()
    from em_hf.evaluation.listing import listing

    strategies = [f"{name:<24} {entry.summary}" for name, entry in STRATEGIES.items()]
    return "\n".join([listing(), "", "Strategies:", *strategies])


@click.command(
    "eval",
    cls=Command,
    first=(
        "model",
        "tasks",
        "strategy",
        "compare",
        "limit",
        "samples",
        "threshold",
        "temperature",
        "output",
        "as_json",
    ),
    epilog="Example: em-hf eval --model Qwen/Qwen2.5-0.5B-Instruct --tasks gsm8k --limit 100",
)
@listing_option("--list", list_all, "List tasks and strategies and exit.", group="data")
@setting_options(EvalSettings)
@setting_options(EvalOptions)
@setting_options(DrawSettings, unset=True)
@entropy_min_options(without=("method",))
@config_option
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Evaluate a model on benchmarks, under one strategy or several.

    Without options: the pocket reasoner on its own held-out problems, greedy, sampled, and with EM-INF.
    """
    compared = ctx.get_parameter_source("compare") is not ParameterSource.DEFAULT
    if options["strategy"] and compared:
        raise click.UsageError("give --strategy for one strategy or --compare for several, not both")
    names = (options["strategy"],) if options["strategy"] else options["compare"] or DEFAULT_STRATEGIES
    if len(set(names)) < len(names):
        raise click.UsageError("--compare names a strategy twice")
    if not options["tasks"]:
        raise click.UsageError("--tasks is empty: name at least one; em-hf eval --list shows them")
    entropy_min_settings({name: options[name] for name in EM_FIELDS})
    strategies_of(names, options, None)
    if options["dry_run"]:
        kept = {name: value for name, value in options.items() if name not in ("dry_run", "as_json", "config")}
        plan = {**kept, "tasks": list(options["tasks"]), "compare": list(names)}
        plan = {name: str(value) if isinstance(value, Path) else value for name, value in plan.items()}
        print_json(plan) if options["as_json"] else click.echo("\n".join(f"{k}: {v}" for k, v in plan.items()))
        return
    check_model(options["model"])
    check_device(options["device"])
    check_extra("em-hf eval", "eval", "lm_eval")
    if options["output"] is not None and options["output"].exists() and not options["output"].is_dir():
        raise OSError(f"{options['output']} is a file, but results need a folder: name another --output")
    _evaluate(names, options)


def _vllm(options: dict[str, Any], load: dict[str, Any]) -> tuple[Any, None, dict[str, Any] | None]:
    """The lm-eval model of vLLM, which has its own tokenizer, and the EM-INF settings stored with it."""
    if options["device"]:
        raise ValueError("device is given, but vLLM chooses its devices itself: set CUDA_VISIBLE_DEVICES")
    if find_spec("vllm") is None:
        raise ImportError("--backend vllm needs vLLM, in an environment of its own: pip install 'em-hf[vllm,eval]'")
    from em_hf.evaluation.vllm import EntropyMinVLLM
    from em_hf.generation.mixin import STORED

    lm = EntropyMinVLLM(options["model"], batch_size=options["batch_size"], seed=options["seed"], **load)
    return lm, None, lm.model.llm_engine.model_config.try_get_generation_config().get(STORED)


def _evaluate(names: tuple[str, ...], options: dict[str, Any]) -> None:
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    local = options["data_dir"] or os.environ.get("EM_HF_DATA_DIR")
    load_libraries(options["model"], *(task for task in options["tasks"] if task != "pocket" and not local))
    from em_hf.evaluation.folder import EvalFolder, check_place
    from em_hf.evaluation.report import report
    from em_hf.evaluation.run import evaluate, load_tasks, quiet_lm_eval, settings_record
    from em_hf.generation.mixin import STORED
    from em_hf.models import load_model

    quiet_lm_eval()
    output: Path | None = options["output"]
    if output is not None:
        check_place(output)
    settings = EvalSettings(**{name: options[name] for name in settings_of(EvalSettings)})
    if options["scicode_targets"]:
        os.environ["EM_HF_SCICODE_TARGETS"] = str(options["scicode_targets"])
    tasks = load_tasks(settings, data_dir=options["data_dir"], allow_code=options["allow_code_execution"])
    load = {name: options[name] for name in ("revision", "dtype", "trust_remote_code")}
    if options["backend"] == "vllm":
        model, tokenizer, stored = _vllm(options, load)
    else:
        model, tokenizer = load_model(options["model"], device=options["device"], **load)
        stored = getattr(model.generation_config, STORED, None)
    strategies = strategies_of(names, options, stored)
    record = settings_record(settings, strategies)
    folder = None if output is None else EvalFolder(output, record, overwrite=options["overwrite"])
    try:
        rows = evaluate(
            model,
            tokenizer,
            settings,
            strategies,
            tasks=tasks,
            folder=folder,
            allow_code=options["allow_code_execution"],
            on_strategy=lambda name: note(f"{name} …"),
        )
    except KeyboardInterrupt:
        if folder is not None:
            note(f"The answers so far are in {output}: the same command goes on from there.")
        raise
    result = report(rows, strategies, record, command=shlex.join(["em-hf", *sys.argv[1:]]))
    if folder is not None:
        result.write(folder)
        note(f"Results are in {output}.")
    print_json(result.record) if options["as_json"] else click.echo(result.text)
