"""`em-hf eval`: run benchmarks under inference-time strategies through lm-eval, with intervals for all figures."""

import os
import shlex
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from em_hf.evaluation.settings import EvalSettings
from em_hf.evaluation.strategies import KINDS, STRATEGIES, make_strategies
from em_hf.evaluation.strategy import Strategy
from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import DataSettings, DrawSettings, check_level, setting, settings_of

from .checks import check_dataset, check_device, check_extra, check_model, check_rows, check_tasks
from .common import load_chosen_model, load_libraries, note, note_defaults, print_json, while_decoding
from .config_file import config_option
from .options import (
    Command,
    check_unused,
    dry_run_option,
    entropy_min_options,
    entropy_min_settings,
    json_option,
    listing_option,
    setting_options,
)

BASES = ("greedy", "sampling")
DEFAULT_STRATEGIES = (*BASES, "em-inf")
COLUMNS = ("prompt_column", "answer_column")
EM_FIELDS = tuple(name for name in settings_of(EntropyMinConfig) if name != "method")


@dataclass(frozen=True)
class EvalOptions:
    """Options for the strategies to evaluate a model under, and where the results go."""

    strategy: str | None = setting(
        None, help="One strategy alone, such as greedy or temperature=0.6.", unset="those of --compare"
    )
    compare: tuple[str, ...] = setting(
        DEFAULT_STRATEGIES,
        help="Several strategies, such as temperature=0.6,top-p=0.95,em-inf:threshold=0.1; greedy and sampling are "
        "always among them.",
        metavar="A,B,…",
    )
    dataset: str | None = setting(
        None,
        help="Evaluate on problems of your own, with answers, instead of --tasks: Hub id or file (.jsonl, .json, .csv, "
        ".parquet).",
        group="data",
    )
    tune: int | None = setting(
        None,
        help="Try this many settings of every strategy on held-out validation problems, and take the best.",
        low=1,
        high=1000,
        unset="no tuning",
    )
    tune_problems: int = setting(100, help="Validation problems to tune on.", group="data", low=1)
    validation: str | None = setting(
        None,
        help="Hub id or file of the validation problems of --dataset.",
        group="data",
        unset="the dataset's validation split",
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
    sandbox: str | None = setting(
        None,
        help="weak runs programs even where this machine cannot keep all the sandbox promises; also EM_HF_SANDBOX.",
        group="scale",
        choices=("strict", "weak"),
        unset="strict",
    )
    output: Path | None = setting(
        None, help="Folder for results; the same command continues from it.", group="output", metavar="FOLDER"
    )
    overwrite: bool = setting(False, help="Replace the evaluation in that folder.", group="output")
    wide: bool = setting(False, help="Show every figure with its interval, in wide tables.", group="output")


def strategies_of(
    names: tuple[str, ...], options: dict[str, Any], stored: EntropyMinConfig | None = None
) -> list[Strategy]:
    """Return the strategies with the given options, which override the EM-INF settings stored with the model."""
    return make_strategies(names, shared_settings(options), stored)


def shared_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings given by options of their own, for all strategies that have them."""
    return {name: options[name] for name in KINDS if options.get(name) is not None}


def names_of(options: dict[str, Any], compared: bool) -> tuple[str, ...]:
    """Return the names of the chosen strategies; several always include greedy and sampling as baselines.

    Raises:
        click.UsageError: Both --strategy and --compare are given.
    """
    if options["strategy"] is not None:
        if compared:
            raise click.UsageError("give --strategy for one strategy or --compare for several, not both")
        return (options["strategy"],)
    names = tuple(options["compare"] or DEFAULT_STRATEGIES)
    if options["backend"] == "openai" and not compared:  # its API cannot do EM-INF
        names = BASES
    return (*(base for base in BASES if base not in names), *names)


def list_all() -> str:
    """Return a listing of tasks and strategies, one per line."""
    check_extra("em-hf eval --list", "eval", "lm_eval")
    from em_hf.evaluation.listing import listing

    width = max(map(len, STRATEGIES))
    strategies = [f"{name:<{width}}  {entry.summary}" for name, entry in STRATEGIES.items()]
    return "\n".join([listing(), "", "Strategies:", *strategies])


@click.command(
    "eval",
    cls=Command,
    first=(
        "model",
        "tasks",
        "dataset",
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
@setting_options(DataSettings, "dataset_config", "split", "prompt_column", "answer_column", defaults={"split": "test"})
@setting_options(DrawSettings, unset=True)
@entropy_min_options(without=("method",))
@config_option
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Evaluate a model on benchmarks or on problems of your own, under one strategy or several.

    Without options: the pocket reasoner on its own held-out problems, greedy, sampled, and with EM-INF.
    """
    names = names_of(options, ctx.get_parameter_source("compare") is not ParameterSource.DEFAULT)
    if not options["tasks"]:
        raise click.UsageError("--tasks is empty: name at least one; em-hf eval --list shows them")
    own = options["dataset"] is not None
    if own and ctx.get_parameter_source("tasks") is not ParameterSource.DEFAULT:
        raise click.UsageError("give --tasks for benchmarks or --dataset for problems of your own, not both")
    if (options["backend"] == "openai") != (options["base_url"] is not None):
        raise click.UsageError("--backend openai and --base-url go together: give both, or neither")
    if options["validation"] is not None and not own:
        raise click.UsageError("--validation goes with --dataset; benchmarks have validation problems of their own")
    entropy_min_settings({name: options[name] for name in EM_FIELDS})
    try:
        strategies_of(names, options)
        check_level(options["level"], *((options["dataset"], options["validation"]) if own else options["tasks"]))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if own:
        check_unused(ctx, "holds copies of benchmarks, not problems of --dataset: leave one of them out", "data_dir")
    else:
        of_own = ("dataset_config", "split", *COLUMNS)
        check_unused(ctx, "describes problems of your own: give --dataset too", *of_own)
    if options["tune"] is None:
        check_unused(ctx, "says what to tune on: give --tune too", "validation", "tune_problems")
    if options["output"] is None:
        check_unused(ctx, "replaces what --output holds: give --output too", "overwrite")
    if options["dry_run"]:
        kept = {name: value for name, value in options.items() if name not in ("dry_run", "as_json", "config")}
        plan = {**kept, "tasks": [] if own else list(options["tasks"]), "compare": list(names)}
        plan = {name: str(value) if isinstance(value, Path) else value for name, value in plan.items()}
        print_json(plan) if options["as_json"] else click.echo("\n".join(f"{k}: {v}" for k, v in plan.items()))
        return
    if options["backend"] != "openai":
        check_model(options["model"], gguf=options["backend"] == "vllm")
    check_device(options["device"])
    check_extra("em-hf eval", "eval", "lm_eval")
    if options["output"] is not None and options["output"].exists() and not options["output"].is_dir():
        raise OSError(f"{options['output']} is a file, but results need a folder: name another --output")
    if options["backend"] == "vllm" and find_spec("vllm") is None:
        raise ImportError("--backend vllm needs vLLM, in an environment of its own: pip install 'em-hf[vllm,eval]'")
    columns = {name: options[name] for name in COLUMNS}
    check_rows(options["dataset"], limit=options["limit"], **columns)
    check_rows(options["validation"], limit=options["tune_problems"], **columns)
    if not own:
        check_tasks(options["tasks"], allow_code=options["allow_code_execution"])
    datasets = tuple(check_dataset(name) for name in (options["dataset"], options["validation"]) if name is not None)
    _evaluate(names, options, datasets)


def _own(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the task made from the user's own problems, or None if benchmarks are evaluated."""
    if options["dataset"] is None:
        return None
    from em_hf.data import load_prompts
    from em_hf.evaluation.own_data import own_task

    how = {name: options[name] for name in ("level", *COLUMNS)}
    problems = load_prompts(
        options["dataset"], config=options["dataset_config"], split=options["split"], limit=options["limit"], **how
    )
    validation = None
    if options["tune"]:
        validation = _validation(options, how)
    return own_task(problems, validation)


def _validation(options: dict[str, Any], how: dict[str, Any]) -> Any:
    """Return the validation problems of a dataset.

    Args:
        how: their level and columns, as for `load_prompts`.
    """
    from em_hf.data import load_prompts, local_file

    name, limit = options["validation"], options["tune_problems"]
    if name not in (None, options["dataset"]):
        return load_prompts(name, split="validation", limit=limit, **how)
    if local_file(options["dataset"]) or options["split"] == "validation":
        raise ValueError(
            f"--tune needs validation problems, and {options['dataset']} has none besides those it is evaluated on: "
            "give them with --validation, or leave --tune out"
        )
    return load_prompts(options["dataset"], config=options["dataset_config"], split="validation", limit=limit, **how)


def _tuned(
    model: Any, tokenizer: Any, settings: EvalSettings, strategies: list[Strategy], tasks: Any, options: dict[str, Any]
) -> tuple[list[Strategy], Any]:
    """Return the strategies with the settings that did best on the validation problems, and all trials.

    Args:
        settings, tasks: Those of a trial.
    """
    from em_hf.evaluation.run import evaluate
    from em_hf.evaluation.tuning import tune

    def accuracy(strategy: Strategy) -> float:
        rows = evaluate(model, tokenizer, settings, [strategy], tasks=tasks, allow_code=options["allow_code_execution"])
        return sum(sum(row.values[row.metric]) / len(row) for row in rows) / len(rows)

    def say(trial: Any) -> None:
        note(f"tuning {trial.strategy}: {100 * trial.accuracy:.1f}% with {trial.settings}")

    return tune(strategies, options["tune"], accuracy, say, shared_settings(options))


def _vllm(options: dict[str, Any]) -> tuple[Any, None, EntropyMinConfig | None]:
    """Return the lm-eval model of vLLM, which has its own tokenizer, and the EM-INF settings stored with it."""
    if options["device"]:
        raise ValueError("device is given, but vLLM chooses its devices itself: set CUDA_VISIBLE_DEVICES")
    from em_hf.evaluation.vllm import EntropyMinVLLM
    from em_hf.generation.mixin import STORED

    given = {name: options[name] for name in ("batch_size", "seed", "revision", "dtype", "trust_remote_code")}
    lm = EntropyMinVLLM(options["model"], **given)
    stored = lm.model.llm_engine.model_config.try_get_generation_config().get(STORED)
    return lm, None, None if stored is None else EntropyMinConfig.from_dict(stored)


def _server(options: dict[str, Any]) -> Any:
    """Return the lm-eval model that queries the server at --base-url."""
    from em_hf.evaluation.server import ServerLM

    return ServerLM(
        options["base_url"], options["model"], batch_size=min(16, options["batch_size"]), seed=options["seed"]
    )


def _readable_errors(options: dict[str, Any]) -> AbstractContextManager[None]:
    """Run the block with a damaged model's errors in one line; vLLM and servers report their own errors."""
    return while_decoding(options["model"]) if options["backend"] == "transformers" else nullcontext()


def _evaluate(names: tuple[str, ...], options: dict[str, Any], datasets: tuple[str | None, ...]) -> None:
    os.environ.setdefault("TQDM_DISABLE", "1")  # hides lm-eval's and datasets' bars; the one below sets `disable`
    local = options["data_dir"] or os.environ.get("EM_HF_DATA_DIR")
    hub_tasks = [task for task in options["tasks"] if task != "pocket" and not local and not options["dataset"]]
    model_source = None if options["backend"] == "openai" else options["model"]
    load_libraries(model_source, *hub_tasks, *datasets)
    from tqdm import tqdm

    from em_hf.evaluation.folder import PROMPTS_HASH, EvalFolder, check_place
    from em_hf.evaluation.report import report
    from em_hf.evaluation.run import evaluate, load_tasks, prompts_hash, quiet_lm_eval, settings_record
    from em_hf.generation.mixin import stored_settings
    from em_hf.runs import to_json

    quiet_lm_eval()
    output: Path | None = options["output"]
    if output is not None:
        check_place(output)
    own = _own(options)
    settings = EvalSettings(**{name: options[name] for name in settings_of(EvalSettings)})
    if options["scicode_targets"]:
        os.environ["EM_HF_SCICODE_TARGETS"] = str(options["scicode_targets"])
    if options["sandbox"]:
        os.environ["EM_HF_SANDBOX"] = options["sandbox"]
    source = {"data_dir": options["data_dir"], "allow_code": options["allow_code_execution"], "own": own}
    tasks = load_tasks(settings, **source)
    trial = replace(settings, limit=options["tune_problems"], samples=1)
    held_out = load_tasks(trial, **source, validation=True) if options["tune"] else None
    if options["backend"] == "vllm":
        model, tokenizer, stored = _vllm(options)
    elif options["backend"] == "openai":
        model, tokenizer, stored = _server(options), None, None
    else:
        model, tokenizer = load_chosen_model(options)
        stored = stored_settings(model)
    strategies = strategies_of(names, options, stored)
    if any(strategy.entropy_min for strategy in strategies):
        note_defaults(stored)
    trials: list[Any] = []
    if held_out is not None:
        with _readable_errors(options):
            strategies, trials = _tuned(model, tokenizer, trial, strategies, held_out, options)
    if options["backend"] == "openai":
        model.check(strategies)
    record = settings_record(settings, strategies)
    if own is not None:
        record |= {name: options[name] for name in ("dataset", "dataset_config", "split")}
        record |= {"tasks": [own["task"]], **{name: own["metadata"][name] for name in COLUMNS}}
    record[PROMPTS_HASH] = prompts_hash(settings, tasks)
    folder = None if output is None else EvalFolder(output, record, overwrite=options["overwrite"])
    try:
        with (
            _readable_errors(options),
            tqdm(unit="answer", disable=not sys.stderr.isatty(), file=sys.stderr) as bar,
        ):

            def begin(name: str) -> None:
                bar.reset()
                bar.set_description(name)
                if bar.disable:
                    note(f"{name} …")

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            rows = evaluate(
                model,
                tokenizer,
                settings,
                strategies,
                tasks=tasks,
                folder=folder,
                allow_code=options["allow_code_execution"],
                on_strategy=begin,
                on_progress=progress,
            )
    except KeyboardInterrupt:
        if folder is not None:
            note(f"The answers so far are in {output}: the same command continues from there.")
        raise
    result = report(rows, strategies, record, command=shlex.join(["em-hf", *sys.argv[1:]]), trials=trials)
    if folder is not None:
        result.write(folder)
        note(f"Results are in {output}.")
    if options["as_json"]:
        print_json(to_json(result.record))
    else:
        click.echo(result.text if options["wide"] else result.screen)
