"""Prompts, and their answers where they are known: from the pocket problems, a file, or a dataset on the Hub."""

import csv
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from em_hf.answers import extract_answer
from em_hf.settings import did_you_mean

PROMPT_COLUMNS = ("prompt", "question", "problem", "input")
ANSWER_COLUMNS = ("answer", "solution", "target")
SOLUTION_COLUMNS = ("solution", "answer", "target")
POCKET_DATASET, FEWER_DATASET = "pocket", "pocket-fewer"
POCKET_PROBLEMS = 2000

_FLOAT_OF_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")


@dataclass
class Prompts:
    """Prompts from one place, `answers` and `solutions` beside them where they are known, and where they came from.

    `fingerprint` is the SHA-256, in hex, of the prompts written as one JSON list; the labels are no part of it.
    """

    prompts: list[str]
    answers: list[str] | None
    name: str
    split: str
    prompt_column: str
    answer_column: str | None
    fingerprint: str = ""
    solutions: list[str] | None = None

    def __post_init__(self) -> None:
        self.fingerprint = self.fingerprint or hashlib.sha256(json.dumps(self.prompts).encode("ascii")).hexdigest()

    def __len__(self) -> int:
        return len(self.prompts)

    def head(self, n: int) -> "Prompts":
        """The first `n`, or all where there are fewer."""
        if n < 1:
            raise ValueError(f"n is {n!r}, but must be at least 1")
        return self._part(slice(0, n))

    def split_off(self, n: int) -> tuple["Prompts", "Prompts"]:
        """The others, and the last `n` as a held-out set."""
        if not 1 <= n < len(self):
            raise ValueError(f"n is {n!r}, but must be between 1 and {len(self) - 1}: {self.name} has {len(self)} rows")
        return self._part(slice(0, -n)), self._part(slice(-n, None))

    def _part(self, rows: slice) -> "Prompts":
        answers = None if self.answers is None else self.answers[rows]
        solutions = None if self.solutions is None else self.solutions[rows]
        return replace(self, prompts=self.prompts[rows], answers=answers, solutions=solutions, fingerprint="")


@dataclass
class _Table:
    """What every source gives: the names of its columns (none where there are no rows to know them from), and a way
    to read one of them."""

    columns: Sequence[str]
    read: Callable[[str], list[Any]]


def load_prompts(
    name: str,
    *,
    config: str | None = None,
    split: str = "train",
    prompt_column: str | None = None,
    answer_column: str | None = None,
    limit: int | None = None,
    with_answers: bool = True,
    with_solutions: bool = False,
) -> Prompts:
    r"""Prompts and answers from `name`.

    Args:
        name: `pocket` (the pocket reasoner's problems, 2,000 unless `limit` says otherwise), `pocket-fewer` (those of
            the kind that pocket-misled gets wrong), a file (.jsonl, .json,
            .csv, .parquet; .txt or .text with a prompt a line), or the id of a dataset on the Hub.
        config: the configuration of a Hub dataset, where it has several.
        split: of the pocket problems or a Hub dataset; a file is a single split, whatever this is.
        prompt_column: by default the first there is of prompt, question, problem and input.
        answer_column: by default the first there is of answer, solution and target, and none where there is none of
            them. Answers become strings ("3" for 3.0); of a text with `####` or `\boxed{}` the extracted answer.
        limit: the most rows to take, from the first on.
        with_answers: False reads no label at all, not even where `answer_column` is given.
        with_solutions: keep the whole texts of the labels too, from `answer_column`, else from the first column there
            is of solution, answer and target.

    Raises:
        ValueError: an argument, a column or a row that will not do, or nothing to read in it.
        OSError: the file, or the dataset on the Hub, is not there or cannot be read.
        ImportError: a Parquet file or a Hub dataset without `datasets` installed.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit!r}, but must be at least 1")
    table = _open(name, config, split, limit)
    empty = f"{name} is empty: give a dataset with at least one row"
    if not table.columns:
        raise ValueError(empty)
    prompt_column = _column("prompt_column", prompt_column, PROMPT_COLUMNS, table.columns, name)
    if prompt_column is None:
        raise ValueError(
            f"{name} has none of the prompt columns {', '.join(PROMPT_COLUMNS)}; it has {_listed(table.columns)}: "
            "name one with --prompt-column"
        )
    solution_column = None
    if with_solutions:
        solution_column = _column("answer_column", answer_column, SOLUTION_COLUMNS, table.columns, name)
        if solution_column is None:
            raise ValueError(
                f"{name} has none of the solution columns {', '.join(SOLUTION_COLUMNS)}; it has "
                f"{_listed(table.columns)}: name one with --answer-column"
            )
    if with_answers:
        answer_column = _column("answer_column", answer_column, ANSWER_COLUMNS, table.columns, name)
    else:
        answer_column = None
    prompts = [_prompt(value, i, prompt_column, name) for i, value in enumerate(table.read(prompt_column), 1)]
    if not prompts:
        raise ValueError(empty)
    answers = None
    if answer_column is not None:
        answers = [_answer(value, i, answer_column, name) for i, value in enumerate(table.read(answer_column), 1)]
    solutions = None
    if solution_column is not None:
        solutions = [_solution(v, i, solution_column, name) for i, v in enumerate(table.read(solution_column), 1)]
    return Prompts(prompts, answers, name, split, prompt_column, answer_column, solutions=solutions)


def _open(name: str, config: str | None, split: str, limit: int | None) -> _Table:
    if name in (POCKET_DATASET, FEWER_DATASET):
        from em_hf.pocket import problems
        from em_hf.pocket.misread import fewer_problems

        made = problems if name == POCKET_DATASET else fewer_problems
        return _from_rows([dict(row) for row in made(split, limit or POCKET_PROBLEMS, 0)])
    path = local_file(name)
    if path is None:
        return _from_hub(name, config, split, limit)
    try:
        return _READERS[path.suffix.lower()](path, limit)
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply to be read: write one flat object per row") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error


def local_file(name: str) -> Path | None:
    """Return the file that a dataset's name stands for; None for the pocket problems and for datasets on the Hub.

    Raises:
        OSError: The name looks like a file's, and there is none.
        ValueError: It is a folder, something else that is no file, or a file of an unknown kind.
    """
    if name in (POCKET_DATASET, FEWER_DATASET):
        return None
    if not name.strip():
        raise ValueError("dataset is empty: give a file, or the id of a dataset on the Hub")
    try:
        path = Path(name).expanduser()
        exists, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a name too long, a null character
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise OSError(f"there is no file {name[:200]} ({why})") from error
    suffix = path.suffix.lower()
    if is_folder:
        raise ValueError(f"{name} is a folder: name a file in it, such as {path / 'problems.jsonl'}")
    if suffix not in _READERS and not exists and not _looks_like_path(name):
        return None
    if not exists:
        raise OSError(f"there is no file {name}{_near_file(path)}")
    if not is_file:
        raise ValueError(f"{name} is a pipe or a device, but prompts are read from a file")
    if suffix not in _READERS:
        raise ValueError(f"{name} ends in {suffix or 'no suffix'}, but a file of prompts ends in {', '.join(_READERS)}")
    return path


def _near_file(path: Path) -> str:
    try:
        return did_you_mean(path.name, [p.name for p in path.parent.iterdir() if p.suffix.lower() in _READERS])
    except OSError:
        return ""


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _from_rows(rows: list[dict[str, Any]]) -> _Table:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return _Table(columns, lambda column: [row.get(column) for row in rows])


def _read_jsonl(path: Path, limit: int | None) -> _Table:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if len(rows) == limit:
                break
            if line.strip():
                rows.append(_json_object(line, f"{path}, line {number}"))
    return _from_rows(rows)


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}): every line must be one JSON object") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where} holds {type(row).__name__}, but every line must be one JSON object")
    return row


def _read_json(path: Path, limit: int | None) -> _Table:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); a file with an object a line is .jsonl") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f'{path} must hold a list of objects, such as [{{"prompt": …}}]; one a line is .jsonl')
    return _from_rows(rows[:limit])


def _read_csv(path: Path, limit: int | None) -> _Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="")
        try:
            rows = list(islice(reader, limit))
        except csv.Error as error:
            raise ValueError(f"{path} is not CSV after line {reader.line_num}: {error}") from error
    for number, row in enumerate(rows, 1):
        if "" in row and "" not in (reader.fieldnames or ()):
            raise ValueError(f"{path}, row {number} has more fields than the header: quote fields that hold commas")
    return _from_rows(rows)


def _read_text(path: Path, limit: int | None) -> _Table:
    with path.open(encoding="utf-8-sig") as file:
        lines = (line.strip() for line in file)
        return _from_rows([{"prompt": line} for line in islice(filter(None, lines), limit)])


def _read_parquet(path: Path, limit: int | None) -> _Table:
    datasets = _datasets(path)
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise ValueError(f"{path} is no Parquet file, whatever its name says: write it anew, or rename it")

    def stream(columns: list[str] | None) -> Any:
        # Streaming makes no copy in the cache, and reads no column that is not asked for.
        return datasets.load_dataset(
            "parquet", data_files=str(path), split="train", streaming=True, columns=columns, batch_size=1000
        )

    def read(column: str) -> list[Any]:
        return [row[column] for row in islice(stream([column]), limit)]

    try:
        return _Table(stream(None).column_names, read)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {_one_line(error)}") from error


_READERS: dict[str, Callable[[Path, int | None], _Table]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_text,
    ".text": _read_text,
}


def _from_hub(name: str, config: str | None, split: str, limit: int | None) -> _Table:
    datasets = _datasets(name)
    from huggingface_hub.errors import HTTPError

    try:
        found = datasets.load_dataset(name, config, split=split)
    except (ConnectionError, HTTPError) as error:
        raise OSError(
            f"{name} is neither a file here nor a cached dataset, and the Hub is out of reach "
            f"({_one_line(error)}): give a file, or go online"
        ) from error
    except OSError as error:
        raise OSError(
            f"{name} is neither a file here nor a dataset to load from the Hub: {_one_line(error)}"
        ) from error
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"the dataset {name} cannot be loaded: {_one_line(error)}") from error
    if limit is not None:
        found = found.select(range(min(limit, len(found))))
    return _Table(found.column_names, lambda column: list(found[column]))


def _datasets(name: object) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{name} needs the datasets library: pip install 'em-hf[train]'") from error
    return datasets


def _column(argument: str, asked: str | None, usual: Iterable[str], columns: Sequence[str], name: str) -> str | None:
    """The column asked for, which must be there; else the first usual one that is."""
    if asked is not None and asked not in columns:
        raise ValueError(f"{argument} is {asked!r}, but {name} has the columns {_listed(columns)}")
    return asked if asked is not None else next((column for column in usual if column in columns), None)


def _prompt(value: Any, row: int, column: str, name: str) -> str:
    if not isinstance(value, str):
        kind = "nothing" if value is None else type(value).__name__
        raise ValueError(f"{name}, row {row} holds {kind} in column {column!r}, but a prompt must be text")
    if not value.strip():
        raise ValueError(f"{name}, row {row} has an empty prompt in column {column!r}: fill it in, or drop the row")
    return value


def _answer(value: Any, row: int, column: str, name: str) -> str:
    parts = value if isinstance(value, list) else [value]
    texts = [_plain(part) for part in parts]
    if not texts or not all(texts):
        raise ValueError(f"{name}, row {row} has no answer in column {column!r}: fill it in, or drop the row")
    return ", ".join(text for text in texts if text)


def _solution(value: Any, row: int, column: str, name: str) -> str:
    text = "" if value is None else str(value).strip()
    if not text:
        raise ValueError(f"{name}, row {row} has no solution in column {column!r}: fill it in, or drop the row")
    return text


def _plain(value: Any) -> str | None:
    """One answer as a string, None for none: the extracted answer of a text that marks one, "3" for 3.0."""
    if isinstance(value, float):
        # Through the shortest decimal that gives this number: 0.1 stays "0.1", and 1e-7 gets no exponent.
        value = format(Decimal(repr(value)), "f") if math.isfinite(value) else ""
    text = "" if value is None else str(value)
    answer = (extract_answer(text) or text).strip()
    whole = _FLOAT_OF_WHOLE.fullmatch(answer)
    return (whole[1] if whole else answer) or None


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "no columns"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
