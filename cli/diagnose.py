"""`em-hf diagnose`: will EM help this model on such problems? From a small labelled sample, before any training."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from .common import config_option, model_options, print_json, quiet_libraries
from .eval import EM_FIELDS

THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def _numbers(ctx: click.Context, param: click.Parameter, value: str | list | tuple | None) -> tuple[float, ...]:
    words = value.split(",") if isinstance(value, str) else value or ()
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers with commas between") from error
    if any(not number >= 0 for number in numbers):
        raise click.BadParameter("a threshold is a number of nats, at least 0")
    return numbers


@click.command("diagnose", epilog="Example: em-hf diagnose --model Qwen/Qwen2.5-0.5B --dataset openai/gsm8k")
@model_options
@click.option("--dataset", default="pocket", show_default=True, help="Hub id or file, with answers.")
@click.option("--dataset-config", help="Configuration of a Hub dataset.")
@click.option("--split", default="test", show_default=True, help="Split of the dataset.")
@click.option("--prompt-column", help="[default: the first of prompt, question, problem, input]")
@click.option("--answer-column", help="[default: the first of answer, solution, target]")
@click.option("--no-chat-template", is_flag=True, help="Give the model the prompts as they are.")
@click.option("--limit", type=click.IntRange(2), default=100, show_default=True, help="Problems at most.")
@click.option("--samples", type=click.IntRange(2), default=8, show_default=True, help="Answers to each.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True, help="Of an answer.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Answers decoded together.")
@click.option(
    "--thresholds",
    type=click.UNPROCESSED,
    callback=_numbers,
    default=",".join(map(str, THRESHOLDS)),
    show_default=True,
    help="Of EM-INF, to predict the gain at; nats, with commas between.",
)
@click.option("--n-grad-steps", type=int, help="EM-INF: gradient steps a token.")
@click.option("--learning-rate", type=float, help="EM-INF: step size on the logits.")
@click.option("--kl-weight", type=float, help="EM-INF: weight of the pull to the original distribution.")
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), help="EM-INF: adam (public code) or sgd.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write JSON too; em-hf push reads RUN/diagnose.json.",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(**options: Any) -> None:
    """Say whether EM will help a model: how its confidence goes with being right, and what EM-INF would change.

    Without options: the pocket reasoner on its own held-out problems.
    """
    from em_hf.generation.config import EntropyMinConfig

    given = {name: options[name] for name in EM_FIELDS if options.get(name) is not None}
    try:
        EntropyMinConfig.from_dict(given)
    except ValueError as error:
        raise click.UsageError(str(error).replace("EntropyMinConfig: ", "")) from error
    quiet_libraries()
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError("em-hf diagnose needs scikit-learn: pip install 'em-hf[eval]'") from error
    from tqdm import tqdm

    from em_hf.data import load_prompts
    from em_hf.evaluation.confidence import sample_answers
    from em_hf.evaluation.diagnose import describe, diagnose
    from em_hf.generation.mixin import STORED
    from em_hf.models import load_model

    prompts = load_prompts(
        options["dataset"],
        config=options["dataset_config"],
        split=options["split"],
        prompt_column=options["prompt_column"],
        answer_column=options["answer_column"],
        limit=options["limit"],
    )
    if prompts.answers is None:
        raise ValueError(f"{options['dataset']} has no answers: name their column with --answer-column")
    model, tokenizer = load_model(
        options["model"],
        revision=options["revision"],
        dtype=options["dtype"],
        device=options["device"],
        trust_remote_code=options["trust_remote_code"],
    )
    stored = getattr(model.generation_config, STORED, None) or {}
    base = {**stored, **given, "method": "logit_optimization"}
    with tqdm(total=len(prompts), unit="problem", disable=None, file=sys.stderr) as bar:
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
            chat_template=not options["no_chat_template"],
            on_progress=lambda done: bar.update(done - bar.n),
        )
    found = diagnose(samples, seed=options["seed"])
    if options["output"] is not None:
        facts = {"dataset": options["dataset"], "split": options["split"], "seed": options["seed"]}
        options["output"].write_text(json.dumps({**facts, **found.to_dict()}, indent=1) + "\n", encoding="utf-8")
    print_json(found.to_dict()) if options["as_json"] else click.echo(describe(found))
