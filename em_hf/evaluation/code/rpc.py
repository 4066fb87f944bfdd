"""A program's functions, called from another process, so that the tests never share one with the program.

Only plain data crosses over: a value that pretends to be equal to everything stays behind, and what arrives is compared
where the program cannot reach. Standard library alone: `jail.py` runs both ends.
"""

import base64
import builtins
import os
import pickle
from typing import Any


def serve(spec: dict[str, Any]) -> None:
    """Run the program, then do what the checker asks of its names."""
    incoming, outgoing = os.fdopen(spec["read"], "rb"), os.fdopen(spec["write"], "wb")
    space: dict[str, Any] = {"__name__": "program"}
    exec(compile(spec["code"], "<program>", "exec"), space)
    objects: list[Any] = [space]
    while True:
        action, target, name, args, kwargs = pickle.load(incoming)
        try:
            if action == "name":
                value = space[name] if name in space else getattr(builtins, name)
            elif action == "attribute":
                value = getattr(objects[target], name)
            else:
                given = [restored(arg, objects) for arg in args]
                value = objects[target](*given, **{key: restored(arg, objects) for key, arg in kwargs.items()})
            value = without_numpy(value)
            answer = ("value", plain(value)) if is_plain(value) else ("object", len(objects))
            if answer[0] == "object":
                objects.append(value)
        except BaseException as error:
            answer = ("error", f"{type(error).__name__}: {error}"[:500])
        pickle.dump(answer, outgoing)
        outgoing.flush()


PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(entry) for key, entry in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(is_plain(entry) for entry in value)
    return value is None or isinstance(value, PLAIN)


def plain(value: Any) -> Any:
    """The value in Python's own types: a Counter as a dict, a named tuple as a tuple."""
    if value is None or type(value) is bool:
        return value
    kind = next(kind for kind in PLAIN if isinstance(value, kind))
    if kind is dict:
        return {plain(key): plain(entry) for key, entry in value.items()}
    if kind in (list, tuple, set, frozenset):
        return kind(plain(entry) for entry in value)
    return kind(value)


ARRAY = "an array of this type, shape and content"


def without_numpy(value: Any) -> Any:
    """NumPy's numbers as Python's, and its arrays as tuples that say so; tuples and lists part by part."""
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "tobytes"):
        if not value.shape:
            return value.item()
        if not value.dtype.hasobject:
            return (ARRAY, value.dtype.str, value.shape, value.tobytes())
    return kind(map(without_numpy, value)) if kind in (list, tuple) else value


def with_numpy(value: Any) -> Any:
    """The inverse, in the checker, where the content is numbers whatever it was."""
    if isinstance(value, tuple) and len(value) == 4 and value[0] == ARRAY:
        import numpy

        return numpy.frombuffer(value[3], numpy.dtype(str(value[1]))).reshape(value[2]).copy()
    return type(value)(map(with_numpy, value)) if isinstance(value, (list, tuple)) else value


def restored(value: Any, objects: list[Any]) -> Any:
    """An argument as it was meant: a reference to one of the program's objects is that object."""
    if isinstance(value, Reference):
        return objects[value.number]
    if isinstance(value, (list, tuple)):
        return type(value)(restored(entry, objects) for entry in value)
    return value


class Reference:
    def __init__(self, number: int) -> None:
        self.number = number


class Remote:
    """An object of the program, in the checker's process."""

    def __init__(self, line: "Line", number: int) -> None:
        self._line, self._number = line, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._line.ask("call", self._number, "", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._line.ask("attribute", self._number, name)

    def __reduce__(self) -> Any:
        return Reference, (self._number,)


class NoClasses(pickle.Unpickler):
    """Reads plain data; a pickle that asks for anything else is an error."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("builtins", "complex"):
            return complex
        raise pickle.UnpicklingError("only plain data may come back from a program")


class Line:
    """The checker's end of the connection."""

    def __init__(self, read: int, write: int) -> None:
        self.incoming, self.outgoing = os.fdopen(read, "rb"), os.fdopen(write, "wb")

    def ask(self, action: str, target: int, name: str, args: Any = (), kwargs: Any = None) -> Any:
        pickle.dump((action, target, name, args, kwargs or {}), self.outgoing)
        self.outgoing.flush()
        kind, value = NoClasses(self.incoming).load()
        if kind == "error":
            raise RuntimeError(str(value))
        return Remote(self, int(value)) if kind == "object" else with_numpy(value)


def check(spec: dict[str, Any]) -> None:
    """Run the tests; the names that the program defines are asked of it."""
    line = Line(spec["read"], spec["write"])
    # From em-hf itself, not from the program.
    space: dict[str, Any] = {"__name__": "__main__", **pickle.loads(base64.b64decode(spec["given"]))}
    exec(compile(spec["before"], "<before>", "exec"), space)
    for name in spec["names"]:
        space[name] = line.ask("name", 0, name)
    exec(compile(spec["code"], "<tests>", "exec"), space)
