"""The files of a Hub repository, made from a run folder: what goes in, what is cleaned, and what never does."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import RepoCard

from em_hf import __version__
from em_hf.hub import custom_generate
from em_hf.hub.card import hub_base, model_card, recipe_card
from em_hf.hub.evals import eval_result_files
from em_hf.hub.plot import entropy_plot
from em_hf.hub.redact import absolute_paths, command_without_paths, is_hub_id, refuse_tokens, without_paths
from em_hf.hub.runs import Run, unfinished

MARK = "em_hf.json"

# A list of what may go, so that a checkpoint, an optimizer state, a cache or a .env cannot slip in.
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")
# Where libraries note down the place a model or a tokenizer was loaded from.
_ORIGINS = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file")


@dataclass(frozen=True)
class Repository:
    """What a repository will hold.

    Attributes:
        files: path in the repository -> the file to copy, or the content itself.
        sizes: path in the repository -> bytes.
        card: the card, which is also `README.md` in `files`.
    """

    files: dict[str, Path | bytes]
    sizes: dict[str, int]
    card: RepoCard


def plan_repository(
    run: Run, *, weights: Path | None = None, repo_id: str | None = None, license: str | None = None
) -> Repository:
    """Everything that a repository of `run` holds; nothing is written.

    Args:
        weights: a folder with the whole model, where `run` holds an adapter that was merged.
        repo_id: OWNER/NAME on the Hub, for the card's examples.
        license: the base model's license, as the Hub names it.

    Raises:
        ValueError: the run has not finished, lacks a part, or holds something that must not be published.
    """
    if run.status != "finished":
        raise ValueError(f"only a finished run can be pushed: {unfinished(run)}")
    source = weights or run.folder
    files: dict[str, Path | bytes] = {name: source / name for name in _weight_files(source)}
    files.update({name: _without_origins(source / name, run) for name in _config_files(source)})
    files["generation_config.json"] = _generation_config(source, run)
    tokenizer = [name for name in _TOKENIZER if (run.folder / name).is_file()]
    if not tokenizer:
        raise ValueError(f"{run.folder} has no tokenizer; the run folder is damaged, train again")
    for name in tokenizer:
        path = run.folder / name
        files[name] = _without_origins(path, run) if name.endswith("_config.json") else path
    trace = _entropy_trace(run)
    if trace:
        files["entropy.jsonl"] = trace
    plot = entropy_plot(run)
    if plot:
        files["entropy.png"] = plot
    files[custom_generate.PATH] = custom_generate.recipe().encode()
    files[custom_generate.REQUIREMENTS_PATH] = custom_generate.REQUIREMENTS.encode()
    files.update(eval_result_files(run))
    card = model_card(run, files=files, repo_id=repo_id, license=license)
    files["README.md"] = f"{card}\n".encode()
    files[MARK] = _provenance(run, files=sorted([*files, MARK]))
    _refuse_private(files)
    return make_repository(files, card)


@dataclass(frozen=True)
class Recipe:
    """What is pushed where a run is not: the decoding alone, for any model's `custom_generate=`."""

    name: str = "entropy-min"


def plan_recipe(*, repo_id: str | None = None) -> Repository:
    """A repository with `custom_generate/` and its card; nothing is written."""
    files: dict[str, Path | bytes] = {custom_generate.PATH: custom_generate.recipe().encode()}
    files[custom_generate.REQUIREMENTS_PATH] = custom_generate.REQUIREMENTS.encode()
    card = recipe_card(repo_id=repo_id)
    files["README.md"] = f"{card}\n".encode()
    files[MARK] = _json({"em_hf": __version__, "recipe": True, "files": sorted([*files, MARK])})
    return make_repository(files, card)


def make_repository(files: dict[str, Path | bytes], card: RepoCard) -> Repository:
    """Sorted, and with the sizes."""
    files = dict(sorted(files.items()))
    sizes = {path: len(src) if isinstance(src, bytes) else src.stat().st_size for path, src in files.items()}
    return Repository(files=files, sizes=sizes, card=card)


def merge_adapter(run: Run, into: Path) -> None:
    """Write the whole model of an adapter's run, its LoRA weights added to the base model's, to the folder `into`.

    Raises:
        ValueError: the run holds a whole model already.
        OSError: the base model cannot be found or read.
    """
    if not run.is_adapter:
        raise ValueError(f"{run.folder} holds a whole model already, so there is nothing to merge: leave --merge out")
    from em_hf.models import load_model

    model, _ = load_model(str(run.folder), device="cpu", dtype="auto")
    model.merge_and_unload().save_pretrained(into)


def _weight_files(folder: Path) -> list[str]:
    """The safetensors files of the model or adapter in `folder`, each checked to be whole."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        names = [index.name, *shards]
    else:
        name = "adapter_model.safetensors" if (folder / "adapter_config.json").is_file() else "model.safetensors"
        names = shards = [name]
    from safetensors import SafetensorError, safe_open

    for name in shards:
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}; the run folder is damaged, train again")
        try:
            with safe_open(folder / name, framework="np"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{folder / name} is not a whole safetensors file ({error}); train again") from error
    return names


def _config_files(folder: Path) -> list[str]:
    adapter = (folder / "adapter_config.json").is_file()
    needed = "adapter_config.json" if adapter else "config.json"
    if not (folder / needed).is_file():
        raise ValueError(f"{folder} has no {needed}; the run folder is damaged, train again")
    return [needed]


def _without_origins(path: Path, run: Run) -> Path | bytes:
    """A library's JSON file without the local places it was loaded from; the path itself where there are none."""
    config = _read(path)
    clean = {key: value for key, value in config.items() if key not in _ORIGINS or is_hub_id(str(value))}
    if path.name == "adapter_config.json":
        clean.update(_adapter_base(config, run))
    _check_remote_code(clean, path)
    found = absolute_paths(clean)
    if found:
        where, value = found[0]
        raise ValueError(f"{path} holds the absolute path {value} ({where}), which is not to be published: take it out")
    return path if clean == config else _json(clean)


def _adapter_base(config: dict[str, Any], run: Run) -> dict[str, Any]:
    """The adapter's base model by its Hub id: without one nobody else could load it."""
    stored = str(config.get("base_model_name_or_path") or "")
    base = hub_base(run) or (stored if is_hub_id(stored) else None)
    if base is None:
        raise ValueError(
            f"the adapter in {run.folder} needs its base model, and {run.facts.get('base_model')} is not on the Hub; "
            "push the two as one model with --merge"
        )
    return {"base_model_name_or_path": base}


def _check_remote_code(config: dict[str, Any], path: Path) -> None:
    """Custom code may be named where it lies on the Hub; a copy of it is not published unread."""
    for reference in (config.get("auto_map") or {}).values():
        for name in reference if isinstance(reference, list) else [reference]:
            if name and not ("--" in name and is_hub_id(name.split("--")[0])):
                raise ValueError(
                    f"{path} uses code of its own ({name}), which em-hf does not publish: read it, then upload the "
                    "run folder with `hf upload`, or train from the same model on the Hub, whose code is only named"
                )


def _generation_config(folder: Path, run: Run) -> bytes | Path:
    """The generation settings with EM-INF's among them.

    transformers drops custom settings of a config that says it was made from a model's, so that flag goes.
    """
    path = folder / "generation_config.json"
    stored = _read(path) if path.is_file() else {}
    config = {key: value for key, value in stored.items() if key not in ("_from_model_config", *_ORIGINS)}
    settings = run.facts.get("entropy_min")
    if settings and "entropy_min_config" not in config:
        config["entropy_min_config"] = settings
    return path if path.is_file() and config == stored else _json(config)


def _entropy_trace(run: Run) -> bytes:
    """One line a step: step, entropy (nats), loss and length, of the steps that have an entropy."""
    keys = ("step", "entropy", "loss", "completion_length")
    steps = [{key: step[key] for key in keys if key in step} for step in run.log if step.get("entropy") is not None]
    return "".join(json.dumps(step) + "\n" for step in steps).encode()


def _provenance(run: Run, *, files: list[str]) -> bytes:
    """`em_hf.json`: how the model came about. It names the repository's files, so that a later push knows its own."""
    facts = {key: value for key, value in run.facts.items() if key != "status"}
    if isinstance(facts.get("command"), str):
        facts["command"] = command_without_paths(facts["command"])
    log = {"steps": len(run.log), "first": run.log[0], "last": run.log[-1]} if run.log else None
    record = {**facts, "log": log, "results": run.results, "files": files}
    return _json(without_paths({key: value for key, value in record.items() if value is not None}))


def _refuse_private(files: dict[str, Path | bytes]) -> None:
    """A last look at every text: no token goes out, whichever way it came in."""
    for name, source in files.items():
        if name.endswith((".json", ".jsonl", ".md", ".jinja", ".txt")) and name not in _VOCABULARIES:
            content = source if isinstance(source, bytes) else source.read_bytes()
            refuse_tokens(name, content.decode("utf-8", errors="replace"))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); the run folder is damaged, train again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold an object, not {type(value).__name__}; the run folder is damaged")
    return value


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
