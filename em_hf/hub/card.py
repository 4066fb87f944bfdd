"""The model card of a run: `model_cards/template.md` filled from measured facts; a missing fact is left out."""

import json
import shlex
from collections.abc import Callable, Collection
from importlib import resources
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from em_hf.generation.config import EntropyMinConfig
from em_hf.hub.evals import benchmark_rows, diagnosis
from em_hf.hub.redact import is_hub_id, without_paths
from em_hf.hub.runs import Run, pocket_in_words

METHOD_NAMES = {
    "em-ft": "entropy minimization fine-tuning (EM-FT)",
    "em-rl-sequence": "entropy minimization by reinforcement learning (EM-RL-sequence)",
    "em-rl-token": "entropy minimization by reinforcement learning (EM-RL-token)",
    "sft": "supervised fine-tuning",
}

_DATA_FILES = (".jsonl", ".json", ".csv", ".parquet", ".txt", ".gz")


def model_card(
    run: Run, *, files: Collection[str], repo_id: str | None = None, license: str | None = None
) -> ModelCard:
    """The card of `run` for a repository that holds `files`.

    Args:
        files: the repository's paths; the card speaks only of what is there.
        repo_id: OWNER/NAME on the Hub; without it the examples load the folder they stand in.
        license: the base model's license, as the Hub names it. The pocket reasoner's is known.
    """
    facts = run.facts
    method = str(facts.get("method") or "entropy minimization")
    prompt = _example_prompt(run)
    return ModelCard.from_template(
        _front_matter(run, files=files, license=license),
        template_str=resources.files("em_hf.model_cards").joinpath("template.md").read_text(encoding="utf-8"),
        name=repo_id.split("/")[1] if repo_id else run.name,
        repo_id=repo_id,
        is_adapter=_is_adapter(files),
        lora=bool(facts.get("lora")),
        token_mean=_known(facts.get("settings")).get("loss_reduction") == "token_mean",
        pocket=bool(pocket_in_words(facts.get("base_model"))),
        base=_base_in_words(run),
        method=method,
        method_name=METHOD_NAMES.get(method, str(facts.get("method_title") or method)),
        trained_on=f"on labeled {facts['labels']}" if facts.get("labels") else "on prompts alone: no label was used",
        labels=facts.get("labels"),
        beta=_known(facts.get("settings")).get("beta"),
        objective=facts.get("objective"),
        loop_of=facts.get("loop"),
        source=facts.get("source"),
        results=_results(run),
        benchmarks=_table(("task", "strategy", "result (95% interval)", "measured on", "seed"), benchmark_rows(run)),
        diagnosis=(diagnosis(run) or {}).get("sentence"),
        prompt=prompt,
        shell_prompt=shlex.quote(prompt),
        chat=_has_chat_template(run),
        max_new_tokens=(_known(run.results).get("sampling") or {}).get("max_new_tokens") or 128,
        custom_generate="custom_generate/generate.py" in files,
        entropy_min=_settings_table(facts.get("entropy_min")),
        training=_training(run),
        plot="entropy.png" in files,
        trace="entropy.jsonl" in files,
        settings=_settings_table(_plain(without_paths(facts.get("settings")))),
        versions=", ".join(f"{library} {version}" for library, version in _versions(run).items()),
    )


def recipe_card(*, repo_id: str | None = None) -> ModelCard:
    """The card of a repository that holds `custom_generate/` and no model."""
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
    """The base model's id, where it is on the Hub."""
    base, revision = run.facts.get("base_model"), run.facts.get("base_revision")
    return base if isinstance(base, str) and not pocket_in_words(base) and is_hub_id(base, revision) else None


def hub_dataset(run: Run) -> str | None:
    """The dataset's id, where it is on the Hub and not a file."""
    name = _known(run.facts.get("dataset")).get("name")
    return name if isinstance(name, str) and is_hub_id(name) and not name.lower().endswith(_DATA_FILES) else None


def _is_adapter(files: Collection[str]) -> bool:
    return "adapter_config.json" in files


def _front_matter(run: Run, *, files: Collection[str], license: str | None) -> ModelCardData:
    pocket = pocket_in_words(run.facts.get("base_model"))
    base, dataset = hub_base(run), hub_dataset(run)
    tags = ["em-hf", "entropy-minimization"]
    tags += [str(run.facts["method"])] if run.facts.get("method") else []
    tags += ["lora"] if run.facts.get("lora") else []
    tags += ["custom_generate"] if "custom_generate/generate.py" in files else []
    relation = {"base_model_relation": "adapter" if _is_adapter(files) else "finetune"} if base else {}
    return ModelCardData(
        base_model=base,
        datasets=[dataset] if dataset else None,
        language="en" if pocket else None,
        library_name="peft" if _is_adapter(files) else "transformers",
        license=license or ("apache-2.0" if pocket else None),
        pipeline_tag="text-generation",
        tags=tags,
        **relation,
    )


def _base_in_words(run: Run) -> str:
    base, on_hub = run.facts.get("base_model"), hub_base(run)
    if pocket := pocket_in_words(base):
        return pocket
    if on_hub:
        revision = run.facts.get("base_revision")
        return f"[{on_hub}](https://huggingface.co/{on_hub})" + (f" at revision `{revision}`" if revision else "")
    return f"a model in a local folder (`{without_paths(base)}`)" if base else "a model that was not recorded"


def _dataset_in_words(run: Run) -> str | None:
    dataset, on_hub = _known(run.facts.get("dataset")), hub_dataset(run)
    if "name" not in dataset:
        return None
    link = f"[{on_hub}](https://huggingface.co/datasets/{on_hub})"
    shown = link if on_hub else f"`{without_paths(dataset['name'])}`"
    details = [f"{dataset['n']} prompts"] if "n" in dataset else []
    for key, said in (("split", "split"), ("prompt_column", "column"), ("fingerprint", "fingerprint")):
        details += [f"{said} `{str(dataset[key])[:24]}`"] if key in dataset else []
    return f"Prompts: {shown}" + (f" ({', '.join(details)})" if details else "")


def _training(run: Run) -> list[str]:
    """What the record says of the training itself, one fact a line."""
    facts, log = run.facts, run.log
    prompts = _dataset_in_words(run)
    lines = [prompts] if prompts else []
    lines += [f"Steps: {facts['steps_done']}"] if facts.get("steps_done") else []
    entropies = [step["entropy"] for step in log if step.get("entropy") is not None]
    if len(entropies) > 1:
        lines.append(
            f"Mean token entropy of the sampled outputs: {entropies[0]:.3f} nats at the first step, "
            f"{entropies[-1]:.3f} at the last"
        )
    if log and all(step.get("tokens") is not None for step in log):
        lines.append(f"Sampled tokens: {sum(step['tokens'] for step in log):.0f}")
    if log and log[-1].get("seconds") is not None:  # since the first step began
        lines.append(f"Time: {log[-1]['seconds']:.0f} s")
    compute = _known(facts.get("compute"))
    if compute.get("flops"):
        lines.append(
            f"Compute: {compute['flops']:.2e} FLOPs by the rule 6PD for training and 2PD for sampling and for the "
            f"reference model (P = {compute['parameters']:,} parameters, D = {compute['tokens_trained']:,} tokens)"
        )
    if compute.get("peak_memory_bytes"):
        lines.append(f"Peak memory: {compute['peak_memory_bytes'] / 2**30:.1f} GiB")
    guard = facts.get("guard")
    if guard:
        if guard.get("collapsed"):
            said = f"stopped a collapse at step {guard['step']} ({guard['why']})"
            said += (
                f"; the weights are those after step {guard['best_step']}" if guard.get("best_step") is not None else ""
            )
        elif guard.get("step") is not None:
            said = f"stopped early at step {guard['step']} ({guard['why']}); the weights are those after step "
            said += str(guard["best_step"])
        else:
            said = "saw none"
        lines.append(f"Collapse guard: {said}")
    lines += [f"Seed: {facts['seed']}"] if facts.get("seed") is not None else []
    return lines


def _results(run: Run) -> dict[str, Any] | None:
    measured = _known(run.results)
    rows = measured.get("rows") or []
    if not rows:
        return None
    columns: list[tuple[str, str, Callable[[dict[str, Any]], str]]] = [
        ("accuracy (95% interval)", "accuracy", _accuracy),
        ("token entropy (nats)", "entropy", lambda row: f"{row['entropy']:.3f}"),
        ("output length (tokens)", "completion_length", lambda row: f"{row['completion_length']:.1f}"),
        ("seconds", "seconds", lambda row: f"{row['seconds']:.1f}"),
    ]
    columns = [column for column in columns if any(row.get(column[1]) is not None for row in rows)]
    cells = [(row["name"], *("–" if row.get(key) is None else show(row) for _, key, show in columns)) for row in rows]
    options = _known(measured.get("sampling"))
    samples = options.pop("samples", None)
    sampling = [f"{key.replace('_', ' ')} {value}" for key, value in options.items()]
    note = f"Measured on {measured['n']} problems" if "n" in measured else "Measured"
    note += f", {samples} {'sample' if samples == 1 else 'samples'} of each" if samples else ""
    return {
        "table": _table(("", *(title for title, _, _ in columns)), cells),
        "rows": [row["name"] for row in rows],
        "has_entropy": any(row.get("entropy") is not None for row in rows),
        "note": note + (f", sampled with {', '.join(sampling)}." if sampling else " by sampling."),
    }


def _accuracy(row: dict[str, Any]) -> str:
    known = row.get("low") is not None and row.get("high") is not None
    interval = f" ({100 * row['low']:.1f} to {100 * row['high']:.1f})" if known else ""
    return f"{100 * row['accuracy']:.1f}%{interval}"


def _example_prompt(run: Run) -> str:
    """A prompt that the model can do something with."""
    if not pocket_in_words(run.facts.get("base_model")):
        return "Tom has 5 apples and buys 7 more. How many apples does he have?"
    from em_hf.pocket import problems

    return str(problems("test", 1, 0)[0]["prompt"])


def _has_chat_template(run: Run) -> bool:
    """Whether prompts go into the tokenizer's chat template, as they did in training."""
    if _known(run.facts.get("settings")).get("chat_template") is False:
        return False
    config = run.folder / "tokenizer_config.json"
    stored = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return (run.folder / "chat_template.jinja").is_file() or bool(stored.get("chat_template"))


def _known(values: Any) -> dict[str, Any]:
    """The entries of a dict that say something; nothing at all has none."""
    return {key: value for key, value in (values or {}).items() if value not in (None, "", {}, [])}


def _plain(settings: Any) -> dict[str, Any]:
    """Settings without nested ones: the decoding's have a table of their own."""
    return {key: value for key, value in _known(settings).items() if not isinstance(value, dict)}


def _versions(run: Run) -> dict[str, Any]:
    return _known({"em-hf": run.facts.get("em_hf"), **(run.facts.get("versions") or {})})


def _settings_table(settings: Any) -> str:
    return _table(("setting", "value"), [(f"`{key}`", value) for key, value in _known(settings).items()])


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """A Markdown table, or "" without rows. Bars and line breaks in cells are kept from splitting it."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) if rows else ""


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return " ".join(str(value).replace("|", "\\|").split())
