"""The model card of a run: `model_cards/template.md` filled with measured facts; missing facts are left out."""

import shlex
from collections.abc import Collection
from dataclasses import asdict
from importlib import resources
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from em_hf.generation.config import EntropyMinConfig
from em_hf.hub.card_results import benchmark_table, eval_results, finding, known, results, samples_shown, settings_table
from em_hf.hub.redact import is_hub_id, may_be_hub_id, without_paths
from em_hf.methods import METHODS, unused_settings
from em_hf.runs import Run, diagnosis, read_json
from em_hf.settings import MISLED_NAME, POCKET_NAME, at_level
from em_hf.tables import SUFFIXES

# Path of EM-INF in a repository, for users without em_hf.
RECIPE_FILE = "custom_generate/generate.py"
POCKETS = {
    POCKET_NAME: "the pocket reasoner (the small word-problem model that comes with em-hf)",
    MISLED_NAME: 'the misled pocket model (the small word-problem model of em-hf that reads "fewer" as "more")',
}
_DATA_FILES = (*SUFFIXES, ".gz")
_KINDS = {
    "em-ft": "entropy minimization fine-tuning (EM-FT)",
    "em-rl-sequence": "entropy minimization by reinforcement learning (EM-RL-sequence)",
    "em-rl-token": "entropy minimization by reinforcement learning (EM-RL-token)",
    "sft": "supervised fine-tuning",
}
# Settings that the card shows elsewhere, or that concern this machine and not the model.
_TOLD = (
    "method model revision dataset dataset_config split level prompt_column answer_column entropy_min seed lora device "
    "output"
).split()
_OF_ADAPTIVE_TEMPERATURE = ("target_ratio", "tmin", "tmax", "tol", "max_iter")
_OF_GRADIENT_STEPS = ("n_grad_steps", "learning_rate", "kl_weight", "optimizer")


def model_card(
    run: Run, *, files: Collection[str], repo_id: str | None = None, license: str | None = None
) -> ModelCard:
    """Return the card of `run` for a repository that holds `files`.

    Args:
        files: Paths in the repository; the card mentions only what is there.
        repo_id: OWNER/NAME on the Hub; without it the examples load the folder that contains them.
        license: License of the base model, by its Hub identifier. The pocket models' license is known.
    """
    facts = run.facts
    method = facts.method or "entropy minimization"
    prompt = _example_prompt(run)
    found = diagnosis(run.folder)
    return ModelCard.from_template(
        _front_matter(run, files=files, license=license),
        template_str=resources.files("em_hf.model_cards").joinpath("template.md").read_text(encoding="utf-8"),
        title=_title(run),
        repo_id=repo_id,
        is_adapter=_is_adapter(files),
        lora=facts.lora,
        token_mean=facts.settings.get("loss_reduction") == "token_mean",
        pocket=facts.base_model in POCKETS,
        base=_base_in_words(run),
        base_id=hub_base(run),
        method=method,
        method_name=_KINDS.get(method, facts.method_title or method),
        trained_on=f"on labeled {facts.labels}" if facts.labels else "on prompts alone: no label was used",
        labels=facts.labels,
        beta=facts.settings.get("beta"),
        objective=facts.objective,
        loop_of=facts.loop,
        source=facts.source,
        finding=finding(run),
        results=results(run),
        samples=samples_shown(run),
        benchmarks=benchmark_table(run),
        diagnosis=found.sentence if found else None,
        prompt=prompt,
        shell_prompt=shlex.quote(prompt),
        chat=_has_chat_template(run),
        max_new_tokens=(run.results.sampling if run.results else {}).get("max_new_tokens") or 128,
        custom_generate=RECIPE_FILE in files,
        entropy_min=settings_table(_applied_entropy_min(facts.entropy_min)),
        training=_training(run),
        plot="entropy.png" in files,
        trace="entropy.jsonl" in files,
        record="em_hf.json" in files or RECIPE_FILE in files,
        settings=settings_table(_applied(run)),
        versions=", ".join(f"{library} {version}" for library, version in _versions(run).items()),
    )


def recipe_card(*, repo_id: str | None = None) -> ModelCard:
    """Return the card of a repository that holds `custom_generate/` and no model."""
    data = ModelCardData(
        library_name="transformers",
        license="apache-2.0",
        pipeline_tag="text-generation",
        tags=["em-hf", "entropy-minimization", "custom_generate"],
    )
    return ModelCard.from_template(
        data,
        template_str=resources.files("em_hf.model_cards").joinpath("recipe.md").read_text(encoding="utf-8"),
        name=repo_id.split("/")[1] if repo_id else "Entropy minimization while decoding",
        repo_id=repo_id,
        default=EntropyMinConfig().to_dict(),
    )


def hub_base(run: Run) -> str | None:
    """Return the id of the base model, if the record proves that it is on the Hub."""
    base = run.facts.base_model
    return base if base and base not in POCKETS and is_hub_id(base, run.facts.base_revision) else None


def may_be_on_hub(run: Run) -> bool:
    """Return whether the base model has a Hub id or is a local folder of that form; em-hf 0.1 recorded no commit."""
    base = run.facts.base_model
    return bool(base) and base not in POCKETS and may_be_hub_id(str(base)) and hub_base(run) is None


def hub_dataset(run: Run) -> str | None:
    """Return the id of the dataset, if it is on the Hub and not a file."""
    name = run.facts.dataset.name if run.facts.dataset else None
    # Any other name of this form was read from the Hub: training takes no folder.
    on_hub = name and "/" in name and may_be_hub_id(name) and not name.lower().endswith(_DATA_FILES)
    return name if on_hub else None


# --- metadata ---------------------------------------------------------------------------------------------------


def _is_adapter(files: Collection[str]) -> bool:
    return "adapter_config.json" in files


def _front_matter(run: Run, *, files: Collection[str], license: str | None) -> ModelCardData:
    facts, base, dataset = run.facts, hub_base(run), hub_dataset(run)
    pocket = facts.base_model in POCKETS
    tags = ["em-hf", "entropy-minimization"]
    tags += [facts.method] if facts.method else []
    tags += ["lora"] if facts.lora else []
    tags += ["custom_generate"] if RECIPE_FILE in files else []
    relation: dict[str, Any] = {"base_model_relation": "adapter" if _is_adapter(files) else "finetune"} if base else {}
    name = at_level(without_paths(facts.dataset.name), facts.dataset.level) if facts.dataset else None
    measured = eval_results(run, dataset=name, hub_dataset=dataset) if name else []
    return ModelCardData(
        base_model=base,
        datasets=[dataset] if dataset else None,
        language="en" if pocket else None,
        library_name="peft" if _is_adapter(files) else "transformers",
        license=license or ("apache-2.0" if pocket else None),
        pipeline_tag="text-generation",
        tags=tags,
        **relation,
        model_name=_title(run) if measured else None,
        eval_results=measured or None,
    )


# --- what it is, and what was measured --------------------------------------------------------------------------


def _title(run: Run) -> str:
    """Return the card's title: the base model and the training method."""
    facts = run.facts
    base = {POCKET_NAME: "Pocket reasoner", MISLED_NAME: "Misled pocket model"}.get(facts.base_model or "")
    base = base or str(without_paths(facts.base_model or run.name)).rstrip("/").split("/")[-1]
    method = METHODS[facts.method].title if facts.method in METHODS else facts.method_title or facts.method
    return f"{base} trained with {method or 'entropy minimization'}"


def _base_in_words(run: Run) -> str:
    base, revision = run.facts.base_model, run.facts.base_revision
    if base in POCKETS:
        return POCKETS[base]
    if on_hub := hub_base(run):
        return f"[{on_hub}](https://huggingface.co/{on_hub}) at revision `{revision}`"
    if may_be_on_hub(run):
        return f"a model that is not known to be on the Hub (`{base}`)"
    return f"a model in a local folder (`{without_paths(base)}`)" if base else "a model that was not recorded"


# --- how it was made --------------------------------------------------------------------------------------------


def _dataset_in_words(run: Run) -> str | None:
    dataset, on_hub = run.facts.dataset, hub_dataset(run)
    if dataset is None or not dataset.name:
        return None
    link = f"[{on_hub}](https://huggingface.co/datasets/{on_hub})"
    shown = link if on_hub else f"`{without_paths(dataset.name)}`"
    said_of = known(asdict(dataset))
    details = [f"{dataset.n} prompts"] if "n" in said_of else []
    for key in ("split", "level", "prompt_column", "fingerprint"):
        said = key.removeprefix("prompt_")
        details += [f"{said} `{str(said_of[key])[:24]}`"] if key in said_of else []
    return f"Prompts: {shown}" + (f" ({', '.join(details)})" if details else "")


def _training(run: Run) -> list[str]:
    """Return the recorded facts about the training itself, one per line."""
    facts, log = run.facts, run.log
    prompts = _dataset_in_words(run)
    lines = [prompts] if prompts else []
    lines += [f"Steps: {facts.steps_done}"] if facts.steps_done else []
    entropies = [line.entropy for line in log if line.entropy is not None]
    if len(entropies) > 1:
        lines.append(
            f"Mean token entropy of the sampled outputs: {entropies[0]:.3f} nats at the first step, "
            f"{entropies[-1]:.3f} at the last"
        )
    tokens = [line.tokens for line in log if line.tokens is not None]
    if log and len(tokens) == len(log):
        lines.append(f"Sampled tokens: {sum(tokens):.0f}")
    if log and log[-1].seconds is not None:  # since the first step began
        lines.append(f"Time: {log[-1].seconds:.0f} s")
    compute = facts.compute
    if compute is not None and compute.flops:
        lines.append(
            f"Compute: {compute.flops:.2e} FLOPs by the rule 6PD for training and 2PD for sampling and for the "
            f"reference model (P = {compute.parameters:,} parameters, D = {compute.tokens_trained:,} tokens)"
        )
    if compute is not None and compute.peak_memory_bytes:
        lines.append(f"Peak memory: {compute.peak_memory_bytes / 2**30:.1f} GiB")
    guard = facts.guard
    if guard is not None:
        kept = f"; the weights are those after step {guard.best_step}" if guard.best_step is not None else ""
        stopped = "stopped a collapse" if guard.collapsed else "stopped early"
        said = f"{stopped} at step {guard.step} ({guard.why}){kept}" if guard.step is not None else "saw none"
        lines.append(f"Collapse guard: {said}")
    lines += [f"Seed: {facts.seed}"] if facts.seed is not None else []
    return lines


def _applied(run: Run) -> dict[str, Any]:
    """Return the settings that affected this run: no rank without an adapter, and nothing that was off."""
    facts, settings = run.facts, without_paths(run.facts.settings)
    off = {*_TOLD, *(unused_settings(facts.method) if facts.method and facts.method in METHODS else ())}
    off |= set() if facts.lora else {"lora_rank"}
    off |= set() if settings.get("vllm") else {"vllm_server"}
    if not settings.get("probe_problems", 1):
        off |= {"probe_problems", "probe_every", "guard", "early_stopping"}
    off |= set() if settings.get("beta") else {"beta"}
    off |= set() if _has_chat_template(run) else {"chat_template"}
    on = {key: value for key, value in known(settings).items() if value is not False and key not in off}
    return {key: value for key, value in on.items() if not isinstance(value, dict)}


def _applied_entropy_min(settings: dict[str, Any] | None) -> dict[str, Any]:
    adaptive = (settings or {}).get("method") == "adaptive_temperature"
    off = _OF_GRADIENT_STEPS if adaptive else _OF_ADAPTIVE_TEMPERATURE
    return {key: value for key, value in (settings or {}).items() if key not in off}


def _example_prompt(run: Run) -> str:
    """Return an example prompt that suits the model."""
    if run.facts.base_model not in POCKETS:
        return "Tom has 5 apples and buys 7 more. How many apples does he have?"
    from em_hf.pocket import problems

    return str(problems("test", 1, 0)[0]["prompt"])


def _has_chat_template(run: Run) -> bool:
    """Return whether prompts are put into the tokenizer's chat template, as in training."""
    if run.facts.settings.get("chat_template") is False:
        return False
    config = run.folder / "tokenizer_config.json"
    stored = read_json(config) if config.is_file() else {}
    in_config = isinstance(stored, dict) and bool(stored.get("chat_template"))
    return (run.folder / "chat_template.jinja").is_file() or in_config


def _versions(run: Run) -> dict[str, Any]:
    return known({"em-hf": run.facts.em_hf, **run.facts.versions})
