"""`em-hf train`: train a model without labels, measure it before and after, and write a run folder."""

import os
import shlex
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from em_hf.methods import METHODS, unused_settings
from em_hf.settings import setting, settings_of
from em_hf.training.settings import RunSettings, default_name, recipe_names, recipe_settings, recipe_text

from .checks import check_dataset, check_device, check_extra, check_model, check_rows
from .common import load_libraries, note, print_json
from .config_file import config_option
from .options import Command, dry_run_option, json_option, listing_option, setting_options
from .plan import PlanOptions, check_alone, show_plan

if TYPE_CHECKING:
    from .progress import Progress

FIRST = ("method", "model", "dataset", "recipe", "steps", "batch_size", "learning_rate", "lora", "output", "resume")
WITH_RESUME = ("resume", "as_json", "dry_run", "num_processes", "accelerate_config", "trust_remote_code", "vllm_server")


@dataclass(frozen=True)
class TrainOptions:
    """Options for where a run is written, and in how many processes it runs."""

    output: Path | None = setting(
        None, help="Run folder.", group="output", unset="runs/<method>-<model>-<time>", metavar="FOLDER"
    )
    overwrite: bool = setting(False, help="Replace the run in that folder.", group="output")
    resume: Path | None = setting(
        None, help="Continue this interrupted run with its own settings.", group="output", metavar="RUN"
    )
    num_processes: int | None = setting(
        None, help="Processes to train in on this machine.", group="scale", low=1, high=1024, unset="1"
    )
    accelerate_config: str | None = setting(
        None, help="Config of accelerate to start them with: a file, fsdp2 or deepspeed-zero3.", group="scale"
    )
    launch: Literal["slurm", "skypilot", "hf-jobs"] | None = setting(
        None, help="Print the file that runs this training on a cluster, and exit.", group="scale"
    )
    nodes: int | None = setting(None, help="Machines, for --launch.", group="scale", low=1, high=1024, unset="1")


def list_methods() -> str:
    lines = [f"{name:<18} {m.summary}" + (f"  (needs {m.needs})" if m.needs else "") for name, m in METHODS.items()]
    return "\n".join(lines)


def list_recipes() -> str:
    return "\n\n".join(f"[{name}]\n{recipe_text(name).rstrip()}" for name in recipe_names())


@cache
def _recipes() -> tuple[dict[str, Any], ...]:
    return recipe_settings("default"), recipe_settings("pocket"), recipe_settings("default", "em-rl-sequence")


def shown_default(name: str) -> str | None:
    """Return a setting's default in the recipes: for most models, for the pocket models, and for RL."""
    one = settings_of(RunSettings)[name]
    default, pocket, rl = (recipe.get(name, one.default) for recipe in _recipes())
    if name in ("method", "model", "dataset", "entropy_min") or default is None:
        return None
    text = f"{default:g}" if isinstance(default, float) else one.shown_default()
    text = str(default) if isinstance(default, int) and not isinstance(default, bool) else text
    others = {"pocket models": pocket, "RL": rl}
    return "; ".join(
        [
            text,
            *(f"{who}: {v:g}" if isinstance(v, float) else f"{who}: {v}" for who, v in others.items() if v != default),
        ]
    )


@click.command(
    "train",
    cls=Command,
    first=FIRST,
    epilog="Example: em-hf train --model Qwen/Qwen2.5-0.5B --dataset openai/gsm8k --dataset-config main --lora",
)
@listing_option("--list-methods", list_methods, "List the training methods and exit.")
@listing_option("--list-recipes", list_recipes, "Show the recipes, with the source of each value, and exit.")
@setting_options(RunSettings, unset=True, shown_default=shown_default)
@setting_options(TrainOptions)
@setting_options(PlanOptions)
@config_option
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Train a model without labels, and measure it before and after on held-out problems.

    Without options: EM-FT on the pocket reasoner, in under three minutes on two cores.
    """
    check_alone(options)
    config = options["accelerate_config"]
    options["accelerate_config"] = accelerate_config(config)
    if options["nodes"] and not options["launch"]:
        raise click.UsageError("--nodes says on how many machines --launch trains: give --launch too")
    resume: Path | None = options["resume"]
    if resume is not None:
        settings, folder = _of_earlier_run(ctx, resume), resume
        if options["vllm_server"]:
            settings = replace(settings, vllm_server=options["vllm_server"])  # it may have moved
    else:
        settings = _settings(ctx, options)
        folder = options["output"] or Path("runs") / default_name(settings)
    if options["dry_run"]:
        plan = {"output": str(folder), "resume": resume is not None, **settings.__dict__}
        print_json(plan) if options["as_json"] else click.echo("\n".join(f"{k}: {v}" for k, v in plan.items()))
        return
    if options["launch"]:
        click.echo(launch_script(settings, folder, options, config), nl=False)
        return
    _check(settings, folder, options)
    if options["plan"]:
        load_libraries(settings.model)
        show_plan(settings, options)
        return
    if (options["num_processes"] or options["accelerate_config"]) and "WORLD_SIZE" not in os.environ:
        ctx.exit(_launch(settings, folder, options))
    _run(settings, folder, options)


def accelerate_config(value: str | None) -> Path | None:
    """Return the file with that name, or the config with that name that ships with em-hf."""
    if value is None or Path(value).is_file():
        return None if value is None else Path(value)
    from importlib import resources

    from em_hf.messages import did_you_mean

    ours = Path(str(resources.files("em_hf.training"))) / "accelerate"
    if (ours / f"{value}.yaml").is_file():
        return ours / f"{value}.yaml"
    names = sorted(path.stem for path in ours.glob("*.yaml"))
    raise click.UsageError(
        f"--accelerate-config is {value!r}, which is neither a file nor one of {', '.join(names)}"
        f"{did_you_mean(value, names)}"
    )


def _check(settings: RunSettings, folder: Path, options: dict[str, Any]) -> None:
    """Check everything that needs no heavy import: model, device, dataset, extras, and the folder to write to."""
    check_model(settings.model)
    check_device(settings.device)
    check_dataset(settings.dataset)
    check_rows(settings.dataset, prompt_column=settings.prompt_column, limit=settings.limit, with_answers=False)
    if settings.lora:
        check_extra("LoRA", "train", "peft")
    if options["plan"]:
        return
    if METHODS[settings.method].loop:
        check_extra(f"method {settings.method}", "train", "trl", "datasets")
    if settings.vllm:
        from em_hf.training.vllm import check_vllm

        check_vllm(settings.vllm, settings.vllm_server, settings.model)
    if options["resume"] is None and "WORLD_SIZE" not in os.environ:  # the run checks it again when it starts
        from em_hf.runs import check_folder

        check_folder(folder, overwrite=options["overwrite"])


def _arguments() -> list[str]:
    """Return this command's arguments without those that say where and in how many processes it runs."""
    own = ("--num-processes", "--accelerate-config", "--output", "--launch", "--nodes")
    arguments, skip = [], False
    for word in sys.argv[1:]:
        name, equals, _ = word.partition("=")
        if skip:
            skip = False
        elif name.replace("_", "-") in own:
            skip = not equals
        else:
            arguments.append(word)
    return arguments


def launch_script(settings: RunSettings, folder: Path, options: dict[str, Any], config: str | None) -> str:
    """Return the text of a file that runs this training on a cluster, and its vLLM server unless one is named."""
    from em_hf.training.launch import LAUNCHERS, Job

    named = [settings.model, settings.dataset, config, *([options["config"]] if options.get("config") else [])]
    job = Job(
        arguments=tuple(_arguments()[1:]),
        run=str(folder),
        model=settings.model,
        processes=options["num_processes"] or 1,
        nodes=options["nodes"] or 1,
        accelerate_config=config,
        server=settings.vllm == "server" and settings.vllm_server is None,
        vllm=settings.vllm is not None,
        local=tuple(str(one) for one in named if one and Path(one).exists()),
    )
    try:
        return LAUNCHERS[options["launch"]](job)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _launch(settings: RunSettings, folder: Path, options: dict[str, Any]) -> int:
    """Run this command in several processes, all with the folder chosen here."""
    load_libraries(settings.model)
    from em_hf.training.distributed import launch, launch_command
    from em_hf.training.settings import on_cpu

    command, environment = launch_command(
        [*_arguments(), *([] if options["resume"] else ["--output", str(folder)])],
        num_processes=options["num_processes"],
        accelerate_config=options["accelerate_config"],
        cpu=on_cpu(settings),
    )
    return launch(command, environment)


def _run(settings: RunSettings, folder: Path, options: dict[str, Any]) -> None:
    load_libraries(settings.model, check_dataset(settings.dataset))
    from em_hf.runs import holds_run
    from em_hf.training.distributed import is_main
    from em_hf.training.run import Interrupted, train

    from .progress import Progress

    main = is_main()
    progress = Progress(settings, silent=not main)
    try:
        with progress:
            results = train(
                settings,
                folder,
                overwrite=options["overwrite"],
                resume=options["resume"] is not None,
                command=shlex.join(["em-hf", *sys.argv[1:]]),
                on_step=progress.on_step,
                on_phase=progress.on_phase,
                on_measure=progress.on_measure,
            )
    except (Interrupted, KeyboardInterrupt) as stop:
        if holds_run(folder) and main:
            note(f"{str(stop) or 'Stopped'}. Continue with: em-hf train --resume {shlex.quote(str(folder))}")
        raise click.Abort from stop
    if main:
        _show(settings, folder, results, progress, as_json=options["as_json"])


def _show(settings: RunSettings, folder: Path, results: dict[str, Any], progress: "Progress", *, as_json: bool) -> None:
    from .progress import next_command, results_table

    plot = progress.save_plot(folder)
    if as_json:
        print_json({"run": str(folder), **results})
    else:
        if results["rows"]:
            click.echo(results_table(results))
        click.echo(f"Run: {folder}")
    if plot is not None:
        note(f"Plot: {plot}")
    note(f"Next: {next_command(settings, folder)}")


def _settings(ctx: click.Context, options: dict[str, Any]) -> RunSettings:
    """Return the recipe's settings, overridden by those on the command line and in the config file."""
    names = set(settings_of(RunSettings))
    given = {
        name: value
        for name, value in options.items()
        if name in names and value is not None and ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
    }
    if "model" in given:
        check_model(given["model"])  # otherwise a misspelt pocket model is only reported to lack a dataset
    try:
        settings = RunSettings.resolve(given)
    except ValueError as error:
        raise click.UsageError(str(error).replace("EntropyMinConfig: ", "entropy_min: "), ctx) from error
    for name, why in _without_effect(settings).items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} has no effect {why}", ctx)
    return settings


def _without_effect(settings: RunSettings) -> dict[str, str]:
    """Return the settings that change nothing beside the others, and why. A recipe or a file may well hold them."""
    found = dict.fromkeys(unused_settings(settings.method), f"with method {settings.method}")
    if not settings.lora:
        found["lora_rank"] = "without --lora"
    if not settings.guard:
        found |= dict.fromkeys(("probe_problems", "probe_every"), "with --no-guard")
    if not settings.eval_problems:
        found["eval_samples"] = "with --eval-problems 0"
    return found


def _of_earlier_run(ctx: click.Context, folder: Path) -> RunSettings:
    from em_hf.runs import read_run

    for name in ctx.params:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE and name not in WITH_RESUME:
            param = next(p for p in ctx.command.params if p.name == name)
            option = (param.secondary_opts if ctx.params[name] is False and param.secondary_opts else param.opts)[0]
            raise click.UsageError(f"{option} does not go with --resume, which keeps the settings of the run", ctx)
    run = read_run(folder)
    if run.status == "finished":
        raise click.UsageError(f"{folder} is finished: there is nothing to resume; train on with --model {folder}", ctx)
    return RunSettings.of_run(run.facts, trust_remote_code=bool(ctx.params["trust_remote_code"]))
