"""EntropyMinConfig: what it takes, what it refuses, and its way to JSON and back."""

import dataclasses
import json

import pytest

from em_hf import EntropyMinConfig


def test_the_defaults_are_the_reference_implementations_settings() -> None:
    config = EntropyMinConfig()
    assert (config.method, config.optimizer) == ("logit_optimization", "adam")
    assert (config.threshold, config.n_grad_steps, config.learning_rate, config.kl_weight) == (0.3, 3, 0.1, 0.05)
    assert (config.target_ratio, config.tmin, config.tmax, config.tol, config.max_iter) == (0.5, 0.01, 1.0, 1e-4, 100)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("method", "beam", "'logit_optimization' or 'adaptive_temperature'"),
        ("threshold", -0.1, "at least 0"),
        ("threshold", float("nan"), "at least 0"),
        ("threshold", "0.3", "at least 0"),
        ("n_grad_steps", 101, "at least 0 and at most 100"),
        ("n_grad_steps", -1, "at least 0 and at most 100"),
        ("n_grad_steps", 2.0, "a whole number"),
        ("n_grad_steps", True, "a whole number"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", 1.01, "(0, 1]"),
        ("threshold", 10**400, "at least 0"),
        ("kl_weight", -1e-9, "at least 0 and at most 1,000,000"),
        ("kl_weight", 1e300, "at least 0 and at most 1,000,000"),
        ("optimizer", "lbfgs", "'adam' or 'sgd'"),
        ("target_ratio", 0.0, "above 0 and at most 1"),
        ("target_ratio", 1.1, "above 0 and at most 1"),
        ("tmin", 0.0, "above 0 and below 1"),
        ("tmax", 1.5, "at most 1"),
        ("tmax", 0.005, "below tmax"),
        ("tol", 0.0, "above 0"),
        ("max_iter", 0, "at least 1 and at most 1,000"),
        ("max_iter", 10**9, "at least 1 and at most 1,000"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_field_and_the_range(field: str, value: object, rule: str) -> None:
    with pytest.raises(ValueError) as error:
        EntropyMinConfig(**{field: value})  # type: ignore[arg-type]
    assert field in str(error.value)
    assert rule in str(error.value)
    assert repr(value) in str(error.value)


def test_the_bounds_themselves_are_allowed() -> None:
    EntropyMinConfig(threshold=0, n_grad_steps=0, learning_rate=1, kl_weight=0, target_ratio=1, max_iter=1)
    EntropyMinConfig(n_grad_steps=100)


def test_sgd_takes_larger_learning_rates_than_adam() -> None:
    assert EntropyMinConfig(optimizer="sgd", learning_rate=50.0).learning_rate == 50.0
    for wrong in (0, 1e300):
        with pytest.raises(ValueError, match=r"learning_rate is .* above 0 and at most 1,000,000"):
            EntropyMinConfig(optimizer="sgd", learning_rate=wrong)


def test_it_goes_to_json_and_back_unchanged() -> None:
    config = EntropyMinConfig(method="adaptive_temperature", threshold=0.25, target_ratio=0.4, max_iter=7)
    assert EntropyMinConfig.from_json(config.to_json()) == config
    assert EntropyMinConfig.from_dict(json.loads(config.to_json())) == config
    assert set(config.to_dict()) == {field.name for field in dataclasses.fields(EntropyMinConfig)}


def test_an_unknown_field_is_an_error_that_lists_the_fields() -> None:
    with pytest.raises(ValueError, match=r"no field 'treshold'.*threshold"):
        EntropyMinConfig.from_dict({"treshold": 0.1})
    with pytest.raises(ValueError, match="not JSON"):
        EntropyMinConfig.from_json("{")
    with pytest.raises(ValueError, match="JSON object"):
        EntropyMinConfig.from_json("[1]")


def test_a_changed_copy_is_validated_too() -> None:
    with pytest.raises(ValueError, match="threshold"):
        dataclasses.replace(EntropyMinConfig(), threshold=-1)
