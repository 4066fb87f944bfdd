"""Prompts, and their answers where they are known: from the pocket problems, a file, or a dataset on the Hub."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from em_hf.answers import extract_answer
from em_hf.messages import did_you_mean, one_line
from em_hf.settings import PLAIN, POCKET_DATASET, POCKET_DATASETS, check_level
from em_hf.tables import SUFFIXES, Table, from_hub, from_rows, kind_of, point_writer, read_file

# A text, or chat messages with a role and a content each.
Prompt: TypeAlias = str | list[dict[str, Any]]
T = TypeVar("T")

PROMPT_COLUMNS = ("prompt", "question", "problem", "input")
ANSWER_COLUMNS = ("answer", "solution", "target")
SOLUTION_COLUMNS = ("solution", "answer", "target")
POCKET_PROBLEMS = 2000

_FLOAT_OF_WHOLE = re.compile(r"([+-]?[0-9]+)\.0+")
_ROLES = ("system", "developer", "user", "assistant", "tool")
_WHOLE_TEXT = 200  # characters; a longer label is a text that holds an answer, not an answer


@dataclass
class Prompts:
    """Prompts from one source, with `answers` and `solutions` if they are known, and where they came from.

    A prompt is a text or a list of chat messages. `fingerprint` is the SHA-256, in hex, of the prompts written as one
    JSON list; the labels are not part of it. `level` is None for problems that have no levels.
    """

    prompts: list[Prompt]
    answers: list[str] | None
    name: str
    split: str
    prompt_column: str
    answer_column: str | None
    fingerprint: str = ""
    solutions: list[str] | None = None
    level: str | None = None

    def __post_init__(self) -> None:
        self.fingerprint = self.fingerprint or hashlib.sha256(json.dumps(self.prompts).encode("ascii")).hexdigest()

    def __len__(self) -> int:
        return len(self.prompts)

    def head(self, n: int) -> "Prompts":
        """Return the first `n`, or all if there are fewer."""
        if n < 1:
            raise ValueError(f"n is {n!r}, but must be at least 1")
        return self._part(slice(0, n))

    def split_off(self, n: int) -> tuple["Prompts", "Prompts"]:
        """Return all but the last `n`, and the last `n` as a held-out set."""
        if not 1 <= n < len(self):
            raise ValueError(f"n is {n!r}, but must be between 1 and {len(self) - 1}: {self.name} has {len(self)} rows")
        return self._part(slice(0, -n)), self._part(slice(-n, None))

    def answered(self) -> "Prompts":
        """Return the rows that have an answer; all of them, without answers, if none has one."""
        if self.answers is None or not any(self.answers):
            return replace(self, answers=None)
        return self._part([i for i, answer in enumerate(self.answers) if answer])

    def _part(self, rows: slice | list[int]) -> "Prompts":
        def of(column: list[T]) -> list[T]:
            return column[rows] if isinstance(rows, slice) else [column[i] for i in rows]

        answers = None if self.answers is None else of(self.answers)
        solutions = None if self.solutions is None else of(self.solutions)
        return replace(self, prompts=of(self.prompts), answers=answers, solutions=solutions, fingerprint="")


def load_prompts(
    name: str,
    *,
    config: str | None = None,
    split: str = "train",
    level: str = PLAIN,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    limit: int | None = None,
    with_answers: bool = True,
    with_solutions: bool = False,
    keep_unanswered: bool = False,
) -> Prompts:
    r"""Load prompts and their answers from `name`.

    Args:
        name: `pocket` (the pocket reasoner's problems, 2,000 unless `limit` says otherwise), `pocket-fewer` (those of
            the kind that pocket-misled gets wrong), a file (.jsonl, .json, .csv, .tsv, .parquet; .txt or .text with
            one prompt per line; all but Parquet also compressed, as .jsonl.gz), or the id of a dataset on the Hub.
        config: the configuration of a Hub dataset, if it has several.
        split: of the pocket problems or a Hub dataset; a file is always a single split.
        level: "plain" or, of `pocket` alone, "hard".
        prompt_column: by default the first that exists of prompt, question, problem and input. `a.b` is entry b of the
            objects in column a. A prompt is a text, or a list of messages such as
            `{"role": "user", "content": "Hi"}`, which is kept as a list.
        answer_column: by default the first that exists of answer, solution and target, or none;
            `reward_model.ground_truth` reads nested objects. Answers become strings ("3" for 3.0); from a text with
            `####` or `\boxed{}` the answer is extracted.
        limit: the maximum number of rows, counted from the first.
        with_answers: if False, read no label at all, even if `answer_column` is given.
        with_solutions: also keep the full texts of the labels, from `answer_column`, else from the first column that
            exists of solution, answer and target.
        keep_unanswered: keep rows whose label is missing or cannot be read, with "" as their answer; see
            `Prompts.answered`.

    Raises:
        ValueError: an argument, a column or a row cannot be used, or there is nothing to read.
        OSError: the file, or the dataset on the Hub, does not exist or cannot be read.
        ImportError: a Parquet file or a Hub dataset without `datasets` installed.

    Example:
        >>> load_prompts("pocket", limit=3).answers is not None
        True
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit!r}, but must be at least 1")
    check_level(level, name)
    known = {*PROMPT_COLUMNS, *ANSWER_COLUMNS, *filter(None, (prompt_column, answer_column))}
    table = _open(name, config, split, level, limit, known)
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
    asked_for = answer_column is not None
    if with_answers:
        answer_column = _column("answer_column", answer_column, ANSWER_COLUMNS, table.columns, name)
    else:
        answer_column = None
    prompts = [_prompt(value, i, prompt_column, name) for i, value in enumerate(table.read(prompt_column), 1)]
    if not prompts:
        raise ValueError(empty)
    answers = None
    if answer_column is not None:
        values = table.read(answer_column)
        if not asked_for and values and all(isinstance(v, str) and _holds_no_answer(v) for v in values):
            answer_column = None  # texts without a marked answer: nothing to compare with
        else:
            written, refuse = _point_writer(table, answer_column, name), not keep_unanswered
            answers, unread = _answers(values, answer_column, name, written, refuse=refuse)
            if not any(answers):
                if asked_for and unread:
                    raise unread
                answers = answer_column = None
    solutions = None
    if solution_column is not None:
        solutions = [_solution(v, i, solution_column, name) for i, v in enumerate(table.read(solution_column), 1)]
    its_level = level if name == POCKET_DATASET else None
    return Prompts(prompts, answers, name, split, prompt_column, answer_column, solutions=solutions, level=its_level)


def _open(name: str, config: str | None, split: str, level: str, limit: int | None, known: Collection[str]) -> Table:
    if name in POCKET_DATASETS:
        from em_hf.pocket import problems
        from em_hf.pocket.misread import fewer_problems

        n = limit or POCKET_PROBLEMS
        made = problems(split, n, 0, level=level) if name == POCKET_DATASET else fewer_problems(split, n, 0)
        return from_rows([dict(row) for row in made])
    path = local_file(name)
    return from_hub(name, config, split, limit) if path is None else read_file(name, path, limit, known)


def local_file(name: str) -> Path | None:
    """Return the file that a dataset's name refers to, or None for the pocket problems and for datasets on the Hub.

    Raises:
        OSError: the name looks like a file's, but there is none.
        ValueError: it is a folder, something else that is not a file, or a file of an unknown format.
    """
    if name in POCKET_DATASETS:
        return None
    if not name.strip():
        raise ValueError("dataset is empty: give a file, or the id of a dataset on the Hub")
    try:
        path = Path(name).expanduser()
        exists, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a name too long, a null character
        why = one_line(error, 200).rstrip(".")
        raise OSError(f"there is no file {name[:200]!r} ({why})") from error
    if is_folder:
        raise ValueError(f"{name} is a folder: name a file in it, such as {path / 'problems.jsonl'}")
    if not (kind_of(path) or exists or _looks_like_path(name)):
        return None
    if not exists:
        raise OSError(f"there is no file {name}{_near_file(path)}")
    if not kind_of(path):
        raise ValueError(
            f"{name} ends in {''.join(path.suffixes[-2:]) or 'no suffix'}, but a file of prompts ends in "
            f"{', '.join(SUFFIXES)}, or in .jsonl.gz and the like"
        )
    if not is_file:
        raise ValueError(f"{name} is a pipe or a device, not a file: write its content to a file, and name that")
    return path


def _near_file(path: Path) -> str:
    try:
        return did_you_mean(path.name, [p.name for p in path.parent.iterdir() if kind_of(p)])
    except OSError:
        return ""


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _column(argument: str, asked: str | None, usual: Iterable[str], columns: Sequence[str], name: str) -> str | None:
    """Return the requested column or path into one, which must exist, else the first of the usual ones, if any."""
    if asked is not None and asked not in columns and asked.split(".")[0] not in columns:
        raise ValueError(f"{argument} is {asked!r}, but {name} has the columns {_listed(columns)}")
    return asked if asked is not None else next((column for column in usual if column in columns), None)


def _prompt(value: Any, row: int, column: str, name: str) -> Prompt:
    where = f"{name}, row {row}"
    if isinstance(value, list) and value:
        for message in value:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str) or "content" not in message:
                raise ValueError(
                    f"{where} holds a list in column {column!r} that is no chat: a message is an object such as "
                    '{"role": "user", "content": "Hi"}'
                )
            if message["role"] not in _ROLES:
                raise ValueError(
                    f"{where} has a message of role {message['role']!r}, but roles are {', '.join(_ROLES)}"
                )
            _whole(str(message["content"]), where, column)
        if not any(str(message["content"] or "").strip() for message in value):
            raise ValueError(f"{where} has an empty prompt in column {column!r}: fill it in, or drop the row")
        return [{key: entry for key, entry in message.items() if entry is not None} for message in value]
    if not isinstance(value, str):
        raise ValueError(
            f"{where} holds {_kind(value)} in column {column!r}, but a prompt must be text or a list of messages"
            f"{_paths(value, column, 'prompt')}"
        )
    if not value.strip():
        raise ValueError(f"{where} has an empty prompt in column {column!r}: fill it in, or drop the row")
    return _whole(value, where, column)


def _whole(text: str, where: str, column: str) -> str:
    """Return `text`, which must hold whole characters: a lone surrogate such as \\ud800 cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = f"\\u{ord(text[error.start]):04x}"
        raise ValueError(
            f"{where} holds half of a character, {code}, in column {column!r}: correct the text, or drop the row"
        ) from error
    return text


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def _paths(value: Any, column: str, what: str) -> str:
    """Return a hint for a column that holds objects: the paths into them."""
    if not isinstance(value, dict) or not value:
        return ""
    paths = ", ".join(f"{column}.{key}" for key in list(value)[:6])
    return f": name an entry of it with --{what}-column, one of {paths}"


def _point_writer(table: Table, column: str, name: str) -> Callable[[str], str]:
    if table.read_all is None:
        return str
    try:
        return point_writer([_marked(value) for value in table.read_all(column)], column)
    except ValueError as error:
        raise ValueError(f"{name}, {error}") from error


def _answers(
    values: Sequence[Any], column: str, name: str, written: Callable[[str], str], *, refuse: bool
) -> tuple[list[str], ValueError | None]:
    """Return the answers, "" for those that cannot be read, and the first error, which is raised if `refuse`."""
    answers, first = [], None
    for row, value in enumerate(values, 1):
        try:
            answers.append(_answer(value, row, column, name, written))
        except ValueError as error:
            if refuse:
                raise
            first = first or error
            answers.append("")
    return answers, first


def _answer(value: Any, row: int, column: str, name: str, written: Callable[[str], str]) -> str:
    where = f"{name}, row {row}"
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if not isinstance(part, str | int | float | Decimal | None):
            raise ValueError(
                f"{where} holds {_kind(part)} in column {column!r}, but an answer must be text or a number"
                f"{_paths(part, column, 'answer')}"
            )
        if isinstance(part, str) and _holds_no_answer(part):
            raise ValueError(
                f"{where} holds a whole text in column {column!r}, and no answer is marked in it by \\boxed{{}} or "
                "####: name the column of the answers with --answer-column"
            )
    texts = [_plain(part, written) for part in parts]
    if not texts or not all(texts):
        raise ValueError(f"{where} has no answer in column {column!r}: fill it in, or drop the row")
    return _whole(", ".join(text for text in texts if text), where, column)


def _holds_no_answer(label: str) -> bool:
    """Return whether a label is a long or multi-line text that marks no answer."""
    text = label.strip()
    return (len(text) > _WHOLE_TEXT or "\n" in text) and extract_answer(text) is None


def _solution(value: Any, row: int, column: str, name: str) -> str:
    if isinstance(value, dict | list):
        raise ValueError(
            f"{name}, row {row} holds {_kind(value)} in column {column!r}, but a solution must be text"
            f"{_paths(value, column, 'answer')}"
        )
    text = "" if value is None else str(value).strip()
    if not text:
        raise ValueError(f"{name}, row {row} has no solution in column {column!r}: fill it in, or drop the row")
    return _whole(text, f"{name}, row {row}", column)


def _plain(value: Any, written: Callable[[str], str]) -> str | None:
    """Return an answer as a string, or None: the extracted answer of a text that marks one, "3" for 3.0."""
    if isinstance(value, float):
        # Via the shortest decimal that represents this number: 0.1 stays "0.1", and 1e-7 gets no exponent.
        value = format(Decimal(repr(value)), "f") if math.isfinite(value) else ""
    answer = written(_marked(value))
    whole = _FLOAT_OF_WHOLE.fullmatch(answer)
    return (whole[1] if whole else answer) or None


def _marked(value: Any) -> str:
    text = "" if value is None else str(value)
    return (extract_answer(text) or text).strip()


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns) or "no columns"
