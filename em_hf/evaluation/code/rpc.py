"""Remote calls of a program's functions, so that the tests never share a process with the program.

Both ends use the same protocol: one asks and waits for the answer, and may be asked something meanwhile (a program that
was given a function calls it). Only plain data is exchanged (`plaindata`); objects of the program, and functions of the
tests, stay where they are and are referred to by number. Uses only the standard library: `jail.py` runs both ends.
"""

import base64
import builtins
import io
import operator
import os
import pickle
import types
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from plaindata import Coded, NoClasses, coded, decoded, is_changeable, replace_content

_ITERATORS = (types.GeneratorType, map, filter, zip, enumerate, reversed)


class Peer:
    """One end of the connection."""

    def __init__(
        self, spec: dict[str, Any], load: Callable[[BinaryIO], Any], handle: Callable[..., tuple[Any, ...]]
    ) -> None:
        self.incoming, self.outgoing = os.fdopen(spec["read"], "rb"), os.fdopen(spec["write"], "wb")
        self.load, self.handle = load, handle

    def send(self, *message: Any) -> None:
        pickle.dump(message, self.outgoing)
        self.outgoing.flush()

    def ask(self, *request: Any) -> Any:
        """Return the other end's answer, handling its requests meanwhile."""
        self.send("ask", *request)
        while True:
            kind, *rest = self.load(self.incoming)
            if kind == "answer":
                return rest
            self.send("answer", *self.handle(*rest))


class Program:
    """The program's end: its names, and the objects that the tests refer to."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.space: dict[str, Any] = {"__name__": "program"}
        self.peer = Peer(spec, self._load, self.handle)
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}
        exec(compile(spec["code"], "<program>", "exec"), self.space)

    def serve(self) -> None:
        while True:
            _, *request = self.peer.load(self.peer.incoming)
            self.peer.send("answer", *self.handle(*request))

    def _load(self, file: BinaryIO) -> Any:
        return _FromTests(file, self.space).load()

    def handle(self, action: str, target: int, name: str, args: Any = (), kwargs: Any = None) -> tuple[Any, ...]:
        """Handle a request from the tests.

        Returns:
            ("value", coded value, arguments that changed), or ("error", classes, arguments, the program's own class).
        """
        changed = []
        try:
            if action == "name":
                value = self.space[name] if name in self.space else getattr(builtins, name)
            elif action == "attribute":
                value = getattr(self.objects[target], name)
            elif action == "next":
                value = next(self.objects[target])
            else:
                given = [self._argument(arg) for arg in args]
                named = {key: self._argument(arg) for key, arg in (kwargs or {}).items()}
                before = [pickle.dumps(coded(arg, self._object)) if is_changeable(arg) else b"" for arg in given]
                function = operation(name) if action == "operate" else self.objects[target]
                value = function(*([self.objects[target]] if action == "operate" else []), *given, **named)
                for place, (arg, was) in enumerate(zip(given, before, strict=True)):
                    if was and pickle.dumps(now := coded(arg, self._object)) != was:
                        changed.append((place, now))
            return "value", coded(value, self._object), changed
        except BaseException as error:
            classes = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
            own = [] if classes[0] == type(error).__name__ else [type(error).__name__]
            details = error.args if all(isinstance(part, str | int | float) for part in error.args) else (str(error),)
            return "error", classes, [str(part)[:500] if isinstance(part, str) else part for part in details], own

    def _object(self, value: Any) -> Coded:
        """Keep an object of the program here and return its kind and number, the same one for the same object."""
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        lazy = isinstance(value, _ITERATORS) or (isinstance(value, Iterator) and not callable(value))
        return "iterator" if lazy else "object", self.numbers[id(value)]

    def _argument(self, value: Any) -> Any:
        """Resolve an argument: a reference to one of the program's objects becomes that object."""
        if isinstance(value, Reference):
            return self.objects[value.number]
        if isinstance(value, Callback):
            return self._generator(value.number) if value.is_iterator else self._function(value.number)
        if type(value) in (list, tuple):
            return type(value)(self._argument(entry) for entry in value)
        return value

    def _function(self, number: int) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            named = {key: coded(arg, self._object) for key, arg in kwargs.items()}
            kind, value = self.peer.ask(number, [coded(arg, self._object) for arg in args], named)
            if kind == "error":
                raise value
            return self._argument(value)

        return function

    def _generator(self, number: int) -> Iterator[Any]:
        following = self._function(number)
        while True:
            try:
                yield following()
            except StopIteration:
                return


class _FromTests(pickle.Unpickler):
    """An unpickler for what the tests, which are trusted, send; their classes are the program's of the same name."""

    def __init__(self, file: BinaryIO, space: dict[str, Any]) -> None:
        super().__init__(file)
        self.space = space

    def find_class(self, module: str, name: str) -> Any:
        return self.space[name] if module == "__main__" else super().find_class(module, name)


def operation(name: str) -> Callable[..., Any]:
    """Return the operator or built-in function of that name, for an object that is not plain data."""
    return getattr(operator, name) if name in ("getitem", "setitem") else getattr(builtins, name)


class Reference:
    """A placeholder for an object of the program, on its way back to the program."""

    def __init__(self, number: int) -> None:
        self.number = number


class Callback:
    """A placeholder for a function of the tests, or for an iterator's next step, on its way to the program."""

    def __init__(self, number: int, is_iterator: bool) -> None:
        self.number, self.is_iterator = number, is_iterator


class Remote:
    """A proxy in the checker's process for an object of the program. Equal only to itself: tests must ask its value."""

    def __init__(self, line: "Line", number: int) -> None:
        object.__setattr__(self, "_line", line)
        object.__setattr__(self, "_number", number)

    def _operate(self, name: str, *args: Any) -> Any:
        return self._line.ask("operate", self._number, name, args)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._line.ask("call", self._number, "", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._line.ask("attribute", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._operate("setattr", name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __bool__(self) -> bool:
        return bool(self._operate("bool"))

    def __len__(self) -> int:
        return int(self._operate("len"))

    def __str__(self) -> str:
        return str(self._operate("str"))

    def __repr__(self) -> str:
        return str(self._operate("repr"))

    def __iter__(self) -> Any:
        return iter(self._operate("iter"))

    def __getitem__(self, key: Any) -> Any:
        return self._operate("getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._operate("setitem", key, value)

    def __reduce__(self) -> Any:
        return Reference, (self._number,)


class RemoteIterator(Remote):
    """An iterator of the program, which advances only when the tests ask for the next element."""

    def __iter__(self) -> "RemoteIterator":
        return self

    def __next__(self) -> Any:
        return self._line.ask("next", self._number, "")

    def __bool__(self) -> bool:
        return True


class Line:
    """The checker's end of the connection."""

    def __init__(self, spec: dict[str, Any], space: dict[str, Any]) -> None:
        self.peer = Peer(spec, lambda file: NoClasses(file).load(), self.handle)
        self.space = space
        self.functions: list[Callable[..., Any]] = []

    def ask(self, action: str, target: int, name: str, args: Any = (), kwargs: Any = None) -> Any:
        """Return the program's answer, or raise the exception that it raised, of the same class if that is built in."""
        sent = [self._sent(arg) for arg in args], {key: self._sent(arg) for key, arg in (kwargs or {}).items()}
        kind, *rest = self.peer.ask(action, target, name, *sent)
        if kind == "error":
            raise self._error(*rest)
        value, changed = rest
        for place, now in changed:
            replace_content(args[place], decoded(now, self._remote))
        return decoded(value, self._remote)

    def handle(self, number: int, args: Any, kwargs: Any) -> tuple[str, Any]:
        """Call a function of the tests for the program."""
        try:
            given = [decoded(arg, self._remote) for arg in args]
            named = {key: decoded(arg, self._remote) for key, arg in kwargs.items()}
            return "value", self._sent(self.functions[number](*given, **named))
        except Exception as error:
            return "error", error if type(error).__module__ == "builtins" else RuntimeError(str(error))

    def _remote(self, kind: str, number: Any) -> Any:
        return RemoteIterator(self, int(number)) if kind == "iterator" else Remote(self, int(number))

    def _sent(self, value: Any) -> Any:
        """Return an argument to send: the tests' functions and generators as callbacks, also in lists and tuples."""
        if isinstance(value, Remote):
            return value
        if isinstance(value, types.GeneratorType):
            return self._callback(value.__next__, is_iterator=True)
        if isinstance(value, types.FunctionType | types.MethodType) or (
            callable(value) and not isinstance(value, type) and not _is_sendable(value)
        ):
            return self._callback(value, is_iterator=False)
        if type(value) in (list, tuple):
            return type(value)(self._sent(entry) for entry in value)
        return value

    def _callback(self, function: Callable[..., Any], *, is_iterator: bool) -> Callback:
        self.functions.append(function)
        return Callback(len(self.functions) - 1, is_iterator)

    def _error(self, classes: Any, details: Any, named: Any) -> BaseException:
        """Return the exception that the program raised, of the nearest class that the tests know by name."""
        for name in (*named, *classes):
            known = self.space.get(name) if name in named else getattr(builtins, str(name), None)
            if isinstance(known, type) and issubclass(known, Exception):
                try:
                    return known(*details)
                except TypeError:  # one that wants other arguments, such as UnicodeDecodeError
                    continue
        return RuntimeError(": ".join(str(part) for part in (*classes[:1], *details)))


def _is_sendable(value: Any) -> bool:
    try:
        pickle.dump(value, io.BytesIO())
    except Exception:
        return False
    return True


def serve(spec: dict[str, Any]) -> None:
    """Run the program, then handle the checker's requests about its names."""
    Program(spec).serve()


def check(spec: dict[str, Any]) -> None:
    """Run the tests, with the program's names fetched from the program."""
    # From em-hf itself, not from the program.
    space: dict[str, Any] = {"__name__": "__main__", **pickle.loads(base64.b64decode(spec["given"]))}
    line = Line(spec, space)
    exec(compile(spec["before"], "<before>", "exec"), space)
    for name in spec["names"]:
        space[name] = line.ask("name", 0, name)
    exec(compile(spec["code"], "<tests>", "exec"), space)
