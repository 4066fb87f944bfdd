"""`em-hf train`: train a model without labels, measure it before and after, and leave a run folder."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from em_hf.methods import METHODS

from .common import config_option, model_options, note, print_json, quiet_libraries
from .plan import check_alone, plan_options, show_plan

SHOWN = {
    "loss": "loss {:.3f}",
    "reward": "reward {:.3f}",
    "entropy": "{:.3f} nats",
    "kl": "KL {:.4f}",
    "completion_length": "{:.1f} tokens",
}


def _list_methods(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        for name, method in METHODS.items():
            click.echo(f"{name:<18} {method.summary}" + (f"  (needs {method.needs})" if method.needs else ""))
        ctx.exit()


def _accelerate_config(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """The file of that name, or the config of that name that comes with em-hf."""
    if value is None or Path(value).is_file():
        return None if value is None else Path(value)
    from importlib import resources

    ours = Path(str(resources.files("em_hf.training"))) / "accelerate"
    if (ours / f"{value}.yaml").is_file():
        return ours / f"{value}.yaml"
    names = ", ".join(sorted(path.stem for path in ours.glob("*.yaml")))
    raise click.BadParameter(f"{value} is neither a file nor one of {names}", ctx, param)


def _list_recipes(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from em_hf.training.settings import recipe_names, recipe_text

        click.echo("\n\n".join(f"[{name}]\n{recipe_text(name).rstrip()}" for name in recipe_names()))
        ctx.exit()


@click.command("train", epilog="Example: em-hf train --model Qwen/Qwen2.5-0.5B --dataset openai/gsm8k --lora")
@click.option("--method", type=click.Choice(list(METHODS)), help="[default: em-ft, or the recipe's]")
@click.option(
    "--list-methods", is_flag=True, is_eager=True, expose_value=False, callback=_list_methods, help="List them."
)
@click.option("--recipe", help="Settings that belong together; options win over them.  [default: pocket or default]")
@click.option(
    "--list-recipes", is_flag=True, is_eager=True, expose_value=False, callback=_list_recipes, help="Show them."
)
@model_options
@click.option("--dataset", help="Hub id, or .jsonl, .json, .csv, .parquet or .txt file.  [default: pocket problems]")
@click.option("--dataset-config", help="Configuration of a Hub dataset.")
@click.option("--split", default="train", show_default=True, help="Split of the dataset.")
@click.option("--prompt-column", help="[default: the first of prompt, question, problem, input]")
@click.option(
    "--answer-column",
    help="To measure, or for labels.  [default: the first of answer, solution, target]",
)
@click.option("--limit", type=click.IntRange(1), help="Rows of the dataset to take.")
@click.option("--no-chat-template", is_flag=True, help="Give the model the prompts as they are.")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps.")
@click.option("--batch-size", type=click.IntRange(1), help="Prompts a step and process.")
@click.option("--gradient-accumulation-steps", type=click.IntRange(1), help="Batches a step.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Of AdamW, constant.")
@click.option("--num-generations", type=click.IntRange(1), help="Samples a prompt.")
@click.option("--max-completion-length", type=click.IntRange(1), help="Tokens a sample has at most.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), help="Of the sampling.")
@click.option(
    "--loss-temperature", type=click.FloatRange(0, min_open=True), help="Of the entropy that EM-FT minimizes."
)
@click.option("--loss-reduction", type=click.Choice(["sum", "token_mean"]), help="Over a sample's tokens, or over all.")
@click.option("--beta", type=click.FloatRange(0), help="Coefficient of the KL penalty to the base model.")
@click.option("--reward-tokens", type=click.Choice(["all", "last-third"]), help="Those that RENT's reward is of.")
@click.option("--vllm", type=click.Choice(["colocate", "server"]), help="Rollouts by vLLM, as TRL has it.")
@click.option("--vllm-server", metavar="URL", help="Where `trl vllm-serve` runs; else port 8000 of this machine.")
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, more time.")
@click.option("--lora", is_flag=True, help="Train a LoRA adapter.")
@click.option("--lora-rank", type=click.IntRange(1), help="Rank of the adapter.")
@click.option("--eval-problems", type=click.IntRange(0), help="Held-out prompts to measure on; 0: none.")
@click.option("--eval-samples", type=click.IntRange(1), help="Samples of each.")
@click.option("--guard/--no-guard", default=True, help="Stop a collapse, and put the last healthy weights back.")
@click.option("--early-stopping", is_flag=True, help="Go by the probe's answers, and keep the best weights.")
@click.option("--probe-problems", type=click.IntRange(0), help="Prompts that the guard samples while training.")
@click.option("--probe-every", type=click.IntRange(1), help="Steps from one time to the next.")
@click.option("--entropy-min", help="EM-INF settings to store, as JSON: '{\"n_grad_steps\": 10}'.")
@click.option("--output", type=click.Path(path_type=Path), help="Run folder.  [default: runs/<method>-<model>-<time>]")
@click.option("--overwrite", is_flag=True, help="Replace a run that stands there.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with this interrupted run, as it was asked for.")
@click.option("--num-processes", type=click.IntRange(1), help="Train in so many processes on this machine.")
@click.option(
    "--accelerate-config",
    callback=_accelerate_config,
    help="Start them as a config of accelerate says: a file, or fsdp2 or deepspeed-zero3, which come along.",
)
@config_option
@plan_options
@click.option("--dry-run", is_flag=True, help="Print what would be done; load and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Train a model without labels, and measure it before and after on held-out problems.

    Without options: EM-FT on the pocket reasoner, about a minute on two cores.
    """
    from em_hf.training.settings import RunSettings, default_name

    check_alone(options)
    resume: Path | None = options["resume"]
    if resume is not None:
        settings, folder = _of_earlier_run(ctx, resume, RunSettings), resume
    else:
        settings = _settings(ctx, options, RunSettings)
        folder = options["output"] or Path("runs") / default_name(settings)
    if options["dry_run"]:
        plan = {"output": str(folder), "resume": resume is not None, **settings.__dict__}
        print_json(plan) if options["as_json"] else click.echo("\n".join(f"{k}: {v}" for k, v in plan.items()))
        return
    if options["plan"]:
        quiet_libraries()
        show_plan(settings, options)
        return
    if (options["num_processes"] or options["accelerate_config"]) and "WORLD_SIZE" not in os.environ:
        ctx.exit(_launch(settings, folder, options, resume is not None))
    _run(settings, folder, options, resume is not None)


def _launch(settings: Any, folder: Path, options: dict[str, Any], resume: bool) -> int:
    """Run this same command in several processes, all with the folder chosen here."""
    from em_hf.training.distributed import launch, launch_command
    from em_hf.training.settings import on_cpu

    own = {"--num-processes": 2, "--accelerate-config": 2, "--output": 2}
    arguments, skip = [], 0
    for word in sys.argv[1:]:
        name = word.partition("=")[0]
        if skip == 0 and name in own:
            skip = 1 if "=" in word else own[name]
        if skip:
            skip -= 1
            continue
        arguments.append(word)
    command, environment = launch_command(
        [*arguments, *([] if resume else ["--output", str(folder)])],
        num_processes=options["num_processes"],
        accelerate_config=options["accelerate_config"],
        cpu=on_cpu(settings),
    )
    return launch(command, environment)


def _run(settings: Any, folder: Path, options: dict[str, Any], resume: bool) -> None:
    quiet_libraries()
    from tqdm import tqdm

    from em_hf.training.distributed import is_main
    from em_hf.training.record import MARK
    from em_hf.training.run import Interrupted, train

    main = is_main()
    bar = tqdm(total=settings.steps, unit="step", disable=None if main else True, file=sys.stderr)

    def on_step(line: dict[str, float]) -> None:
        shown = ", ".join(form.format(line[name]) for name, form in SHOWN.items() if name in line)
        if bar.disable and main:
            every = max(1, settings.steps // 10)
            if line["step"] % every == 0 or line["step"] == 1:
                note(f"step {line['step']}/{settings.steps}: {shown}")
        elif main:
            bar.n = line["step"]
            bar.set_postfix_str(shown)

    def on_phase(text: str) -> None:
        bar.clear()
        if main:
            note(text)

    def on_measure(row: str, done: int, total: int) -> None:
        bar.set_postfix_str(f"measuring {row}: {done} of {total} prompts")

    try:
        with bar:
            results = train(
                settings,
                folder,
                overwrite=options["overwrite"],
                resume=resume,
                command=shlex.join(["em-hf", *sys.argv[1:]]),
                on_step=on_step,
                on_phase=on_phase,
                on_measure=on_measure,
            )
    except (Interrupted, KeyboardInterrupt) as stop:
        if (folder / MARK).is_file() and main:
            note(f"{str(stop) or 'Stopped'}. Go on with: em-hf train --resume {shlex.quote(str(folder))}")
        raise click.Abort from stop
    if not main:
        return
    if options["as_json"]:
        print_json({"run": str(folder), **results})
        return
    if results["rows"]:
        click.echo(table(results))
    click.echo(f"Run: {folder}")
    note(f"Next: em-hf push {folder} --to FOLDER")


def _settings(ctx: click.Context, options: dict[str, Any], kind: Any) -> Any:
    """What was given, on the command line or in the config file, over the recipe."""
    from click.core import ParameterSource

    names = set(kind.__dataclass_fields__)
    given = {}
    for name, value in options.items():
        chosen = ctx.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
        if name in names and chosen and value is not None:
            given[name] = value
    if options["no_chat_template"]:
        given["chat_template"] = False
    if options["entropy_min"] is not None:
        try:
            given["entropy_min"] = json.loads(options["entropy_min"])
        except json.JSONDecodeError as error:
            raise click.BadParameter(f"not JSON: {error}", ctx, param_hint="--entropy-min") from error
        if not isinstance(given["entropy_min"], dict):
            raise click.BadParameter("must be a JSON object of fields", ctx, param_hint="--entropy-min")
    try:
        return kind.resolve(given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _of_earlier_run(ctx: click.Context, folder: Path, kind: Any) -> Any:
    from click.core import ParameterSource

    from em_hf.hub.runs import read_run

    for name in ctx.params:
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in ("resume", "as_json", "dry_run", "num_processes", "accelerate_config"):
            option = next(p for p in ctx.command.params if p.name == name).opts[0]
            raise click.UsageError(f"{option} does not go with --resume, which goes on as the run was asked for")
    run = read_run(folder)
    if run.status == "finished":
        raise click.UsageError(f"{folder} is finished: there is nothing to resume; train on with --model {folder}")
    return kind.of_run(run.facts)


def table(results: dict[str, Any]) -> str:
    """The result rows, aligned."""
    width = 2 + max(16, *(len(row["name"]) for row in results["rows"]))
    with_accuracy = results["rows"][0]["accuracy"] is not None
    lines = [
        f"{'':<{width}}"
        + (f"{'accuracy':>9}  {'95% interval':<14}" if with_accuracy else "")
        + "nats/token  tokens  seconds"
    ]
    for row in results["rows"]:
        accuracy = ""
        if with_accuracy:
            interval = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
            accuracy = f"{100 * row['accuracy']:>8.1f}%  {interval:<14}"
        figures = f"{row['entropy']:>10.3f}  {row['completion_length']:>6.1f}  {row['seconds']:>7.1f}"
        lines.append(f"{row['name']:<{width}}{accuracy}{figures}")
    sampling = results["sampling"]
    lines.append(
        f"{results['n']} held-out prompts, {sampling['samples']} sampled completion(s) each, temperature 1, top_k 0, "
        f"top_p 1, with and without EM-INF, seed {sampling['seed']}"
    )
    return "\n".join(lines)
