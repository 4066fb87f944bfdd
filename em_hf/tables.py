"""Tables of text: files in common dataset formats, and datasets on the Hub."""

import csv
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, TextIO

from em_hf.messages import one_line

_DELIMITERS = (",", ";", "\t")
_SPACE = "[ \u00a0\u202f]"
# One number as an answer, with a word, a currency or a unit around it perhaps: no list, point, fraction or date.
_AMOUNT = re.compile(
    rf"([^0-9()\[\]{{}},;]*)([0-9]{{1,3}}(?:{_SPACE}[0-9]{{3}})+(?:,[0-9]+)?|[0-9]+(?:[.,][0-9]+)*)"
    r"((?:\s*(?:[x×·*]|\\times|\\cdot)\s*10\s*\^\s*\{?-?[0-9]+\}?)?"
    r"[^0-9,;()\[\]]*(?:(?<=[A-Za-z^{])-?[0-9]\}?)?(?:\([^()0-9]*\))?)"
)
_UNCLEAR = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")  # one and a little, or a thousand and more
_WITH_COMMA = re.compile(
    r"[0-9 \u00a0\u202f]+,[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}"
)
_WITH_POINT = re.compile(r"[0-9]+\.[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3}){2,}")
_FIELD_LIMIT = 2**31 - 1  # characters in a CSV field; the csv module's own limit is 131,072


@dataclass
class Table:
    """The rows of a source: its column names (none if there are no rows to know them from), and a function that reads
    one column. `read_all` reads it past the limit; only a file whose numbers may be written as 2,5 has it."""

    columns: Sequence[str]
    read: Callable[[str], list[Any]]
    read_all: Callable[[str], list[Any]] | None = None


def kind_of(path: Path) -> str:
    """Return the suffix of a file's format, without the .gz of a compressed one; empty for an unknown format."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        return suffixes[-2] if len(suffixes) > 1 and suffixes[-2] in _READERS and suffixes[-2] != ".parquet" else ""
    return suffixes[-1] if suffixes and suffixes[-1] in _READERS else ""


def read_file(name: str, path: Path, limit: int | None, known: Collection[str]) -> Table:
    """Read a file of a known format; `known` are the column names that identify a CSV file's separator.

    Raises:
        ValueError: the file cannot be read as its suffix says.
        OSError: it cannot be read at all.
        ImportError: a Parquet file without `datasets` installed.
    """
    with _unreadable_named(name):
        return _READERS[kind_of(path)](path, limit, known)


def read_objects(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file, compressed or not, up to `limit`.

    Raises:
        ValueError: a line is no object; the message has its number.
        OSError: the file cannot be read at all.
    """
    with _unreadable_named(str(path)):
        return _objects(path, limit)


@contextmanager
def _unreadable_named(name: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name} is not a whole gzip file ({one_line(error)}): compress it again") from error
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply to read: write one flat object per row") from error


def _text(path: Path, newline: str | None = None) -> TextIO:
    """Open a text file, compressed or not, without its byte order mark."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def from_rows(rows: list[dict[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return Table(columns, lambda column: [_entry(row, column) for row in rows])


def point_writer(answers: Sequence[str], column: str) -> Callable[[str], str]:
    """Return a function that writes an answer's number with a decimal point, if `answers` have decimal commas.

    Points are thousands separators then: "10.000 kg" becomes "10000 kg". If no answer has a decimal comma for sure, all
    stay as they are: "1,234" beside "0.5" or alone is English.

    Raises:
        ValueError: an answer may be a decimal as well as a thousand times as much.
    """
    amounts = {row: found[2] for row, answer in enumerate(answers, 1) if (found := _AMOUNT.fullmatch(answer))}
    unclear = {row: number for row, number in amounts.items() if _UNCLEAR.fullmatch(number)}
    sure = {row: number for row, number in amounts.items() if row not in unclear}
    comma = next((row for row, number in sure.items() if _WITH_COMMA.fullmatch(number)), None)
    if comma is None:
        return str
    point = next((row for row, number in sure.items() if _WITH_POINT.fullmatch(number)), None)
    for row, number in unclear.items():
        if "," in number or point is not None:
            others = " and ".join(f"{amounts[i]} in row {i}" for i in (comma, point) if i is not None)
            meanings = f"{number.replace(',', '.')} or {re.sub('[.,]', '', number)}"
            raise ValueError(
                f"row {row} holds {number} in column {column!r}, which may be {meanings} beside {others}: "
                "write decimals with a point, and thousands without a separator"
            )

    def write(answer: str) -> str:
        found = _AMOUNT.fullmatch(answer)
        if not found or not (_WITH_COMMA.fullmatch(found[2]) or _UNCLEAR.fullmatch(found[2])):
            return answer
        return found[1] + re.sub(rf"\.|{_SPACE}", "", found[2]).replace(",", ".") + found[3]

    return write


def _entry(row: dict[str, Any], column: str) -> Any:
    """Return a row's value in a column, or at the path given by a dotted name; None if there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _read_jsonl(path: Path, limit: int | None, known: Collection[str]) -> Table:
    return from_rows(_objects(path, limit))


def _objects(path: Path, limit: int | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with _text(path) as file:
        for number, line in enumerate(file, 1):
            if len(rows) == limit:
                break
            if line.strip():
                rows.append(_json_object(line, f"{path}, line {number}"))
    return rows


class _TwiceError(ValueError):
    """A name that occurs twice in an object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _TwiceError(repr(Counter(key for key, _ in pairs).most_common(1)[0][0]))
    return made


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except _TwiceError as error:
        raise ValueError(f"{where} has two entries named {error}: rename one") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error}): every line must be one JSON object") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where} holds {type(row).__name__}, but every line must be one JSON object")
    return row


def _read_json(path: Path, limit: int | None, known: Collection[str]) -> Table:
    try:
        with _text(path) as file:
            rows = json.loads(file.read(), object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise
    except _TwiceError as error:
        raise ValueError(f"{path} has an object with two entries named {error}: rename one") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); a file with one object per line is .jsonl") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f'{path} must hold a list of objects, such as [{{"prompt": …}}]; one object per line is .jsonl'
        )
    return from_rows(rows[:limit])


def _read_csv(path: Path, limit: int | None, known: Collection[str]) -> Table:
    with _text(path, newline="") as file:
        header = file.readline()
    delimiter = "\t" if ".tsv" in path.name.lower() else _delimiter(header, known)
    # A space after the header's separators is part of neither the names nor the fields below.
    options: dict[str, Any] = {"delimiter": delimiter, "skipinitialspace": f"{delimiter} " in header, "strict": True}
    usual_limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        with _text(path, newline="") as file:
            reader = csv.reader(file, **options)
            names = [name.strip() for name in next(reader, [])]
            # The decimal commas of a semicolon file may come after the limit.
            rows = list(islice(filter(None, reader), None if delimiter == ";" else limit))
    except csv.Error as error:
        raise ValueError(f"{path} is not CSV after line {reader.line_num}: {error}") from error
    finally:
        csv.field_size_limit(usual_limit)
    for name, count in Counter(filter(None, names)).items():
        if count > 1:
            raise ValueError(f"{path} has {count} columns named {name!r}: rename or remove all but one")
    for number, row in enumerate(rows[:limit], 1):
        if len(row) > len(names):
            raise ValueError(
                f"{path}, row {number} has more fields than the header: quote fields that hold {delimiter!r}"
            )
    whole = from_rows([dict(zip_longest(names, row)) for row in rows])
    if delimiter != ";":
        return whole
    return replace(whole, read=lambda column: whole.read(column)[:limit], read_all=whole.read)


def _delimiter(header: str, known: Collection[str]) -> str:
    """Return the separator that gives the header the most known names, then the most names."""

    def merit(delimiter: str) -> tuple[int, int]:
        names = [name.strip().strip('"') for name in header.split(delimiter)]
        return len(set(known).intersection(names)), len(names)

    return max(_DELIMITERS, key=merit)


def _read_text(path: Path, limit: int | None, known: Collection[str]) -> Table:
    with _text(path) as file:
        lines = (line.strip() for line in file)
        return from_rows([{"prompt": line} for line in islice(filter(None, lines), limit)])


def _read_parquet(path: Path, limit: int | None, known: Collection[str]) -> Table:
    datasets = _datasets(path)
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise ValueError(f"{path} is not a Parquet file, although its name says so: write it again, or rename it")

    def stream(columns: list[str] | None) -> Any:
        # Streaming makes no copy in the cache, and reads only the requested columns.
        return datasets.load_dataset(
            "parquet", data_files=str(path), split="train", streaming=True, columns=columns, batch_size=1000
        )

    def read(column: str) -> list[Any]:
        # A dotted name may be a path into objects, or a column's own name.
        return [_entry(row, column) for row in islice(stream(None if "." in column else [column]), limit)]

    try:
        return Table(stream(None).column_names, read)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {one_line(error)}") from error


_READERS: dict[str, Callable[[Path, int | None, Collection[str]], Table]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_text,
    ".text": _read_text,
}
SUFFIXES = tuple(_READERS)


def from_hub(name: str, config: str | None, split: str, limit: int | None) -> Table:
    datasets = _datasets(name)
    from huggingface_hub.errors import HTTPError

    try:
        found = datasets.load_dataset(name, config, split=split)
    except (ConnectionError, HTTPError) as error:
        raise OSError(
            f"{name} is neither a file here nor a cached dataset, and the Hub is out of reach "
            f"({one_line(error)}): give a file, or go online"
        ) from error
    except OSError as error:
        raise OSError(f"{name} is neither a file here nor a dataset to load from the Hub: {one_line(error)}") from error
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"the dataset {name} cannot be loaded: {one_line(error)}") from error
    if limit is not None:
        found = found.select(range(min(limit, len(found))))
    return Table(found.column_names, lambda column: [_entry(row, column) for row in found])


def _datasets(name: object) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{name} needs the datasets library: pip install 'em-hf[train]'") from error
    return datasets
