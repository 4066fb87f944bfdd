"""`em-hf generate`: one prompt, with and without EM-INF, from the same random numbers."""

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import DrawSettings, ModelSettings, setting

from .checks import check_device, check_model
from .common import load_libraries, note, print_json
from .options import (
    Command,
    config_option,
    entropy_min_options,
    entropy_min_settings,
    json_option,
    read_prompt,
    setting_options,
)

EXAMPLES = 8  # problems of the pocket reasoner among which one is taken where no prompt is given


@dataclass(frozen=True)
class GenerateOptions:
    """What `em-hf generate` decodes, and how much of it."""

    file: Path | None = setting(None, help="Read the prompt from this file.", group="data", exists="file")
    chat_template: bool = setting(True, help="Put the prompt into the tokenizer's chat template.", group="data")
    max_new_tokens: int = setting(128, help="Longest completion, in tokens.", group="sampling", low=1)
    samples: int = setting(
        1,
        help="Draw this many pairs of completions, and count their final answers.",
        group="sampling",
        low=1,
        high=1024,
    )
    trace: bool = setting(False, help="Print a table of every token with its entropy, too.", group="output")


@click.command(
    "generate",
    cls=Command,
    first=("model", "file", "samples", "threshold", "n_grad_steps", "max_new_tokens", "temperature", "seed", "trace"),
    epilog='Example: em-hf generate "A farmer has 12 cows and buys 7 more." --n-grad-steps 10',
)
@click.argument("prompt", required=False)
@setting_options(ModelSettings)
@entropy_min_options
@setting_options(DrawSettings, "temperature", "top_k", "top_p")
@setting_options(GenerateOptions)
@config_option
@json_option
def command(prompt: str | None, **options: Any) -> None:
    """Decode PROMPT with and without EM-INF, from the same random numbers, and say where the two differ and why.

    PROMPT may be - for standard input. Without it, a test problem of the pocket reasoner is taken: the first on which
    the two differ.
    """
    settings = entropy_min_settings(options)
    prompt = read_prompt(prompt, options["file"])
    check_model(options["model"])
    check_device(options["device"])
    load_libraries(options["model"])
    from em_hf.generation.mixin import stored_settings
    from em_hf.models import context_length, encode_prompts, load_model

    model, tokenizer = load_model(
        options["model"],
        revision=options["revision"],
        dtype=options["dtype"],
        device=options["device"],
        trust_remote_code=options["trust_remote_code"],
    )
    stored = stored_settings(model) or EntropyMinConfig()
    config = EntropyMinConfig.from_dict({**stored.to_dict(), **settings})
    answer = None
    if prompt is None:
        prompt, answer = _example(model, tokenizer, config, options)
    length, room = context_length(model), options["max_new_tokens"]
    inputs = encode_prompts(
        tokenizer, [prompt], chat_template=options["chat_template"], limit=length - 1 if length else None
    )
    if length and inputs["input_ids"].shape[1] + room > length:
        room = length - inputs["input_ids"].shape[1]
        note(f"The model's context of {length} tokens leaves room for {room} new ones.")
    used = {name: options[name] for name in ("seed", "temperature", "top_k", "top_p")} | {"max_new_tokens": room}
    facts = {"prompt": prompt, "sampling": used, "entropy_min": config.to_dict()}
    if not options["as_json"]:
        click.echo(f"Prompt: {prompt}\n")
    show = _samples if options["samples"] > 1 else _pair
    show(model, tokenizer, inputs, config, answer, used, options, facts)
    if not options["as_json"]:
        note(
            f"Sampled at temperature {used['temperature']:g}, top_k {used['top_k']}, top_p {used['top_p']:g}, "
            f"seed {used['seed']}; EM-INF: {_summary(config)}."
        )


def _example(model: Any, tokenizer: Any, config: EntropyMinConfig, options: dict[str, Any]) -> tuple[str, str]:
    """Return the problem to decode where no prompt is given, and its answer."""
    from em_hf.compare.side_by_side import first_divergent
    from em_hf.models import POCKET_NAMES
    from em_hf.pocket import problems

    rows = problems("test", EXAMPLES, 0)
    if options["model"] not in POCKET_NAMES:  # only a small model decodes all of them in a moment
        return rows[0]["prompt"], rows[0]["answer"]
    prompts = [row["prompt"] for row in rows]
    room = options["max_new_tokens"]
    chosen = rows[first_divergent(model, tokenizer, prompts, config, seed=options["seed"], max_new_tokens=room)]
    return chosen["prompt"], chosen["answer"]


def _pair(
    model: Any,
    tokenizer: Any,
    inputs: Any,
    config: EntropyMinConfig,
    answer: str | None,
    used: dict[str, Any],
    options: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Decode one pair, live where stdout is a terminal, and show it."""
    from rich.console import Console

    from em_hf.compare.side_by_side import collect, decode_steps

    from .decoding_view import show_live, summary, trace_table

    console = Console(quiet=options["as_json"])
    with closing(decode_steps(model, tokenizer, inputs, [None, config], **used)) as steps:
        done = list(steps) if options["as_json"] else show_live(steps, console)
    result = collect(done, seed=used["seed"])
    if options["as_json"]:
        print_json({**facts, **result.to_dict()})
        return
    if not console.is_terminal:
        click.echo(f"Plain:  {result.plain.text.strip()}\n\nEM-INF: {result.em.text.strip()}")
    click.echo(f"\n{summary(result)}")
    if used["temperature"] != 1 and result.divergence is not None:
        click.echo("Probabilities are of the model's own distribution, at temperature 1.")
    if options["trace"]:
        click.echo(f"\n{trace_table(result)}")


def _samples(
    model: Any,
    tokenizer: Any,
    inputs: Any,
    config: EntropyMinConfig,
    answer: str | None,
    used: dict[str, Any],
    options: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Draw many pairs, and show how often each answer was given."""
    from dataclasses import asdict

    from tqdm import tqdm

    from em_hf.compare.repeat import repeat

    from .decoding_view import samples_table

    result = None
    with tqdm(total=options["samples"], unit="sample", disable=None, file=sys.stderr) as bar:
        for result in repeat(model, tokenizer, inputs, config, n=options["samples"], answer=answer, **used):
            bar.update(result.n - bar.n)
    assert result is not None  # there is at least one sample
    if options["as_json"]:
        print_json({**facts, "answer": answer, "samples": asdict(result)})
        return
    click.echo(samples_table(result, answer))


def _summary(config: EntropyMinConfig) -> str:
    if config.method == "adaptive_temperature":
        return f"adaptive temperature, target ratio {config.target_ratio:g}, threshold {config.threshold:g} nats"
    return (
        f"{config.n_grad_steps} {config.optimizer} steps of {config.learning_rate:g}, threshold {config.threshold:g} "
        f"nats, KL weight {config.kl_weight:g}"
    )
