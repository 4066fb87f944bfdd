"""Turn a run into a repository in a folder: what is included, what is cleaned, and what is refused."""

import ast
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import RepoCard

from em_hf import __version__
from em_hf.hub.card import RECIPE_FILE, hub_base, may_be_on_hub, model_card, recipe_card
from em_hf.hub.folders import link, recover, temporary_folder, write_whole
from em_hf.hub.loading import check_loads, weight_files
from em_hf.hub.record_files import entropy_plot, entropy_trace, eval_results, provenance
from em_hf.hub.redact import (
    SENTENCEPIECE,
    VOCABULARIES,
    may_be_hub_id,
    refuse_private,
    refuse_private_file,
)
from em_hf.runs import (
    DIAGNOSIS_FILE,
    EVALUATION_FILE,
    LOG_FILE,
    RESULTS_FILE,
    RUN_FILE,
    Run,
    read_run,
    to_json,
    unfinished,
)

MARK = "em_hf.json"

# An allowlist, so that a checkpoint, an optimizer state, a cache or a .env cannot slip in.
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    *VOCABULARIES,
    *SENTENCEPIECE,
)
# Keys under which libraries record where a model or a tokenizer was loaded from.
_ORIGINS = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file")

# transformers reads one plain `name>=version` per line and nothing else.
RECIPE_REQUIREMENTS = "torch>=2.6\ntransformers>=5.19\n"
_RECIPE_MODULES = ("em_hf.generation.config", "em_hf.generation.minimize", "em_hf.hub.custom_generate")


@dataclass(frozen=True)
class Recipe:
    """The decoding alone, for any model's `custom_generate=`, to push in place of a run."""

    name: str = "entropy-min"


@dataclass(frozen=True)
class Repository:
    """A repository in a folder.

    Attributes:
        folder: where its files are; a repository that is only staged links to large files.
        sizes: path in the repository -> bytes.
        card: the card, which is also its README.md.
    """

    folder: Path
    sizes: dict[str, int]
    card: RepoCard


def source_of(run: Run | Recipe | str | Path) -> Run | Recipe:
    """Return what is to be pushed: `run` itself, or the run in that folder."""
    return run if isinstance(run, Run | Recipe) else read_run(run)


@contextmanager
def staged(
    source: Run | Recipe, *, merge: bool = False, repo_id: str | None = None, license: str | None = None
) -> Iterator[Repository]:
    """Stage the repository of `source`, checked, in a temporary folder that lasts as long as the context.

    Args:
        merge: merge a LoRA adapter into its base model.
        repo_id: OWNER/NAME on the Hub, for the card's examples.
        license: the base model's license, by its Hub identifier.

    Raises:
        ValueError: the run has not finished, lacks a part, does not load, or holds something private.
    """
    with temporary_folder() as folder:
        if isinstance(source, Recipe):
            files: dict[str, Path | bytes] = {**_recipe_files()}
            card = recipe_card(repo_id=repo_id)
            yield stage(folder / "repository", files, card, mark={"recipe": True})
            return
        if source.status != "finished":
            raise ValueError(f"only a finished run can be pushed: {unfinished(source)}")
        _refuse_private_records(source)
        weights = merge_adapter(source, folder / "merged") if merge else source.folder
        files = _model_files(source, weights)
        card = model_card(source, files=files, repo_id=repo_id, license=license)
        repository = stage(folder / "repository", files, card, mark=provenance(source))
        check_loads(repository.folder, source)
        yield repository


def stage(folder: Path, files: dict[str, Path | bytes], card: RepoCard, *, mark: dict[str, Any]) -> Repository:
    """Write a repository to the new `folder`: its files, the card, and the mark that identifies it as em-hf's.

    Raises:
        ValueError: a file holds a secret or an absolute path; the message names the file and the field.
    """
    files = {**files, "README.md": f"{card}\n".encode()}
    files[MARK] = _json({"em_hf": __version__, **mark, "files": sorted([*files, MARK])})
    for path, source in sorted(files.items()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        else:
            link(source.resolve(), target)
        refuse_private_file(path, target)
    return Repository(folder, {path: (folder / path).stat().st_size for path in sorted(files)}, card)


def write_repository(
    run: Run | Recipe | str | Path, folder: str | Path, *, overwrite: bool = False, merge: bool = False
) -> Repository:
    """Write the complete Hub repository of `run` to `folder`.

    It is built beside `folder` and moved into place, so that a failure leaves the old content; what a killed write
    left is repaired first.

    Args:
        run: a run, or its folder; or `Recipe()` for the decoding alone.
        overwrite: replace `folder` if it is a repository that em-hf wrote; any other folder is never replaced.
        merge: merge a LoRA adapter into its base model and write the whole model.

    Raises:
        ValueError: the run cannot be pushed (see `staged`), or `folder` holds something else.
        OSError: writing failed; nothing is left half-written.
    """
    source = source_of(run)
    folder = Path(folder).resolve()
    recover(folder, mark=MARK)
    check_target(source, folder, overwrite=overwrite)
    with staged(source, merge=merge) as repository:
        write_whole(folder, repository.folder, last=MARK)
    return Repository(folder, repository.sizes, repository.card)


def check_target(source: Run | Recipe, folder: Path, *, overwrite: bool) -> None:
    """Raise ValueError if `folder` must not be written to."""
    run = source.folder.resolve() if isinstance(source, Run) else None
    if run is not None and (run.is_relative_to(folder) or folder.is_relative_to(run)):
        raise ValueError(f"{folder} and the run {run} overlap; name a folder outside the run")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder")
    files = {path.name for path in folder.iterdir()}
    refuse_foreign(str(folder), files, way_out="name another folder")
    if files and not overwrite:
        raise ValueError(f"{folder} exists; replace it with --overwrite, or name another folder")


def refuse_foreign(where: str, files: Collection[str], *, way_out: str) -> None:
    """Raise ValueError if `files`, in a folder or on the Hub, were not put there by em-hf."""
    others = sorted(set(files) - {".gitattributes", ".gitignore", "LICENSE", "README.md"})
    if others and MARK not in files:
        raise ValueError(f"{where} exists and em-hf did not write it ({others[0]}, but no {MARK}); {way_out}")


def merge_adapter(run: Run, into: Path) -> Path:
    """Write the whole model of an adapter's run, LoRA weights merged into the base model's, to the folder `into`.

    Raises:
        ValueError: the run holds a whole model already.
        OSError: the base model cannot be found or read.
    """
    if not run.is_adapter:
        raise ValueError(f"{run.folder} holds a whole model already, so there is nothing to merge: leave --merge out")
    from em_hf.models import load_model

    model: Any = load_model(str(run.folder), device="cpu", dtype="auto")[0]  # a PeftModel
    model.merge_and_unload().save_pretrained(into)
    return into


def custom_generate_text() -> str:
    """Return the text of `custom_generate/generate.py`: config.py, minimize.py and the entry point, concatenated.

    The files are complete except for their imports of each other; the other imports are at the top. Made from source
    text: nothing is imported or run.
    """
    plain, named, bodies = set[str](), dict[str, set[str]](), []
    for module in _RECIPE_MODULES:
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None
        lines = Path(spec.origin).read_text(encoding="utf-8").splitlines()
        gone: set[int] = set()
        for node in ast.parse("\n".join(lines)).body:
            if isinstance(node, ast.Import):
                plain |= {ast.unparse(node)}
            elif isinstance(node, ast.ImportFrom):
                if not str(node.module).startswith("em_hf"):
                    named.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
            elif lines[node.lineno - 1].startswith('"""'):  # the module's docstring becomes a comment
                for number in range(node.lineno - 1, node.end_lineno or 0):
                    lines[number] = f"# {lines[number]}".replace('"""', "").rstrip()
                continue
            else:
                continue
            gone |= set(range(node.lineno - 1, node.end_lineno or 0))
        text = "\n".join(line for number, line in enumerate(lines) if number not in gone).strip()
        text = re.sub(r'\n\n +Example:\n\n.*?(?=\n +""")', "", text, flags=re.DOTALL)  # it imports em_hf
        bodies.append(re.sub(r"\n{4,}", "\n\n\n", f"# --- {module.replace('.', '/')}.py ---\n\n{text}"))
    imports = {*plain, *(f"from {module} import {', '.join(sorted(names))}" for module, names in named.items())}
    third = {line for line in imports if line.split()[1].split(".")[0] in ("torch", "transformers")}
    order = [sorted(group, key=lambda line: (line.startswith("from"), line)) for group in (imports - third, third)]
    head = "\n\n".join("\n".join(group) for group in order)
    return "\n\n\n".join([f"{_RECIPE_HEADER}\n\n{head}", *bodies]) + "\n"


_RECIPE_HEADER = f'''"""EM-INF, entropy minimization while a transformers model decodes, made from em-hf {__version__}.

    model.generate(**inputs, custom_generate=REPOSITORY, trust_remote_code=True, entropy_min=True, do_sample=True)

`entropy_min` is True (the settings stored with the model, else the defaults), False, a dict of settings, or a list of
these with one entry per prompt. Apache License 2.0. Paper: https://arxiv.org/abs/2505.15134
"""'''


def _recipe_files() -> dict[str, bytes]:
    return {
        RECIPE_FILE: custom_generate_text().encode(),
        "custom_generate/requirements.txt": RECIPE_REQUIREMENTS.encode(),
    }


def _model_files(run: Run, weights: Path) -> dict[str, Path | bytes]:
    """Return everything but the card and the mark; `weights` is the run's folder or that of its merged model."""
    files: dict[str, Path | bytes] = {name: _inside(weights, name) for name in weight_files(weights)}
    config = "adapter_config.json" if (weights / "adapter_config.json").is_file() else "config.json"
    if not (weights / config).is_file():
        raise ValueError(f"{weights} has no {config}; the run folder is damaged, train again")
    files[config] = _without_origins(_inside(weights, config), run)
    files["generation_config.json"] = _generation_config(weights, run)
    tokenizer = [name for name in _TOKENIZER if (run.folder / name).is_file()]
    if not tokenizer:
        raise ValueError(f"{run.folder} has no tokenizer; the run folder is damaged, train again")
    # Chat templates with a name, such as tool_use.
    for path in sorted((run.folder / "additional_chat_templates").glob("*.jinja")):
        tokenizer.append(f"{path.parent.name}/{path.name}")
    for name in tokenizer:
        path = _inside(run.folder, name)
        files[name] = _without_origins(path, run) if name.endswith("_config.json") else path
    if trace := entropy_trace(run):
        files["entropy.jsonl"] = trace
    if plot := entropy_plot(run):
        files["entropy.png"] = plot
    return {**files, **_recipe_files(), **eval_results(run)}


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file in `folder`; raise ValueError if it is a link out of the folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is a link out of the run folder, to what is not the run's: put the file itself there")
    return path


def _without_origins(path: Path, run: Run) -> Path | bytes:
    """Return a library's JSON file without the local paths it was loaded from, or `path` if there are none."""
    config = _read(path)
    base = hub_base(run)
    clean = {key: value for key, value in config.items() if key not in _ORIGINS or value == base}
    if path.name == "adapter_config.json":
        clean |= _adapter_base(run)
    _check_remote_code(clean, path)
    return path if clean == config else _json(clean)


def _adapter_base(run: Run) -> dict[str, Any]:
    """Return the adapter's base model by its Hub id and commit; without them nobody else could load the adapter."""
    base = hub_base(run)
    if base is None:
        known, way_out = "", ""
        if may_be_on_hub(run):
            known, way_out = "known to be ", f"; or, if it is there, put its commit into {RUN_FILE} as base_revision"
        raise ValueError(
            f"the adapter in {run.folder} needs its base model, and {run.facts.base_model} is not {known}on the Hub; "
            f"push the two as one model with --merge{way_out}"
        )
    return {"base_model_name_or_path": base, "revision": run.facts.base_revision}


def _check_remote_code(config: dict[str, Any], path: Path) -> None:
    """Raise ValueError if the config names custom code that is not on the Hub: no copy of it is published unread."""
    named = config.get("auto_map") or {}
    if not isinstance(named, dict):
        raise ValueError(f"{path}: auto_map must be an object, not {type(named).__name__}; the run folder is damaged")
    for reference in named.values():
        for name in reference if isinstance(reference, list) else [reference]:
            # transformers puts a repository before the code of Hub models only, not before a local folder's.
            repository, dashes, _ = str(name).partition("--")
            if name and not (dashes and "/" in repository and may_be_hub_id(repository)):
                raise ValueError(
                    f"{path} uses code of its own ({name}), which em-hf does not publish: read it, then upload the "
                    "run folder with `hf upload`, or train from the same model on the Hub, whose code is only named"
                )


def _generation_config(folder: Path, run: Run) -> bytes | Path:
    """Return the generation settings, including EM-INF's.

    transformers drops custom settings from a config flagged as made from a model's, so the flag is removed.
    """
    path = _inside(folder, "generation_config.json")
    stored = _read(path) if path.is_file() else {}
    config = {key: value for key, value in stored.items() if key not in ("_from_model_config", *_ORIGINS)}
    settings = run.facts.entropy_min
    if settings and "entropy_min_config" not in config:
        config["entropy_min_config"] = settings
    return path if path.is_file() and config == stored else _json(config)


def _refuse_private_records(run: Run) -> None:
    """Raise ValueError for a secret in the run's records, naming the record; their paths are shortened instead."""
    for path in (run.folder / DIAGNOSIS_FILE, *run.folder.glob(f"*/{EVALUATION_FILE}")):
        _inside(run.folder, str(path.relative_to(run.folder)))
    for name, record in ((RUN_FILE, run.facts), (LOG_FILE, run.log), (RESULTS_FILE, run.results)):
        _inside(run.folder, name)
        refuse_private(name, to_json(record), paths=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); the run folder is damaged, train again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold an object, not {type(value).__name__}; the run folder is damaged")
    return value


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
