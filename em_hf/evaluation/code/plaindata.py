"""Values exchanged between a program and its tests: plain data, encoded on one side and rebuilt on the other.

What arrives in the tests' process is built there, of the types below, from numbers, strings and containers; nothing
that a program defines comes with it, so no value can pretend to be equal to everything. Uses only the standard library,
and NumPy if the values are its arrays.
"""

import collections
import datetime
import decimal
import fractions
import pickle
from collections.abc import Callable
from typing import Any

_SCALARS: tuple[Callable[[Any], Any], ...] = (bool, int, float, complex, str, bytes)
_EXACT = frozenset({type(None), *_SCALARS})
_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS: dict[str, Any] = {"Counter": collections.Counter, "OrderedDict": collections.OrderedDict, "dict": dict}
_VIEWS: dict[str, Any] = {"keys": type({}.keys()), "items": type({}.items()), "values": type({}.values())}
_MOST_DIGITS = 10_000  # of an exponent or of a number parsed from a string

Coded = tuple[str, Any]


class NoClasses(pickle.Unpickler):
    """An unpickler for plain data; a pickle that asks for anything else is an error."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("builtins", "complex"):
            return complex
        raise pickle.UnpicklingError("only plain data may come back from a program")


def coded(value: Any, other: Callable[[Any], Coded]) -> Coded:
    """Return `value` as a kind and parts of plain types; `other` encodes values of kinds not known here."""
    kind = type(value)
    if kind in _EXACT:
        return "plain", value
    if kind in (list, tuple) and all(type(entry) in _EXACT for entry in value):
        return "plain", value  # as it is: long lists of numbers are frequent
    for scalar in _SCALARS:
        if isinstance(value, scalar):  # type: ignore[arg-type]
            return "plain", scalar(value)
    if isinstance(value, dict):
        name = next(name for name, base in _MAPPINGS.items() if isinstance(value, base))
        return name, [(coded(key, other), coded(entry, other)) for key, entry in value.items()]
    for name, base in _SEQUENCES.items():
        if isinstance(value, base):
            return name, [coded(entry, other) for entry in value]
    if isinstance(value, collections.deque):
        return "deque", ([coded(entry, other) for entry in value], value.maxlen)
    for name, base in _VIEWS.items():
        if isinstance(value, base):
            return name, [coded(entry, other) for entry in value]
    if isinstance(value, bytearray | memoryview):
        return "bytearray" if isinstance(value, bytearray) else "plain", bytes(value)
    if isinstance(value, range):
        return "range", (value.start, value.stop, value.step)
    if isinstance(value, slice):
        return "slice", [coded(part, other) for part in (value.start, value.stop, value.step)]
    if isinstance(value, fractions.Fraction):
        return "Fraction", (int(value.numerator), int(value.denominator))
    if isinstance(value, decimal.Decimal):
        return "Decimal", str(value)
    if isinstance(value, datetime.timedelta):
        return "timedelta", (value.days, value.seconds, value.microseconds)
    for name in ("datetime", "date", "time"):
        if isinstance(value, getattr(datetime, name)) and not getattr(value, "tzinfo", None):
            return name, value.isoformat()
    return _coded_array(value, other) or other(value)


def _coded_array(value: Any, other: Callable[[Any], Coded]) -> Coded | None:
    """Return NumPy's numbers as Python's and its arrays as dtype, shape and content; None for any other value."""
    if type(value).__module__ != "numpy" or not hasattr(value, "tobytes"):
        return None
    if not value.shape:
        return coded(value.item(), other)
    if value.dtype.hasobject:
        return coded(value.tolist(), other)
    return "array", (value.dtype.str, tuple(value.shape), value.tobytes())


def decoded(value: Any, other: Callable[[str, Any], Any]) -> Any:
    """Return the value that was encoded; `other` builds it from a kind that is not known here and its parts."""
    kind, parts = value
    if kind == "plain":
        return parts
    if kind in _MAPPINGS:
        pairs = {decoded(key, other): decoded(entry, other) for key, entry in parts}
        return pairs if kind == "dict" else _MAPPINGS[kind](pairs)
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](decoded(entry, other) for entry in parts)
    if kind in _VIEWS:
        entries = [decoded(entry, other) for entry in parts]
        if kind == "values":
            return dict(enumerate(entries)).values()
        return dict(entries).items() if kind == "items" else dict.fromkeys(entries).keys()
    build = _BUILDERS.get(kind)
    return build(parts, other) if build else other(kind, parts)


def _decimal(parts: Any, other: Callable[[str, Any], Any]) -> decimal.Decimal:
    number = decimal.Decimal(str(parts)[:_MOST_DIGITS])
    if number.is_finite() and abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError("a decimal with an exponent of more than ten thousand")  # comparing it would take for ever
    return number


def _array(parts: Any, other: Callable[[str, Any], Any]) -> Any:
    import numpy

    dtype, shape, content = parts
    return numpy.frombuffer(content, numpy.dtype(str(dtype))).reshape(shape).copy()


_BUILDERS: dict[str, Callable[[Any, Callable[[str, Any], Any]], Any]] = {
    "deque": lambda parts, other: collections.deque((decoded(entry, other) for entry in parts[0]), parts[1]),
    "bytearray": lambda parts, other: bytearray(bytes(parts)),
    "range": lambda parts, other: range(*parts),
    "slice": lambda parts, other: slice(*(decoded(part, other) for part in parts)),
    "Fraction": lambda parts, other: fractions.Fraction(*parts),
    "Decimal": _decimal,
    "timedelta": lambda parts, other: datetime.timedelta(*parts),
    "datetime": lambda parts, other: datetime.datetime.fromisoformat(parts),
    "date": lambda parts, other: datetime.date.fromisoformat(parts),
    "time": lambda parts, other: datetime.time.fromisoformat(parts),
    "array": _array,
}


def replace_content(old: Any, new: Any) -> None:
    """Replace a container's content in place by that of another of its kind, as the program did to its argument."""
    if isinstance(old, list) and isinstance(new, list):
        if len(old) == len(new):
            for place, (was, entry) in enumerate(zip(old, new, strict=True)):
                if _is_container(was) and type(was) is type(entry):
                    replace_content(was, entry)
                else:
                    old[place] = entry
        else:
            old[:] = new
    elif isinstance(old, dict) and isinstance(new, dict):
        kept = {key: old[key] for key in old.keys() & new.keys()}
        old.clear()
        for key, entry in new.items():
            if key in kept and _is_container(kept[key]) and type(kept[key]) is type(entry):
                replace_content(kept[key], entry)
                entry = kept[key]
            old[key] = entry
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray | collections.deque):
        old.clear()
        old.extend(new)
    elif hasattr(old, "shape") and getattr(old, "shape", None) == getattr(new, "shape", None):
        old[...] = new


def _is_container(value: Any) -> bool:
    return isinstance(value, list | dict | set | bytearray | collections.deque)


def is_changeable(value: Any) -> bool:
    """Return whether a program can change an argument in place."""
    return _is_container(value) or (type(value).__module__ == "numpy" and bool(getattr(value, "shape", ())))
