"""`em-hf generate`: one prompt, with and without EM-INF, from the same random numbers."""

import io
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import DrawSettings, ModelSettings, is_gguf, setting

from .checks import check_device, check_gguf, check_model
from .common import load_chosen_model, load_libraries, note, note_defaults, print_json, while_decoding
from .config_file import config_option
from .options import (
    Command,
    entropy_min_options,
    entropy_min_settings,
    json_option,
    setting_options,
)

if TYPE_CHECKING:
    from em_hf.compare.side_by_side import Comparison

Item = TypeVar("Item")

EXAMPLES = 64  # problems of the pocket reasoner to choose an example from if no prompt is given
DRAW = ("seed", "temperature", "top_k", "top_p")
SMALL = 20_000_000  # parameters; models up to this size decode all examples in a moment


@dataclass(frozen=True)
class GenerateOptions:
    """Options for what `em-hf generate` decodes, and how much."""

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
    trace: bool = setting(False, help="Print a table of all tokens with their entropies, too.", group="output")


@dataclass(frozen=True)
class Decoding:
    """A loaded model with a prompt, its answer if known, and how to decode it."""

    model: Any
    tokenizer: Any
    prompt: str
    answer: str | None
    inputs: Any
    config: EntropyMinConfig
    draw: dict[str, Any]


def read_prompt(prompt: str | None, file: Path | None) -> str | None:
    """Return the prompt given as an argument, on standard input (`-`) or in a file, or None if there is none.

    Raises:
        click.UsageError: Two prompts were given, or an empty one.
        ValueError: The input is not UTF-8 text.
    """
    if prompt is not None and file is not None:
        raise click.UsageError("give PROMPT or --file, not both")
    if file is None and prompt != "-":
        text, where = prompt, "PROMPT"
    else:
        where = str(file) if file is not None else "standard input"
        if file is None and sys.stdin.isatty():
            click.echo("Type the prompt; end it with Ctrl-D on a line of its own.", err=True)
        data: bytes = file.read_bytes() if file is not None else sys.stdin.buffer.read()
        try:
            # Lines may end as Windows ends them.
            text = io.StringIO(data.decode("utf-8-sig"), newline=None).getvalue().rstrip("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    if text is not None and not text.strip():
        raise click.UsageError(f"{where} is empty: give some text, or no PROMPT at all for a problem of ours")
    if text is not None and "\0" in text:
        raise click.UsageError(f"{where} holds a null character, which no text has")
    return text


@click.command(
    "generate",
    cls=Command,
    first=(
        "model",
        "file",
        "samples",
        "threshold",
        "n_grad_steps",
        "max_new_tokens",
        "temperature",
        "seed",
        "trace",
        "as_json",
    ),
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

    PROMPT may be - for standard input. Without it, some of the pocket reasoner's test problems are decoded, and one is
    shown on which the two differ.
    """
    settings = entropy_min_settings(options)
    if options["trace"] and options["samples"] > 1:
        raise click.UsageError("--trace prints the tokens of one pair, not of --samples: leave one of them out")
    prompt = read_prompt(prompt, options["file"])
    check_model(options["model"], gguf=True)
    check_device(options["device"])
    show = _samples if options["samples"] > 1 else _pair
    if is_gguf(options["model"]):
        check_gguf(options["model"])
    load_libraries(options["model"])
    with while_decoding(options["model"]):
        show(prompt, settings, options)


def _load(prompt: str | None, settings: dict[str, Any], options: dict[str, Any]) -> Decoding:
    """Load the model and encode the prompt."""
    from em_hf.generation.mixin import settings_of_model, stored_settings
    from em_hf.models import context_length, encode_prompts

    if is_gguf(options["model"]):
        from em_hf.generation.gguf import load_gguf_model

        model: Any
        tokenizer: Any
        model, tokenizer = load_gguf_model(options["model"])
    else:
        model, tokenizer = load_chosen_model(options)
    note_defaults(stored_settings(model))
    config = settings_of_model(model, settings)
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
    draw = {name: options[name] for name in DRAW} | {"max_new_tokens": room}
    return Decoding(model, tokenizer, prompt, answer, inputs, config, draw)


def _example(model: Any, tokenizer: Any, config: EntropyMinConfig, options: dict[str, Any]) -> tuple[str, str]:
    """Return the problem to decode if no prompt is given, and its answer."""
    from em_hf.compare.side_by_side import choose_example
    from em_hf.pocket import problems as drawn

    problems = [(row["prompt"], row["answer"]) for row in drawn("test", EXAMPLES, 0)]
    if not 0 < model.num_parameters() <= SMALL:
        return problems[0]
    draw = {name: options[name] for name in (*DRAW, "max_new_tokens")}
    found = choose_example(model, tokenizer, problems, config, **draw)
    if any(found.right):
        counts = "plain decoding solves {} and EM-INF {}".format(*found.right)
        said = f"With seed {draw['seed']} for each, {counts} of {found.n} problems."
        note(said + (f" This is the first that only {found.only} solves." if found.only else ""))
    return problems[found.index]


def _pair(prompt: str | None, settings: dict[str, Any], options: dict[str, Any]) -> None:
    """Decode one pair, live if stdout is a terminal, and show it."""
    decoding = _load(prompt, settings, options)
    from rich.console import Console

    from em_hf.compare.side_by_side import collect, decode_steps

    from .decoding_view import is_live, show_live

    model, config, draw = decoding.model, decoding.config, decoding.draw
    live = is_live(console := Console()) and not options["as_json"]
    with closing(decode_steps(model, decoding.tokenizer, decoding.inputs, [None, config], **draw)) as decoded:
        steps = _begun(decoded, decoding.prompt, options)
        done = show_live(steps, console) if live else list(steps)
    result = collect(done, seed=options["seed"], answer=decoding.answer)
    _end(result, decoding.prompt, config, draw, options, shown=live)


def _begun(decoded: Iterator[Item], prompt: str, options: dict[str, Any]) -> Iterator[Item]:
    """Print the prompt and pass on what is decoded; a model that cannot decode fails before the prompt is printed."""
    first = list(islice(decoded, 1))
    if not options["as_json"]:
        click.echo(f"Prompt: {prompt}\n")
    return chain(first, decoded)


def _end(
    result: "Comparison",
    prompt: str,
    config: EntropyMinConfig,
    draw: dict[str, Any],
    options: dict[str, Any],
    *,
    shown: bool,
) -> None:
    """Print the result of a pair, with its texts unless they were already shown."""
    from .decoding_view import summary, trace_table

    if options["as_json"]:
        print_json({**_facts(prompt, config, draw), **result.to_dict()})
        return
    if not shown:
        click.echo(f"Plain:  {result.plain.text.strip()}\n\nEM-INF: {result.em.text.strip()}")
    click.echo(f"\n{summary(result)}")
    if draw["temperature"] != 1 and result.divergence is not None:
        click.echo("Probabilities are of the model's own distribution, at temperature 1.")
    if options["trace"]:
        click.echo(f"\n{trace_table(result)}")
    _settings_note(config, draw)


def _samples(prompt: str | None, settings: dict[str, Any], options: dict[str, Any]) -> None:
    """Draw many pairs, and show how often each answer was given."""
    decoding = _load(prompt, settings, options)
    from tqdm import tqdm

    from em_hf.compare.repeat import repeat

    from .decoding_view import samples_table

    what, n, answer = (decoding.model, decoding.tokenizer, decoding.inputs), options["samples"], decoding.answer
    drawn = _begun(repeat(*what, decoding.config, n=n, answer=answer, **decoding.draw), decoding.prompt, options)
    with tqdm(total=n, unit="sample", disable=None, file=sys.stderr) as bar:
        for result in filter(None, drawn):
            bar.update(result.n - bar.n)
    if options["as_json"]:
        facts = _facts(decoding.prompt, decoding.config, decoding.draw)
        print_json({**facts, "answer": answer, "samples": asdict(result)})
        return
    click.echo(samples_table(result, answer))
    _settings_note(decoding.config, decoding.draw)


def _facts(prompt: str, config: EntropyMinConfig, draw: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": prompt, "sampling": draw, "entropy_min": config.to_dict()}


def _settings_note(config: EntropyMinConfig, draw: dict[str, Any]) -> None:
    note(
        f"Sampled at temperature {draw['temperature']:g}, top_k {draw['top_k']}, top_p {draw['top_p']:g}, "
        f"seed {draw['seed']}; EM-INF: {_summary(config)}."
    )


def _summary(config: EntropyMinConfig) -> str:
    if config.method == "adaptive_temperature":
        return f"adaptive temperature, target ratio {config.target_ratio:g}, threshold {config.threshold:g} nats"
    return (
        f"{config.n_grad_steps} {config.optimizer} steps of {config.learning_rate:g}, threshold {config.threshold:g} "
        f"nats, KL weight {config.kl_weight:g}"
    )
