"""One declaration per setting: a dataclass field that carries its help, range, unit and group.

Command-line options, checks of YAML and JSON files, range errors, tables in the docs and labels on cards are generated
from these fields and repeat nothing. PyTorch is not imported.
"""

import json
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from em_hf.markdown import markdown_table
from em_hf.messages import did_you_mean, shown

POCKET_DATASET, FEWER_DATASET = POCKET_DATASETS = ("pocket", "pocket-fewer")  # the problems that come with em-hf
PLAIN = "plain"  # the level of problems that have no other
POCKET_NAME, MISLED_NAME = POCKET_NAMES = ("pocket-reasoner", "pocket-misled")  # the models that come with em-hf
GROUPS = ("model", "data", "method", "sampling", "optimization", "watching", "output", "scale")
MAX_SEED = 2**32 - 1  # the largest that NumPy accepts
REQUIRED: Any = object()  # the default of a setting that has none
_MOST = 2**31 - 1  # upper bound of integers that declare none
_KINDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", Path: "a path"}
T = TypeVar("T")


def setting(
    default: Any = REQUIRED,
    *,
    help: str,
    group: str = "method",
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    unset: str = "",
    flag: str | None = None,
    metavar: str | None = None,
    exists: Literal["file", "folder"] | None = None,
    label: str = "",
) -> Any:
    """Declare a setting: a dataclass field with its documentation, range and default in one place.

    Args:
        default: Its value if none is given; a dict or list is copied. Without one the field is required.
        help: One sentence for `--help` and the docs, without default, unit and range.
        group: Its heading in `--help`, one of `GROUPS`.
        unit: Of a number, such as "tokens" or "nats".
        low: Smallest value allowed.
        high: Largest value allowed.
        above: Exclusive lower bound.
        below: Exclusive upper bound.
        choices: The words allowed; a `Literal` annotation has the same effect.
        unset: What None means, such as "all rows".
        flag: The option's spelling if it differs from the field's name, such as "--no-chat-template".
        metavar: Placeholder for the value in `--help`.
        exists: For a path that must exist, whether it is a file or a folder.
        label: Its name on a card; by default the field's name in words.
    """
    given = {
        "help": help,
        "group": group,
        "unit": unit,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": choices,
        "unset": unset,
        "flag": flag,
        "metavar": metavar,
        "exists": exists,
        "label": label,
    }
    metadata = {name: value for name, value in given.items() if value not in (None, "")}
    if isinstance(default, dict | list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(metadata=metadata) if default is REQUIRED else field(default=default, metadata=metadata)


def like(declared: type, name: str, **changes: Any) -> Any:
    """Declare a setting as another dataclass declares it, except for the arguments of `setting` that are given.

    `top_p: float = like(DrawSettings, "top_p")` has that setting's default, help and range. None removes a bound.
    """
    other = declared.__dataclass_fields__[name]  # type: ignore[attr-defined]
    default = changes.pop("default", other.default)
    return setting(default, **{"help": "", **other.metadata, **changes})


@dataclass(frozen=True)
class Setting:
    """A setting as declared by a dataclass field; see `setting` for the shared arguments."""

    name: str
    kind: type
    optional: bool = False
    many: bool = False
    default: Any = REQUIRED
    help: str = ""
    group: str = "method"
    unit: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None
    unset: str = ""
    flag: str | None = None
    metavar: str | None = None
    exists: Literal["file", "folder"] | None = None
    label: str = ""

    @classmethod
    def of(cls, declared: Field, hint: Any) -> "Setting":
        """Return the setting declared by a dataclass field whose annotation is `hint`."""
        parts = [hint]
        if get_origin(hint) in (Union, types.UnionType):
            parts = [part for part in get_args(hint) if part is not type(None)]
        kind, optional = parts[0], len(parts) < len(get_args(hint) or parts)
        many, known = False, dict(declared.metadata)
        if get_origin(kind) is tuple:
            kind, many = get_args(kind)[0], True
        if get_origin(kind) is Literal:
            known.setdefault("choices", get_args(kind))
            kind = str
        kind = get_origin(kind) or kind
        default = REQUIRED if declared.default is MISSING else declared.default
        if declared.default_factory is not MISSING:
            default = declared.default_factory()
        names = {part.name for part in fields(cls)}
        known = {name: value for name, value in known.items() if name in names}
        return cls(declared.name, kind, optional, many, default, **known)

    @property
    def option(self) -> str:
        """The option on the command line, such as `--num-generations`."""
        return self.flag or f"--{self.name.replace('_', '-')}"

    @property
    def title(self) -> str:
        """The name on a card, with its unit: `Learning rate`, `Max completion length (tokens)`."""
        words = self.label or self.name.replace("_", " ").capitalize()
        return f"{words} ({self.unit})" if self.unit else words

    def bounds(self) -> str:
        """Return the range in words, such as `above 0 and at most 1`; empty if there is none."""
        if self.low is not None and self.high is not None:
            return f"from {_number(self.low)} to {_number(self.high)}"
        words = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        return " and ".join(f"{word} {_number(value)}" for word, value in words.items() if value is not None)

    def allowed(self) -> str:
        """Return the allowed values in words: `a whole number, at least 1`."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = "a JSON object" if self.kind is dict else _KINDS.get(self.kind, self.kind.__name__)
        if self.many:
            return f"a list of {'numbers' if self.kind in (int, float) else 'names'}" + self._comma(self.bounds())
        return words + self._comma(self.bounds())

    @staticmethod
    def _comma(words: str) -> str:
        return f", {words}" if words else ""

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, as `must be at least 1`; None if it is valid."""
        if value is None:
            return None if self.optional else f"must be {self.allowed()}"
        if self.many:
            items = value if isinstance(value, tuple | list) else None
            return f"must be {self.allowed()}" if items is None else next(filter(None, map(self._wrong, items)), None)
        return self._wrong(value)

    def _wrong(self, value: Any) -> str | None:
        if self.choices:
            if isinstance(value, str) and value in self.choices:
                return None
            return f"must be {self.allowed()}{did_you_mean(value, self.choices)}"
        whole = isinstance(value, int) and not isinstance(value, bool)
        if self.kind is float:
            fits = (whole and abs(value) < 1e300) or (isinstance(value, float) and math.isfinite(value))
        elif self.kind is Path:
            fits = isinstance(value, str | Path) and "\0" not in str(value)
        else:
            fits = whole if self.kind is int else isinstance(value, self.kind)
        if not fits:
            return f"must be {self.allowed()}"
        if self.kind is str:
            return _text_problem(value)
        return self._out_of_range(value) if self.kind in (int, float) else None

    def _out_of_range(self, value: float) -> str | None:
        holds = (
            (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )
        if not holds:
            return f"must be {self.bounds()}"
        unbounded = self.kind is int and self.high is None and self.below is None
        return f"must be at most {_MOST:,}" if unbounded and value > _MOST else None

    def parse(self, text: str) -> Any:
        """Return the value of a command-line argument.

        Raises:
            ValueError: The text is not a valid value; the message begins with `must be`.
        """
        value: Any = text
        if self.many:
            words = [word.strip() for word in text.split(",")]
            value = tuple(self._parsed(word) for word in words if word)
        else:
            value = self._parsed(text)
        problem = self.problem(value)
        if problem:
            raise ValueError(problem)
        return value

    def _parsed(self, word: str) -> Any:
        try:
            if self.kind is dict:
                return json.loads(word)
            if self.choices:  # hyphens and underscores are the same on the command line
                return next((one for one in self.choices if one.replace("_", "-") == word.replace("_", "-")), word)
            return self.kind(word) if self.kind in (int, float, Path) else word
        except (ValueError, OverflowError, RecursionError) as error:
            why = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
            raise ValueError(f"must be {self.allowed()}{why}") from error

    def shown_default(self) -> str:
        """Return the default as `--help` and the docs show it."""
        if self.default is REQUIRED:
            return "required"
        if self.default is None or self.default == {} or self.default == ():
            return self.unset or "none"
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def settings_of(declared: type) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by name, in their order."""
    return _read_settings(declared)


def _read(declared: type) -> dict[str, Setting]:
    hints = get_type_hints(declared)
    return {part.name: Setting.of(part, hints[part.name]) for part in fields(declared) if part.init}


_read_settings: Any = cache(_read)  # mypy does not accept a class as Hashable


def check(settings: Any, declared: type | None = None, names: Iterable[str] = (), *, where: str = "") -> None:
    """Check the type and the range of every field of a settings object.

    Args:
        settings: The object.
        declared: The dataclass that declares its settings; its own class by default.
        names: The fields to check; all by default.
        where: Prefix of the error, such as `EMFTConfig`.

    Raises:
        ValueError: `steps is 0, but must be at least 1`.
    """
    known = settings_of(declared or type(settings))
    for name in names or known:
        value = getattr(settings, name)
        problem = known[name].problem(value)
        if problem:
            raise ValueError(f"{where}{': ' if where else ''}{name} is {shown(value)}, but {problem}")


def from_dict(declared: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Return a settings object from the values of a JSON or YAML file, checked.

    Args:
        declared: The settings' dataclass.
        values: Some of its fields; lists become tuples.
        where: What the values were read from, for the error.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type or is out of range.
    """
    known = settings_of(declared)
    for name in values:
        if name not in known:
            place = f" in {where}" if where else ""
            raise ValueError(f"there is no setting {shown(name)}{place}{did_you_mean(name, known)}")
    made = declared(**{name: tuple(v) if isinstance(v, list) and known[name].many else v for name, v in values.items()})
    check(made)
    return made


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def check_level(level: str, *names: str | None) -> None:
    """Check that datasets or benchmarks have a level: only the pocket problems have another than the plain one.

    Args:
        names: The names; None is skipped.

    Raises:
        ValueError: `level is hard, but gsm8k has no levels (only pocket does): leave --level out`.
    """
    for name in names:
        if level != PLAIN and name not in (None, POCKET_DATASET):
            only = f"only {POCKET_DATASET} does"
            raise ValueError(f"level is {level}, but {name} has no levels ({only}): leave --level out")


def at_level(name: str, level: str | None) -> str:
    """Return the name of a dataset or benchmark at a level, as results show it: `pocket`, `pocket-hard`."""
    return name if level in (None, PLAIN) else f"{name}-{level}"


def is_gguf(model: str) -> bool:
    """Return whether a model's name is that of a GGUF file, to be decoded by llama.cpp."""
    return model.lower().endswith(".gguf")


def _text_problem(text: str) -> str | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "must be UTF-8 text"
    return "must be text without null characters" if "\0" in text else None


def settings_table(declared: type) -> str:
    """Return a Markdown table of a settings dataclass for the docs: setting, default, allowed, meaning."""
    rows = []
    for name, one in settings_of(declared).items():
        unit = f" {one.unit}" if one.unit and one.default not in (None, REQUIRED) else ""
        allowed = one.allowed() + (f"; {one.unit}" if one.unit else "")
        rows.append((f"`{name}`", f"{one.shown_default()}{unit}", allowed, one.help))
    return markdown_table(("setting", "default", "allowed", "meaning"), rows, aligned=False)


@dataclass(frozen=True)
class ModelSettings:
    """The model and where it runs, common to all commands."""

    model: str = setting(POCKET_NAME, help=f"Hub id, folder, {' or '.join(POCKET_NAMES)}.", group="model")
    revision: str | None = setting(None, help="Branch, tag or commit of a Hub model.", group="model", unset="main")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        help="Precision to load the model in; auto is the checkpoint's on a GPU and float32 on a CPU.",
        group="model",
    )
    device: str | None = setting(
        None, help="cpu, cuda, cuda:1, mps and the like.", group="model", unset="the best there is"
    )
    trust_remote_code: bool = setting(False, help="Run the code that comes in the model's repository.", group="model")
    seed: int = setting(0, help="Seed of all random numbers.", group="sampling", low=0, high=MAX_SEED)


@dataclass(frozen=True)
class DataSettings:
    """Where prompts and answers come from."""

    dataset: str | None = setting(
        None, help="Hub id or file (.jsonl, .json, .csv, .parquet, .txt).", group="data", unset="the pocket problems"
    )
    dataset_config: str | None = setting(None, help="Configuration of a Hub dataset.", group="data")
    split: str = setting("train", help="Split of the dataset.", group="data")
    level: Literal["plain", "hard"] = setting(
        "plain", help="Level of the pocket problems; hard: more steps, larger numbers, longer stories.", group="data"
    )
    prompt_column: str | None = setting(
        None, help="Column of the prompts.", group="data", unset="the first of prompt, question, problem, input"
    )
    answer_column: str | None = setting(
        None,
        help="Column of the answers, to measure with or to train on.",
        group="data",
        unset="the first of answer, solution, target",
    )
    chat_template: bool = setting(True, help="Put prompts into the tokenizer's chat template.", group="data")
    limit: int | None = setting(None, help="Rows of the dataset to use.", group="data", low=1, unset="all")


@dataclass(frozen=True)
class DrawSettings:
    """How a token is drawn, after EM-INF."""

    temperature: float = setting(1.0, help="Sampling temperature.", group="sampling", above=0)
    top_k: int = setting(0, help="Draw among this many tokens; 0: all.", group="sampling", low=0)
    top_p: float = setting(1.0, help="Draw among the likeliest tokens of this mass.", group="sampling", above=0, high=1)
    min_p: float = setting(
        0.0, help="Smallest probability of a token, as a share of the largest.", group="sampling", low=0, below=1
    )
