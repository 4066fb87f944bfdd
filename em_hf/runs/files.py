"""Write records, whole or not at all, and read them, with a one-line error for what is broken."""

import json
import math
import os
import types
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

PART = ".part"  # added to a file's name while it is written
T = TypeVar("T")


class RunFileError(ValueError):
    """A file of a run or an evaluation that cannot be read; the message names the file and what is wrong with it."""


# ---- writing


def write_file(path: Path, content: bytes) -> None:
    """Write beside `path` and move into place, so that a kill at any moment leaves the old file or the new one."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a record, or any value made of plain ones, as indented JSON, whole or not at all."""
    text = json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_file(path, _encoded(text + "\n"))


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write a JSONL file, whole or not at all."""
    write_file(path, _encoded("".join(map(_line, values))))


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Append to a JSONL file; if its last line was cut off, start on a new line."""
    text = "".join(map(_line, values))
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            text = text if file.read(1) == b"\n" else "\n" + text
        file.write(_encoded(text))
        file.flush()
        os.fsync(file.fileno())


def to_json(value: Any) -> Any:
    """Return a value in JSON form: dataclasses and dicts as objects, tuples as lists, NaN and infinities as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _encoded(text: str) -> bytes:
    """Encode as UTF-8; a lone surrogate, which UTF-8 cannot encode, becomes its JSON escape."""
    return text.encode("utf-8", errors="backslashreplace")


def _line(value: Any) -> str:
    """Return a line of JSONL without the values that are not known (None)."""
    plain = {key: one for key, one in to_json(value).items() if one is not None}
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"


# ---- reading


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        RunFileError: It is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFileError(f"there is no file {path}") from error
    except (ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError too
        raise RunFileError(f"{path} is not JSON ({error}); the file is damaged") from error


def read_record(path: Path, kind: type[T]) -> T:
    """Return the record in a JSON file; keys that this version does not know are left out.

    Raises:
        RunFileError: It is missing, is not JSON, or does not have the shape of `kind`.
    """
    return _convert(read_json(path), kind, str(path))


def read_lines(path: Path, kind: type[T], *, skip_broken: bool = False) -> list[T]:
    """Return the records in a JSONL file, or an empty list if there is no file.

    A truncated last line, as a killed process leaves it, is ignored.

    Args:
        skip_broken: Skip lines that are not JSON anywhere, for a file that is appended to after a kill.

    Raises:
        RunFileError: It cannot be read, or a line does not have the shape of `kind`.
    """
    lines = _parsed_lines(path, skip_broken=skip_broken)
    return [_convert(value, kind, f"{path}, line {number}") for number, value in lines]


def drop_lines_after(path: Path, kind: type[T], step: int) -> list[T]:
    """Drop the lines of steps after `step`, which will be repeated, and return the remaining records."""
    kept = [value for _, value in _parsed_lines(path) if isinstance(value, dict) and value.get("step", 0) <= step]
    records = [one for one in read_lines(path, kind) if getattr(one, "step", 0) <= step]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, kept)
    return records


def _parsed_lines(path: Path, *, skip_broken: bool = False) -> list[tuple[int, Any]]:
    if not path.is_file():
        return []
    try:
        lines = path.read_bytes().decode("utf-8", errors="replace" if skip_broken else "strict").split("\n")
    except UnicodeDecodeError as error:
        raise RunFileError(f"{path} is not UTF-8 ({error}); the file is damaged") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            if not skip_broken and number < len(lines):
                raise RunFileError(f"{path}, line {number} is not JSON ({error}); the file is damaged") from error
    return found


# The JSON types accepted for a Python type, and its name in errors.
_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}
_NAMES = {dict: "an object", list: "a list", type(None): "null", str: "text", bool: "a truth value"}
_hints = cache(get_type_hints)


def _convert(value: Any, kind: Any, place: str, key: str = "") -> Any:
    """Return the value as a Python object of type `kind`; an error names the place (a file, a line) and the key."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        inner = next(part for part in parts if part is not type(None))
        return None if value is None and type(None) in parts else _convert(value, inner, place, key)
    if origin is Literal:
        if value not in parts:
            raise _wrong(value, f"one of {', '.join(parts)}", place, key)
        return value
    if is_dataclass(kind):
        return _convert_object(value, kind, place, key)
    if origin is dict:
        _check(value, (dict,), "an object", place, key)
        return {name: _convert(one, parts[1], place, f"{key}.{name}") for name, one in value.items()}
    if origin in (list, tuple):
        _check(value, (list,), "a list", place, key)
        kinds = parts if origin is tuple and parts[-1] is not ... else [parts[0]] * len(value)
        if len(value) != len(kinds):
            raise _wrong(value, f"a list of {len(kinds)}", place, key)
        return origin(_convert(one, part, place, f"{key}[{i}]") for i, (one, part) in enumerate(zip(value, kinds)))
    _check(value, *_PLAIN[kind], place, key)
    if isinstance(value, bool) and kind is not bool:
        raise _wrong(value, _PLAIN[kind][1], place, key)
    return value


def _convert_object(value: Any, kind: Any, place: str, key: str) -> Any:
    _check(value, (dict,), "an object", place, key)
    found = {}
    for f in fields(kind):
        name = f"{key}.{f.name}" if key else f.name
        if f.name in value:
            found[f.name] = _convert(value[f.name], _hints(kind)[f.name], place, name)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise RunFileError(f"{place} has no {name}; the file is damaged")
    return kind(**found)


def _check(value: Any, kinds: tuple[type, ...], name: str, place: str, key: str) -> None:
    if not isinstance(value, kinds):
        raise _wrong(value, name, place, key)


def _wrong(value: Any, allowed: str, place: str, key: str) -> RunFileError:
    """Return an error that names the kind of value found and not the value, which may be long or private."""
    is_there = _NAMES.get(type(value), "a number")
    if not key:
        return RunFileError(f"{place} must hold {allowed}, not {is_there}; the file is damaged")
    return RunFileError(f"{place}: {key} is {is_there}, but must be {allowed}; the file is damaged")
