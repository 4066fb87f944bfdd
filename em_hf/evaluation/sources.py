"""Where a task's problems come from: the Hub, or a local copy of the same rows. Called by the task files."""

import os
import re
from pathlib import Path
from typing import Any

from em_hf.answers import extract_answer
from em_hf.messages import one_line
from em_hf.tables import read_objects

DATA_DIR = "EM_HF_DATA_DIR"
_FLOAT_OF_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")


def load(
    *,
    problem: str,
    answer: str | None = None,
    solution: str | None = None,
    keep: list[str] | None = None,
    hub: str | None = None,
    config: str | None = None,
    splits: dict[str, str] | None = None,
    hub_files: list[str] | None = None,
    files: dict[str, str | list[str]] | None = None,
    data_dir: str | None = None,
    **_: Any,
) -> Any:
    """Return a `DatasetDict` whose rows have `problem`, and `answer` and `solution` if there are any, all text.

    The arguments are the `metadata` of a task file, which lm-eval passes on; other keys are for the file's readers.

    Args:
        problem, answer, solution: Jinja templates over a row's columns. Of an answer with `####` or `\\boxed{}`, only
            the marked part is kept, and "142.0" becomes "142".
        keep: columns to keep unchanged.
        hub, config: id and configuration of the dataset on the Hub.
        splits: the splits to load, test and perhaps train, mapped to their names on the Hub.
        hub_files: names of JSONL files on the Hub, for a dataset that otherwise loads only by running its code.
        files: the files of the local copy, for each split.
        data_dir: their folder; if None, the environment variable EM_HF_DATA_DIR. Without either, the Hub is used. A
            split other than test whose file is missing there is empty: only few-shot examples and tuning need it.

    Raises:
        OSError: a file does not exist, or the Hub cannot be reached.
        ValueError: a file cannot be read.
    """
    from datasets import Dataset, DatasetDict

    made = {}
    for split in splits or {"test": "test"}:
        if split != "test" and missing_files(split, files, data_dir):
            made[split] = Dataset.from_list([])
            continue
        rows = rows_from(
            split, hub=hub, config=config, splits=splits, hub_files=hub_files, files=files, data_dir=data_dir
        )
        made[split] = Dataset.from_list(_normal(rows, problem, answer, solution, keep or []))
    return DatasetDict(made)


def rows_from(
    split: str,
    *,
    hub: str | None = None,
    config: str | None = None,
    splits: dict[str, str] | None = None,
    hub_files: list[str] | None = None,
    files: dict[str, str | list[str]] | None = None,
    data_dir: str | None = None,
    **_: Any,
) -> list[dict[str, Any]]:
    """Return the unchanged rows of a split, from the local copy or the Hub; the arguments are those of `load`."""
    folder = _folder(data_dir)
    if folder and files and split in files:
        return _from_files(folder, _files(files, split))
    if hub is None:
        raise OSError(f"the task is not on the Hub: give the folder of {', '.join(_files(files, split))} as --data-dir")
    return _from_hub(hub, config, (splits or {}).get(split, split), hub_files, ", ".join(_files(files, split)))


def missing_files(split: str, files: dict[str, str | list[str]] | None, data_dir: str | None = None) -> str:
    """Return the names of a split's files that the folder of local copies lacks; empty if there is no folder."""
    folder = _folder(data_dir)
    return ", ".join(name for name in _files(files, split) if folder and not (folder / name).is_file())


def pocket(*, limit: int = 500, level: str = "plain", **_: Any) -> Any:
    """Return pocket problems of a level: test problems, validation problems to tune on, training ones as examples."""
    from datasets import Dataset, DatasetDict

    from em_hf.pocket import problems

    def rows(split: str, n: int) -> Any:
        return Dataset.from_list([{**row, "problem": row["prompt"]} for row in problems(split, n, 0, level=level)])

    return DatasetDict(
        {"test": rows("test", limit), "validation": rows("validation", limit), "train": rows("train", 100)}
    )


def _folder(data_dir: str | None) -> Path | None:
    folder = data_dir or os.environ.get(DATA_DIR)
    return Path(folder) if folder else None


def _files(files: dict[str, str | list[str]] | None, split: str) -> list[str]:
    found = (files or {}).get(split, [])
    return [found] if isinstance(found, str) else found


def _from_files(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        if not (folder / name).is_file():
            raise OSError(f"there is no {name} in {folder}: put it there, or leave out --data-dir to ask the Hub")
        rows += read_objects(folder / name)
    return rows


def _from_hub(
    hub: str, config: str | None, split: str, hub_files: list[str] | None, files: str
) -> list[dict[str, Any]]:
    import datasets

    try:
        if hub_files:
            places = [f"hf://datasets/{hub}/{name}" for name in hub_files]
            return list(datasets.load_dataset("json", data_files=places, split="train"))
        return list(datasets.load_dataset(hub, config, split=split))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        local = f", or give the folder of {files} as --data-dir" if files else ""
        raise OSError(
            f"the dataset {hub} cannot be loaded from the Hub ({one_line(error)}): go online{local}"
        ) from error


def _normal(
    rows: list[dict[str, Any]], problem: str, answer: str | None, solution: str | None, keep: list[str]
) -> list[dict[str, Any]]:
    from lm_eval.utils import env  # its Jinja, with its filters

    templates = {"problem": problem, "answer": answer, "solution": solution or ""}
    fields = {name: env.from_string(text) for name, text in templates.items() if text is not None}
    made = []
    for row in rows:
        texts = {name: field.render(**row).strip() for name, field in fields.items()}
        if "answer" in texts:
            texts["answer"] = _answer(texts["answer"])
        made.append({**{name: row[name] for name in keep}, **texts})
    return made


def _answer(text: str) -> str:
    text = extract_answer(text) or text
    whole = _FLOAT_OF_WHOLE.fullmatch(text)
    return whole[1] if whole else text
