"""`em-hf eval`: benchmarks under inference-time strategies, through lm-eval, every figure with its interval."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from em_hf.evaluation.strategies import STRATEGIES, Strategy, make_strategy

from .common import config_option, model_options, note, print_json, quiet_libraries

DEFAULT_STRATEGIES = ("greedy", "sampling", "em-inf")
# The options that go to EvalSettings under their own names.
SETTINGS = (
    *("model", "revision", "dtype", "seed", "tasks", "limit", "samples"),
    *("num_fewshot", "system_instruction", "max_new_tokens", "batch_size", "backend"),
)
EM_FIELDS = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer", "target_ratio")


def _split(ctx: click.Context, param: click.Parameter, value: str | list[str] | None) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else value or []
    return tuple(word.strip() for word in words if word.strip())


def strategy_options(command: Any) -> Any:
    """How tokens are drawn and EM-INF's settings, for every strategy that has a use for them."""
    options = (
        click.option("--n", type=click.IntRange(2), help="Answers of self-consistency (4), drafts of refinement (3)."),
        click.option("--temperature", type=click.FloatRange(0, min_open=True), help="Of all draws.  [default: 1]"),
        click.option("--top-k", type=click.IntRange(0), help="0: no limit.  [default: 0]"),
        click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="[default: 1]"),
        click.option("--min-p", type=click.FloatRange(0, 1, max_open=True), help="[default: 0]"),
        click.option("--threshold", type=float, help="EM-INF: nats under which a step is left alone."),
        click.option("--n-grad-steps", type=int, help="EM-INF: gradient steps a token."),
        click.option("--learning-rate", type=float, help="EM-INF: step size on the logits."),
        click.option("--kl-weight", type=float, help="EM-INF: weight of the pull to the original distribution."),
        click.option("--optimizer", type=click.Choice(["adam", "sgd"]), help="EM-INF: adam (public code) or sgd."),
        click.option("--target-ratio", type=float, help="Adaptive temperature: share of the entropy to aim at."),
    )
    for option in reversed(options):
        command = option(command)
    return command


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


def _list(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value:
        return
    quiet_libraries()
    from em_hf.evaluation.listing import listing

    click.echo(listing())
    click.echo("\nStrategies:")
    for name, entry in STRATEGIES.items():
        click.echo(f"{name:<24} {entry.summary}")
    ctx.exit()


@click.command("eval", epilog="Example: em-hf eval --model Qwen/Qwen2.5-0.5B-Instruct --tasks gsm8k --limit 100")
@model_options
@click.option(
    "--tasks",
    type=click.UNPROCESSED,
    callback=_split,
    default="pocket",
    show_default=True,
    help="Names, with commas between.",
)
@click.option("--strategy", type=click.Choice(list(STRATEGIES)), help="One strategy alone.")
@click.option("--compare", type=click.UNPROCESSED, callback=_split, help="Several.  [default: greedy,sampling,em-inf]")
@strategy_options
@click.option("--limit", type=click.IntRange(1), help="Problems of each task at most.  [default: all]")
@click.option("--samples", "--repeats", type=click.IntRange(1), default=1, show_default=True, help="Answers a problem.")
@click.option("--num-fewshot", type=click.IntRange(0), help="Worked examples before each problem.")
@click.option("--system-instruction", help="What the model is told before every problem.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Of an answer.  [default: the task's]")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Rows decoded together.")
@click.option(
    "--backend",
    type=click.Choice(["transformers", "vllm"]),
    default="transformers",
    show_default=True,
    help="What decodes; vllm where it is installed, in an environment of its own.",
)
@click.option("--no-chat-template", is_flag=True, help="Give the model the prompts as they are.")
@click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="EM_HF_DATA_DIR",
    help="Folder of local copies of the benchmarks, instead of the Hub.",
)
@click.option(
    "--scicode-targets",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="EM_HF_SCICODE_TARGETS",
    help="HDF5 file of SciCode's authors with the numbers that its tests compare with.",
)
@click.option("--allow-code-execution", is_flag=True, help="Run the programs that the model writes, in a sandbox.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for results; the same again goes on from it.")
@click.option("--overwrite", is_flag=True, help="Replace the evaluation that stands there.")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List tasks, strategies.")
@config_option
@click.option("--dry-run", is_flag=True, help="Print what would be done; load and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(**options: Any) -> None:
    """Evaluate a model on benchmarks, under one strategy or several; of lists, the entries have commas between.

    Without options: the pocket reasoner on its own held-out problems, greedy, sampled, and with EM-INF.
    """
    if options["strategy"] and options["compare"]:
        raise click.UsageError("give --strategy for one strategy or --compare for several, not both")
    names = (options["strategy"],) if options["strategy"] else options["compare"] or DEFAULT_STRATEGIES
    for name in names:
        if name not in STRATEGIES:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(STRATEGIES)}", param_hint="--compare")
    if len(set(names)) < len(names):
        raise click.BadParameter("names a strategy twice", param_hint="--compare")
    try:
        strategies_of(names, options, None)
    except ValueError as error:
        raise click.UsageError(str(error).replace("EntropyMinConfig: ", "")) from error
    if options["dry_run"]:
        kept = {name: value for name, value in options.items() if name not in ("dry_run", "as_json", "config")}
        plan = {**kept, "tasks": list(options["tasks"]), "compare": list(names)}
        plan = {name: str(value) if isinstance(value, Path) else value for name, value in plan.items()}
        print_json(plan) if options["as_json"] else click.echo("\n".join(f"{k}: {v}" for k, v in plan.items()))
        return
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
    quiet_libraries()
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise ImportError("em-hf eval needs lm-eval: pip install 'em-hf[eval]'") from error
    from em_hf.evaluation.folder import EvalFolder, check_place
    from em_hf.evaluation.report import report
    from em_hf.evaluation.run import EvalSettings, evaluate, load_tasks, quiet_lm_eval, settings_record
    from em_hf.generation.mixin import STORED
    from em_hf.models import load_model

    quiet_lm_eval()
    output: Path | None = options["output"]
    if output is not None:
        check_place(output)
    settings = EvalSettings(chat_template=not options["no_chat_template"], **{name: options[name] for name in SETTINGS})
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
