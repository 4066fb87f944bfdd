"""`em-hf generate`: one prompt, with and without EM-INF, from the same random numbers."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import DrawSettings, ModelSettings, setting

from .checks import check_device, check_model
from .common import load_libraries, note, print_json, while_decoding
from .config_file import config_option
from .options import (
    Command,
    entropy_min_options,
    entropy_min_settings,
    json_option,
    setting_options,
)

if TYPE_CHECKING:
    from em_hf.compare.side_by_side import Comparison, Decoded

BARS = " ▁▂▃▄▅▆▇█"
FULL_BAR_NATS = 3.0
GGUF_CONTEXT = 4096  # tokens of context for a GGUF file: a model's own may not fit into memory


@dataclass(frozen=True)
class GenerateOptions:
    """What `em-hf generate` decodes, and how much of it."""

    file: Path | None = setting(None, help="Read the prompt from this file.", group="data", exists="file")
    chat_template: bool = setting(True, help="Put the prompt into the tokenizer's chat template.", group="data")
    max_new_tokens: int = setting(128, help="Longest completion, in tokens.", group="sampling", low=1)


def read_prompt(prompt: str | None, file: Path | None) -> str | None:
    """Return the prompt given: as an argument, on standard input (`-`), or in a file; None where none is.

    Raises:
        click.UsageError: Two were given, or an empty one.
        ValueError: What was read is not UTF-8 text.
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
            text = data.decode("utf-8-sig").rstrip("\n")
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
    first=("model", "file", "threshold", "n_grad_steps", "max_new_tokens", "temperature", "seed", "as_json"),
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
    """Decode PROMPT with and without EM-INF, from the same random numbers, with the entropy of each token.

    PROMPT may be - for standard input. Without it, one of the pocket reasoner's test problems is taken.
    """
    settings = entropy_min_settings(options)
    prompt = read_prompt(prompt, options["file"])
    decode = _decode_gguf if options["model"].endswith(".gguf") else _decode
    with while_decoding(options["model"]):
        prompt, config, room, result = decode(prompt, settings, options)
    used = {name: options[name] for name in ("seed", "temperature", "top_k", "top_p")} | {"max_new_tokens": room}
    if options["as_json"]:
        print_json({"prompt": prompt, "sampling": used, "entropy_min": config.to_dict(), **result.to_dict()})
        return
    click.echo(f"Prompt: {prompt}\n")
    _show(result)
    note(
        f"Sampled at temperature {used['temperature']:g}, top_k {used['top_k']}, top_p {used['top_p']:g}, "
        f"seed {used['seed']}; EM-INF: {_summary(config)}."
    )


def _decode(prompt: str | None, settings: dict[str, Any], options: dict[str, Any]) -> tuple[str, Any, int, Any]:
    """Return the prompt, the settings, the most new tokens and the comparison of a transformers model."""
    check_model(options["model"])
    check_device(options["device"])
    load_libraries(options["model"])
    from em_hf.compare.side_by_side import compare_decoding
    from em_hf.generation.mixin import STORED
    from em_hf.models import context_length, encode_prompts, load_model
    from em_hf.pocket import problems

    prompt = prompt if prompt is not None else problems("test", 1, options["seed"])[0]["prompt"]
    model, tokenizer = load_model(
        options["model"],
        revision=options["revision"],
        dtype=options["dtype"],
        device=options["device"],
        trust_remote_code=options["trust_remote_code"],
    )
    config = EntropyMinConfig.from_dict({**(getattr(model.generation_config, STORED, None) or {}), **settings})
    length, room = context_length(model), options["max_new_tokens"]
    inputs = encode_prompts(
        tokenizer, [prompt], chat_template=options["chat_template"], limit=length - 1 if length else None
    )
    if length and inputs["input_ids"].shape[1] + room > length:
        room = length - inputs["input_ids"].shape[1]
        note(f"The model's context of {length} tokens leaves room for {room} new ones.")
    result = compare_decoding(
        model,
        tokenizer,
        inputs,
        config,
        seed=options["seed"],
        max_new_tokens=room,
        temperature=options["temperature"],
        top_k=options["top_k"],
        top_p=options["top_p"],
    )
    return prompt, config, room, result


def _decode_gguf(prompt: str | None, settings: dict[str, Any], options: dict[str, Any]) -> tuple[str, Any, int, Any]:
    """The same for a GGUF file, which llama.cpp decodes."""
    from em_hf.generation.llama_cpp import load_gguf

    llm = load_gguf(options["model"], n_ctx=GGUF_CONTEXT)
    from em_hf.compare.gguf import compare_gguf
    from em_hf.pocket import problems

    prompt = prompt if prompt is not None else problems("test", 1, options["seed"])[0]["prompt"]
    config, room = EntropyMinConfig.from_dict(settings), options["max_new_tokens"]
    sampling = {name: options[name] for name in ("seed", "temperature", "top_k", "top_p", "chat_template")}
    return prompt, config, room, compare_gguf(llm, prompt, config, max_new_tokens=room, **sampling)


def _summary(config: Any) -> str:
    if config.method == "adaptive_temperature":
        return f"adaptive temperature, target ratio {config.target_ratio:g}, threshold {config.threshold:g} nats"
    return (
        f"{config.n_grad_steps} {config.optimizer} steps of {config.learning_rate:g}, threshold {config.threshold:g} "
        f"nats, KL weight {config.kl_weight:g}"
    )


def _show(result: "Comparison") -> None:
    click.echo(f"Plain:  {result.plain.text.strip()}\n")
    click.echo(f"EM-INF: {result.em.text.strip()}\n")
    click.echo(f"{'':>5} {'plain':<26} {'nats':>5}    {'EM-INF':<26} {'nats':>5}    after")
    for i in range(max(len(result.plain.tokens), len(result.em.tokens))):
        mark = ">" if i == result.diverges_at else " "
        click.echo(f"{mark}{i:>4} {_cell(result.plain, i)}    {_cell(result.em, i)}{_after(result.em, i)}".rstrip())
    click.echo()
    for name, run in (("Plain", result.plain), ("EM-INF", result.em)):
        before = sum(run.entropy_before) / max(1, len(run.tokens))
        share = 100 * sum(run.adjusted) / max(1, len(run.tokens))
        click.echo(
            f"{name + ':':<8}{len(run.tokens)} tokens, {before:.2f} nats a token, {share:.0f}% of steps adjusted"
        )
    where = "nowhere: both are the same" if result.diverges_at is None else f"at token {result.diverges_at} (>)"
    click.echo(f"They part {where}.")


def _cell(run: "Decoded", i: int) -> str:
    """A token, its entropy and a bar of it (full at 3 nats)."""
    if i >= len(run.tokens):
        return " " * 34
    text = repr(run.tokens[i])
    text = text if len(text) <= 26 else text[:25] + "…"
    nats = run.entropy_before[i]
    bar = BARS[min(8, round(8 * nats / FULL_BAR_NATS))]
    return f"{text:<26} {nats:5.2f} {bar}"


def _after(run: "Decoded", i: int) -> str:
    return f" -> {run.entropy_after[i]:.2f}" if i < len(run.tokens) and run.adjusted[i] else ""
