"""`em-hf diagnose`: predict from a small labelled sample, before any training, whether EM will help a model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import DataSettings, ModelSettings, check_level, setting, settings_of

from .checks import check_dataset, check_device, check_extra, check_model, check_rows, check_writable
from .common import load_chosen_model, load_libraries, note_defaults, print_json, while_decoding
from .config_file import config_option
from .options import Command, entropy_min_options, entropy_min_settings, json_option, setting_options


@dataclass(frozen=True)
class DiagnoseOptions:
    """Options for how many answers to sample, and what to predict from them."""

    samples: int = setting(8, help="Answers to each problem.", group="sampling", low=2, high=1024)
    max_new_tokens: int = setting(256, help="Longest answer, in tokens.", group="sampling", low=1)
    batch_size: int = setting(64, help="Answers decoded together.", group="scale", low=1)
    thresholds: tuple[float, ...] = setting(
        (0.02, 0.05, 0.1, 0.2, 0.3, 0.5), help="EM-INF's thresholds to predict the gain at, in nats.", low=0
    )
    output: Path | None = setting(
        None, help="JSON file to write too; em-hf push reads RUN/diagnose.json.", group="output", metavar="FILE"
    )


@click.command(
    "diagnose",
    cls=Command,
    first=("model", "dataset", "split", "answer_column", "limit", "samples", "max_new_tokens", "thresholds", "output"),
    epilog="Example: em-hf diagnose --model Qwen/Qwen2.5-0.5B --dataset openai/gsm8k --dataset-config main",
)
@setting_options(ModelSettings)
@setting_options(DataSettings, defaults={"dataset": "pocket", "split": "test", "limit": 100})
@setting_options(DiagnoseOptions)
@entropy_min_options(without=("method", "threshold", "target_ratio", "tmin", "tmax", "tol", "max_iter"))
@config_option
@json_option
def command(**options: Any) -> None:
    """Say whether EM will help a model: how its confidence goes with being right, and what EM-INF would change.

    Without options: the pocket reasoner on its own held-out problems.
    """
    given = entropy_min_settings({name: options.get(name) for name in settings_of(EntropyMinConfig)})
    if options["limit"] is None or options["limit"] < 2:
        raise click.UsageError("--limit must be at least 2: one problem has nothing to compare with")
    if not options["thresholds"]:
        raise click.UsageError("--thresholds is empty: give at least one number of nats")
    try:
        check_level(options["level"], options["dataset"])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    check_model(options["model"])
    check_device(options["device"])
    hub_dataset = check_dataset(options["dataset"])
    check_extra("em-hf diagnose", "eval", "scipy")
    check_writable(options["output"])
    check_rows(
        options["dataset"],
        prompt_column=options["prompt_column"],
        answer_column=options["answer_column"],
        limit=options["limit"],
    )
    load_libraries(options["model"], hub_dataset)
    from tqdm import tqdm

    from em_hf.data import load_prompts
    from em_hf.evaluation.confidence import sample_answers
    from em_hf.evaluation.diagnose import describe, diagnose
    from em_hf.generation.mixin import settings_of_model, stored_settings
    from em_hf.models import check_fit, context_length
    from em_hf.runs import Diagnosis, write_json

    prompts = load_prompts(
        options["dataset"],
        config=options["dataset_config"],
        split=options["split"],
        level=options["level"],
        prompt_column=options["prompt_column"],
        answer_column=options["answer_column"],
        limit=options["limit"],
    )
    if prompts.answers is None:
        raise ValueError(f"{options['dataset']} has no answers: name their column with --answer-column")
    model, tokenizer = load_chosen_model(options)
    check_fit(
        model,
        tokenizer,
        prompts.prompts,
        options["max_new_tokens"],
        setting="max_new_tokens",
        limit=context_length(model),
        whose=options["model"],
        chat_template=options["chat_template"],
    )
    note_defaults(stored_settings(model))
    base = settings_of_model(model, {**given, "method": "logit_optimization"}).to_dict()
    with (
        while_decoding(options["model"]),
        tqdm(total=len(prompts), unit="problem", disable=None, file=sys.stderr) as bar,
    ):
        samples = sample_answers(
            model,
            tokenizer,
            prompts.prompts,
            prompts.answers,
            samples=options["samples"],
            configs={t: EntropyMinConfig.from_dict({**base, "threshold": t}) for t in options["thresholds"]},
            max_new_tokens=options["max_new_tokens"],
            batch_size=options["batch_size"],
            seed=options["seed"],
            chat_template=options["chat_template"],
            on_progress=lambda done: bar.update(done - bar.n),
        )
    found = diagnose(samples, seed=options["seed"])
    if options["output"] is not None:
        facts = {"dataset": prompts.name, "split": prompts.split, "level": prompts.level, "seed": options["seed"]}
        write_json(options["output"], Diagnosis(**facts, **found.to_dict()))
    print_json(found.to_dict()) if options["as_json"] else click.echo(describe(found))
