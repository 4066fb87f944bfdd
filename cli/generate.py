"""`em-hf generate`: one prompt, with and without EM-INF, from the same random numbers."""

from typing import TYPE_CHECKING, Any

import click

from .common import config_option, model_options, note, print_json, quiet_libraries

if TYPE_CHECKING:
    from em_hf.compare.side_by_side import Comparison, Decoded

BARS = " ▁▂▃▄▅▆▇█"
FULL_BAR_NATS = 3.0
METHODS = ("logit-optimization", "adaptive-temperature")


def entropy_min_options(command: Any) -> Any:
    """The fields of EntropyMinConfig as options; one that is not given leaves what is stored with the model."""
    options = (
        click.option(
            "--method", type=click.Choice(["logit-optimization", "adaptive-temperature"]), help="EM-INF method."
        ),
        click.option("--threshold", type=float, help="Entropy in nats under which a step is left alone."),
        click.option("--n-grad-steps", type=int, help="Gradient steps a token."),
        click.option("--learning-rate", type=float, help="Step size on the logits."),
        click.option("--kl-weight", type=float, help="Weight of the pull to the original distribution."),
        click.option("--optimizer", type=click.Choice(["adam", "sgd"]), help="adam as in the public code, or sgd."),
        click.option("--target-ratio", type=float, help="Adaptive temperature: share of the entropy to aim at."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("generate", epilog='Example: em-hf generate "A farmer has 12 cows and buys 7 more." --n-grad-steps 10')
@click.argument("prompt", required=False)
@model_options
@entropy_min_options
@click.option("--max-new-tokens", type=click.IntRange(1), default=128, show_default=True, help="Tokens at most.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--top-k", type=click.IntRange(0), default=0, show_default=True, help="0: no limit.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--no-chat-template", is_flag=True, help="Give the model the prompt as it is.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(prompt: str | None, **options: Any) -> None:
    """Decode PROMPT with and without EM-INF, from the same random numbers, with the entropy of each token.

    Without a PROMPT, one of the pocket reasoner's test problems is taken.
    """
    settings = {
        name: options[name]
        for name in ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer", "target_ratio")
        if options[name] is not None
    }
    if options["method"]:
        settings["method"] = options["method"].replace("-", "_")
    quiet_libraries()
    from em_hf.compare.side_by_side import compare_decoding
    from em_hf.generation.config import EntropyMinConfig
    from em_hf.generation.mixin import STORED
    from em_hf.models import context_length, encode_prompts, load_model
    from em_hf.pocket import problems

    try:
        EntropyMinConfig.from_dict(settings)
    except ValueError as error:
        raise click.UsageError(str(error).replace("EntropyMinConfig: ", "")) from error
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
        tokenizer, [prompt], chat_template=not options["no_chat_template"], limit=length - 1 if length else None
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
