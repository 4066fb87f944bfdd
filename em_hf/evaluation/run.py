"""An evaluation from start to finish: tasks, a model, one strategy after the other, results."""

import hashlib
import json
import logging
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from em_hf.evaluation.code.sandbox import check_sandbox
from em_hf.evaluation.folder import EvalFolder
from em_hf.evaluation.results import Row, figures_per_problem, rows_of
from em_hf.evaluation.settings import EvalSettings
from em_hf.evaluation.sources import missing_files
from em_hf.evaluation.strategy import Strategy
from em_hf.evaluation.unsafe import refuse_programs
from em_hf.flops import parameter_count
from em_hf.settings import PLAIN, at_level, check_level

TASKS = Path(__file__).parent / "tasks"


def our_tasks() -> dict[str, dict[str, Any]]:
    """Return the settings of all our task files, by task name."""
    from lm_eval.tasks._yaml_loader import load_yaml

    found = [load_yaml(path, resolve_func=False) for path in sorted(TASKS.glob("*.yaml"))]
    return {config["task"]: config for config in found}


def load_tasks(
    settings: EvalSettings,
    *,
    data_dir: str | Path | None = None,
    allow_code: bool = False,
    own: Mapping[str, Any] | None = None,
    validation: bool = False,
) -> Any:
    """Return the tasks with their problems, as lm-eval's `TaskManager` loads them.

    Args:
        data_dir: the folder of local copies; if None, the environment variable EM_HF_DATA_DIR, else the Hub.
        allow_code: whether our code tasks may run the programs that a model writes, in the sandbox.
        own: the task of a user's own problems (`own_task`), instead of `settings.tasks`.
        validation: use held-out validation problems instead of the tasks' test problems.

    Raises:
        ValueError: an unknown task, a task of ours that runs programs without `allow_code`, one of lm-eval's that runs
            programs at all, one without the level or without a figure per problem, or one that lacks validation
            problems when they are requested.
        OSError: the problems cannot be found, or programs cannot be run safely on this machine.
    """
    import lm_eval.tasks

    if own is not None:
        return _prepared(lm_eval.tasks.TaskManager(include_defaults=False).load([dict(own)]), settings, validation)

    ours = our_tasks()
    metadata = {"data_dir": str(data_dir)} if data_dir else None
    manager = lm_eval.tasks.TaskManager(
        include_path=TASKS, include_defaults=not set(settings.tasks) <= set(ours), metadata=metadata
    )
    for name in settings.tasks:
        if name not in manager.all_tasks:
            raise ValueError(f"there is no task {name!r}: `em-hf eval --list` shows ours, lm-eval's have its own names")
        if name in ours and ours[name].get("unsafe_code") and not allow_code:
            raise ValueError(f"{name} runs the programs that the model writes: allow it with --allow-code-execution")
    if any(ours[name].get("unsafe_code") for name in settings.tasks if name in ours):
        for given_up in check_sandbox():
            warnings.warn(f"--sandbox weak gives up a promise of the sandbox: {given_up}", stacklevel=2)
    refuse_programs(tuple(name for name in settings.tasks if name not in ours), manager.task_index)
    check_level(settings.level, *settings.tasks)
    asked = [name if settings.level == PLAIN else _task_at(name, settings.level) for name in settings.tasks]
    tasks = _prepared(manager.load(asked), settings, validation)
    for name, task in tasks["tasks"].items():
        if name not in {at_level(one, settings.level) for one in ours}:
            _check_figures(name, task)
    return tasks


def _check_figures(name: str, task: Any) -> None:
    """Raise ValueError if a task of lm-eval's has no figure per problem, found by grading an answer of our own."""
    task.build_all_requests(limit=1, rank=0, world_size=1)
    for request in task.instances:
        answer = {"generate_until": "0", "loglikelihood": (-1.0, False), "loglikelihood_rolling": -1.0}
        request.resps = [answer[request.request_type]] * request.repeats
    task.apply_filters()
    filtered = [next(iter(request.filtered_resps.values())) for request in task.instances]
    figures_per_problem(name, [task.process_results(task.instances[0].doc, filtered)])


def _task_at(name: str, level: str) -> dict[str, Any]:
    """Return the settings of a task of ours at another level than the plain one, under a name of its own."""
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(TASKS / f"{name}.yaml")
    return {**config, "task": at_level(name, level), "metadata": {**config["metadata"], "level": level}}


def _prepared(tasks: Any, settings: EvalSettings, validation: bool) -> Any:
    """Apply the settings to the tasks and return them."""
    for name, task in tasks["tasks"].items():
        if validation:
            task.set_config("test_split", _validation_split(name, task))
        if settings.num_fewshot is not None:  # set here: lm-eval ignores its caller's value if a task has 0
            task.set_config("num_fewshot", settings.num_fewshot)
            _check_fewshot(task, settings.num_fewshot)
        if task.OUTPUT_TYPE == "generate_until":
            task.set_config("repeats", settings.samples)
            if settings.max_new_tokens:
                task.set_config("generation_kwargs", {"max_gen_toks": settings.max_new_tokens}, update=True)
    return tasks


def _check_fewshot(task: Any, n: int) -> None:
    """Raise ValueError if a task has too few worked examples; lm-eval draws one more, to replace the problem itself."""
    if n == 0:
        return
    there = len(list(task.fewshot_docs()))
    about = task.config.metadata or {}
    if not there and (lacking := missing_files(task.config.fewshot_split, about.get("files"), about.get("data_dir"))):
        raise OSError(f"num_fewshot is {n}, but the folder of --data-dir lacks the examples: put {lacking} there")
    if n >= there:
        raise ValueError(
            f"num_fewshot is {n}, but {task.config.task} has {there} examples to draw from: give at most {there - 1}"
        )


def _validation_split(name: str, task: Any) -> str:
    """Return the split to tune on: the validation problems, else the training problems."""
    asked = task.config.test_split or task.config.validation_split
    for split in (task.config.validation_split, "validation", task.config.training_split, "train"):
        if split is not None and split != asked and len((task.dataset or {}).get(split, ())):
            return split
    raise ValueError(
        f"tune needs validation problems, but {name} has none besides those it is evaluated on: leave --tune out, or "
        "give them with --validation"
    )


def evaluate(
    model: Any,
    tokenizer: Any,
    settings: EvalSettings,
    strategies: Sequence[Strategy],
    *,
    tasks: Any,
    folder: EvalFolder | None = None,
    allow_code: bool = False,
    on_strategy: Callable[[str], None] = lambda name: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Evaluate every strategy on every task and return the rows, task by task.

    Args:
        model: a model for `tokenizer`; or an `EntropyMinVLLM` or a `ServerLM`, which have their own.
        tasks: from `load_tasks`.
        folder: where answers are saved as they arrive and read back from.
        on_strategy: called with the name of a strategy before it begins.
        on_progress: called with the number of answers that the strategy has given so far and the total.
    """
    from em_hf.evaluation.model import EntropyMinLM

    quiet_lm_eval()
    lm = model
    if tokenizer is not None:
        lm = EntropyMinLM(model, tokenizer=tokenizer, batch_size=settings.batch_size, seed=settings.seed)
    parameters = parameter_count(model) if tokenizer is not None else lm.parameters
    lm.on_progress = on_progress
    chat = bool(settings.chat_template and lm.tokenizer.chat_template)
    _end_after_examples(tasks, chat)
    rows: list[Row] = []
    for strategy in strategies:
        on_strategy(strategy.name)
        lm.strategy = strategy
        if folder is not None:
            lm.answered, lm.on_batch = folder.answers(strategy.name), folder.keep(strategy.name)
        results = _simple_evaluate(lm, settings, tasks, chat, allow_code)
        rows += rows_of(strategy.name, results["samples"], lm.completions, parameters, seed=settings.seed)
        if folder is not None:
            folder.save_lm_eval(strategy.name, results, model=settings.model)
    return sorted(rows, key=lambda row: list(tasks["tasks"]).index(row.task))


def _end_after_examples(tasks: Any, chat: bool) -> None:
    """After examples, let what separates them end an answer: a base model goes on to the next question.

    In a chat, examples are turns of their own, and an answer may have several paragraphs.
    """
    for task in tasks["tasks"].values():
        stop = (task.config.metadata or {}).get("stop_after_examples")
        if stop and task.config.num_fewshot:
            task.set_config("generation_kwargs", {"until": [] if chat else [stop]}, update=True)


def _simple_evaluate(lm: Any, settings: EvalSettings, tasks: Any, chat: bool, allow_code: bool) -> dict[str, Any]:
    from lm_eval import evaluator, simple_evaluate
    from lm_eval.tasks import TaskManager

    evaluator.get_git_commit_hash = _git_commit  # its own lets git print errors to the terminal
    groups = list((tasks.get("groups") or {}).values())
    grouped = {task.task_name for group in groups for task in group.get_all_tasks()}
    results = simple_evaluate(
        model=lm,
        tasks=[*groups, *(task for name, task in tasks["tasks"].items() if name not in grouped)],
        limit=settings.limit,
        system_instruction=settings.system_instruction,
        apply_chat_template=chat,
        fewshot_as_multiturn=True,
        random_seed=settings.seed,
        numpy_random_seed=settings.seed,
        torch_random_seed=settings.seed,
        fewshot_random_seed=settings.seed,
        bootstrap_iters=0,
        # The tasks are already built: without a manager, lm-eval reads its thousands of task files for every strategy.
        task_manager=TaskManager(include_defaults=False),
        confirm_run_unsafe_code=allow_code,
    )
    assert results is not None  # None on the other processes of a distributed run, which this is not
    return dict(results)


def _git_commit() -> str | None:
    """Return the output of `git describe --always` in the current folder, or None outside a repository."""
    try:
        done = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True)
    except OSError:  # no git here
        return None
    return done.stdout.strip() or None


def quiet_lm_eval() -> None:
    """Make lm-eval log errors only: its warnings are about what is intended here."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


def settings_record(settings: EvalSettings, strategies: Sequence[Strategy]) -> dict[str, Any]:
    """Return, as plain values, the settings that must be the same for an evaluation to be resumed."""
    values = {
        name: value
        for name, value in asdict(settings).items()
        if name not in ("device", "trust_remote_code", "base_url")
    }
    return {**values, "tasks": list(settings.tasks), "strategies": [s.to_dict() for s in strategies]}


def prompts_hash(settings: EvalSettings, tasks: Any) -> str:
    """Return the SHA-256, in hex, of all prompts of the tasks, with their worked examples, before any chat template.

    An evaluation may only be resumed with the same prompts: saved answers know a problem by its number alone.
    """
    made = hashlib.sha256()
    for name, task in tasks["tasks"].items():
        task.set_fewshot_seed(settings.seed)  # as lm-eval does before it draws the examples
        for _, doc in task.doc_iterator(limit=settings.limit):
            asked = task.fewshot_context(doc, task.config.num_fewshot or 0, gen_prefix=task.doc_to_prefix(doc))
            made.update(json.dumps([name, asked, doc.get("turns")]).encode())
    return made.hexdigest()
