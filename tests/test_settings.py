"""One declaration per setting: what is checked, said and shown is what the field declares."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_hf.generation.config import EntropyMinConfig
from em_hf.messages import did_you_mean, one_line, shown
from em_hf.settings import GROUPS, check, from_dict, setting, settings_of, settings_table
from em_hf.training.settings import RunSettings


@dataclass(frozen=True)
class Toy:
    name: str = setting("plain", help="Name.")
    size: int = setting(4, help="Size.", low=1, unit="tokens")
    rate: float = setting(0.5, help="Rate.", above=0, high=1)
    share: float = setting(0.0, help="Share.", low=0, below=1)
    kind: Literal["one", "two_three"] = setting("one", help="Kind.")
    way: str | None = setting(None, help="Way.", choices=("left", "right"), unset="either")
    flag: bool = setting(False, help="Flag.")
    limit: int | None = setting(None, help="Limit.", low=1, unset="all")
    names: tuple[str, ...] = setting(("a", "b"), help="Names.")
    numbers: tuple[float, ...] = setting((), help="Numbers.", low=0)
    more: dict[str, Any] = setting({}, help="More.")
    place: Path | None = setting(None, help="Place.")


RIGHT: list[tuple[str, Any]] = [
    ("size", 1),
    ("rate", 1),
    ("rate", 1e-300),
    ("share", 0),
    ("kind", "two_three"),
    ("way", None),
    ("way", "left"),
    ("limit", None),
    ("names", ()),
    ("numbers", (0, 2.5)),
    ("more", {"x": [1]}),
    ("place", "some where"),
]
WRONG: list[tuple[str, Any, str]] = [
    ("name", 3, "name is 3, but must be text"),
    ("name", None, "name is None, but must be text"),
    ("name", "\ud800", "UTF-8"),
    ("name", "a\0b", "without null characters"),
    ("size", 0, "size is 0, but must be at least 1"),
    ("size", 2.0, "size is 2.0, but must be a whole number, at least 1"),
    ("size", True, "size is True, but must be a whole number"),
    ("size", "3", "size is '3', but must be a whole number"),
    ("size", [1], r"size is \[1\], but must be a whole number"),
    ("size", 10**12, "must be at most 2,147,483,647"),
    ("rate", 0, "rate is 0, but must be above 0 and at most 1"),
    ("rate", math.nan, "rate is nan, but must be a finite number, above 0 and at most 1"),
    ("rate", math.inf, "rate is inf, but must be a finite number"),
    ("rate", 10**400, "must be a finite number"),
    ("share", 1, "share is 1, but must be at least 0 and below 1"),
    ("kind", "two-three", "must be one of one, two_three; did you mean 'two_three'?"),
    ("way", ["left"], r"way is \['left'\], but must be one of left, right"),
    ("flag", 1, "flag is 1, but must be true or false"),
    ("limit", math.inf, "limit is inf, but must be a whole number, at least 1"),
    ("names", "ab", "names is 'ab', but must be a list of names"),
    ("names", ("a", 3), "must be"),
    ("numbers", (1, -1), "must be at least 0"),
    ("more", [1], r"more is \[1\], but must be a JSON object"),
    ("place", 3, "place is 3, but must be a path"),
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_a_right_value_passes(name: str, value: Any) -> None:
    check(Toy(**{name: value}))


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_a_wrong_value_is_one_line_with_name_value_and_what_is_allowed(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check(Toy(**{name: value}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("size", "3", 3),
        ("rate", "1e-3", 0.001),
        ("names", " x , y,", ("x", "y")),
        ("numbers", "1,2.5", (1.0, 2.5)),
        ("more", '{"a": 1}', {"a": 1}),
        ("place", "a/b", Path("a/b")),
        ("kind", "one", "one"),
    ],
)
def test_a_word_of_the_command_line_becomes_the_value(name: str, word: str, value: Any) -> None:
    found = settings_of(Toy)[name].parse(word)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("size", "few"),
        ("size", "1.5"),
        ("size", "9" * 5000),
        ("rate", "inf"),
        ("rate", "nan"),
        ("rate", "-0.1"),
        ("numbers", "1,nan"),
        ("kind", "three"),
        ("more", "{"),
        ("more", "[1]"),
        ("more", "[" * 100_000),
    ],
)
def test_a_word_that_stands_for_nothing_says_what_is_allowed(name: str, word: str) -> None:
    with pytest.raises(ValueError, match=r"^must be ") as caught:
        settings_of(Toy)[name].parse(word)
    assert "\n" not in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_whatever_a_file_holds_is_a_checked_setting_or_a_one_line_error(value: Any) -> None:
    for name, one in settings_of(Toy).items():
        try:
            made = from_dict(Toy, {name: value})
        except ValueError as error:
            assert str(error).startswith(f"{name} is ") and "\n" not in str(error)
            continue
        kept = getattr(made, name)
        if one.kind is float and not one.many:
            assert math.isfinite(kept) and not isinstance(kept, bool)
        elif not one.many and kept is not None and one.kind is not Path:
            assert type(kept) is one.kind


def test_an_unknown_key_gets_the_nearest_name_and_the_file() -> None:
    with pytest.raises(ValueError, match=r"there is no setting .szie. in my\.yaml; did you mean .size.\?"):
        from_dict(Toy, {"szie": 3}, "my.yaml")
    assert did_you_mean("EM_ft", ["em-ft", "sft"]) == "; did you mean 'em-ft'?"
    assert did_you_mean("quite something else", ["em-ft"]) == "" == did_you_mean(3, ["em-ft"])


def test_an_error_is_one_line_and_never_empty() -> None:
    assert one_line(ValueError("a\n  b\tc ")) == "a b c" and one_line(KeyError()) == "KeyError" and one_line(" ") == ""
    assert one_line("x" * 9, 9) == "x" * 9 and one_line("x" * 10, 9) == "x" * 8 + "…"


def test_a_long_or_deep_value_is_shown_short() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 90 and len(shown("x" * 10_000)) < 90 and len(shown(10**5000)) < 90
    assert shown("two\nlines") == "'two\\nlines'"


def test_the_table_has_a_row_per_setting_with_default_range_and_meaning() -> None:
    rows = settings_table(Toy).splitlines()
    assert len(rows) == 2 + len(settings_of(Toy))
    assert "| `size` | 4 tokens | a whole number, at least 1; tokens | Size. |" in rows
    assert "| `limit` | all | a whole number, at least 1 | Limit. |" in rows
    assert "| `kind` | one | one of one, two_three | Kind. |" in rows


@pytest.mark.parametrize("declared", [RunSettings, EntropyMinConfig])
def test_every_setting_has_a_sentence_and_a_group(declared: type) -> None:
    for one in settings_of(declared).values():
        assert (one.help.endswith(".") and one.help[0].isupper()) or one.name == "device", one
        assert one.group in GROUPS
        assert not one.help.rstrip(".").endswith(" a step") and one.title


def test_the_bounds_that_em_inf_declares_are_those_it_checks() -> None:
    """Its file checks itself, without this module: what the help says has to be what its constructor holds to."""
    for name, one in settings_of(EntropyMinConfig).items():
        if one.kind not in (int, float):
            continue
        step = 1 if one.kind is int else 1e-9
        inside: dict[str, Any] = {
            "tmin": {"tmax": 1.0},
            "tmax": {"tmin": 1e-12},
            "learning_rate": {"optimizer": "sgd"},
        }.get(name, {})
        for bound, is_in, outside in (
            (one.low, True, -step),
            (one.high, True, step * max(1, one.high or 1)),
            (one.above, False, 0),
            (one.below, False, 0),
        ):
            if bound is None:
                continue
            if is_in:
                EntropyMinConfig(**{name: one.kind(bound), **inside})
            with pytest.raises(ValueError, match=name):
                EntropyMinConfig(**{name: one.kind(bound + outside), **inside})


def test_settings_survive_json() -> None:
    toy = Toy(names=("x",), more={"a": 1})
    values = {name: getattr(toy, name) for name in settings_of(Toy)}
    assert from_dict(Toy, json.loads(json.dumps(values))) == toy
