"""What reaches the server from outside: right values pass, everything else is one line that names it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from em_hf.app.request import DecodeRequest, known_answer
from hypothesis import given
from hypothesis import strategies as st

from em_hf import EntropyMinConfig

RIGHT = {
    "prompt": "x",
    "model": "pocket-reasoner",
    "seed": 0,
    "max_new_tokens": 128,
    "temperature": 1.0,
    "threshold": 0.3,
    "n_grad_steps": 3,
    "entropy_min": True,
}


def test_right_values_pass_and_whole_floats_become_whole_numbers() -> None:
    request = DecodeRequest.checked(**{**RIGHT, "seed": 7.0, "n_grad_steps": 2.0, "temperature": 1})
    assert (request.seed, request.n_grad_steps, request.temperature) == (7, 2, 1.0)
    config = request.config()
    assert config is not None and (config.threshold, config.n_grad_steps) == (0.3, 2)
    assert DecodeRequest.checked(**{**RIGHT, "entropy_min": False}).config() is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("prompt", "", "empty"),
        ("prompt", " \n ", "empty"),
        ("prompt", None, "must be text"),
        ("prompt", ["x"], "must be text"),
        ("prompt", {"path": "/etc/passwd"}, "must be text"),
        ("prompt", "\ud83d", "half a character"),
        ("prompt", "x" * 1_000_000, "1,000,000 characters"),
        ("model", 3, "must be text"),
        ("model", None, "must be text"),
        ("seed", -1, "seed"),
        ("seed", 2**32, "seed"),
        ("seed", 1.5, "seed"),
        ("seed", "0", "seed"),
        ("seed", None, "seed"),
        ("seed", True, "seed"),
        ("max_new_tokens", 0, "1 to 1,024"),
        ("max_new_tokens", 10**9, "1 to 1,024"),
        ("temperature", -0.1, "0 to 2"),
        ("temperature", 2.1, "0 to 2"),
        ("temperature", math.nan, "temperature"),
        ("temperature", math.inf, "temperature"),
        ("temperature", "hot", "temperature"),
        ("threshold", -1, "threshold"),
        ("threshold", math.nan, "threshold"),
        ("n_grad_steps", 101, "0 to 100"),
        ("n_grad_steps", [3], "n_grad_steps"),
        ("entropy_min", 1, "true or false"),
        ("entropy_min", "false", "true or false"),
    ],
    ids=str,
)
def test_a_wrong_value_is_one_short_line_that_names_it(name: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        DecodeRequest.checked(**{**RIGHT, name: value})
    assert name in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 200


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.fixed_dictionaries(dict.fromkeys(RIGHT, ANYTHING)))
def test_no_value_at_all_raises_anything_but_a_value_error(values: dict[str, Any]) -> None:
    try:
        request = DecodeRequest.checked(**values)
    except ValueError:
        return
    assert 0 <= request.temperature <= 2 and 1 <= request.max_new_tokens <= 1024 and request.prompt.strip()


def test_a_known_answer_may_be_left_out_and_is_short() -> None:
    assert known_answer("") is None and known_answer(None) is None and known_answer(" 12 ") == "12"
    with pytest.raises(ValueError, match="at most 200"):
        known_answer("1" * 201)


@given(st.integers(-5, 200))
def test_the_app_takes_the_gradient_steps_that_em_inf_takes(steps: int) -> None:
    def taken(make: Callable[[], Any]) -> bool:
        try:
            make()
        except ValueError:
            return False
        return True

    assert taken(lambda: DecodeRequest.checked(**{**RIGHT, "n_grad_steps": steps})) == taken(
        lambda: EntropyMinConfig(n_grad_steps=steps)
    )
