"""The registry, the recipes, and what becomes of settings: validated, read back from a run, given to the Trainer."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from em_hf.methods import METHODS
from em_hf.pocket import POCKET_REASONER, problems
from em_hf.pocket.problems import LEVELS
from em_hf.runs import RunFacts
from em_hf.training.settings import (
    RunSettings,
    load_precision,
    recipe_names,
    recipe_settings,
    recipe_text,
    trainer_arguments,
)

MINE = {"model": "some/model", "dataset": "mine.jsonl"}


def test_every_method_names_something_that_builds_a_trainer() -> None:
    assert "em-ft" in METHODS
    for name, method in METHODS.items():
        assert name == name.lower() and "_" not in name
        assert callable(method.builder())


def test_listing_methods_and_resolving_settings_import_no_heavy_library() -> None:
    code = (
        "import sys; from em_hf.methods import METHODS; from em_hf.training.settings import RunSettings; "
        "RunSettings.resolve({}); heavy = {'torch', 'transformers', 'datasets', 'trl', 'peft'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("method", [None, *METHODS])
def test_every_recipe_resolves_for_every_method(name: str, method: str | None) -> None:
    given = {"recipe": name, "dataset": "mine.jsonl", **({"method": method} if method else {})}
    if method in ("sft", "ssd", "em-ft") and "em-rl" in name:
        given |= {"beta": 0.0}
    if method and METHODS[method].rollouts and recipe_settings(name, method)["num_generations"] == 1:
        given |= {"num_generations": 4}
    settings = RunSettings.resolve(given)
    assert settings.recipe == name and settings.method == (method or recipe_settings(name)["method"])


def test_the_papers_recipes_hold_the_papers_settings() -> None:
    """Section 2 of the shared facts: N, the batch in samples, the learning rate, β, the steps."""
    for kind in ("sequence", "token"):
        settings = RunSettings.resolve({"recipe": f"paper-em-rl-{kind}"})
        assert settings.method == f"em-rl-{kind}" and settings.num_generations == 4 and settings.beta == 0.001
        assert settings.batch_size * settings.gradient_accumulation_steps * settings.num_generations == 512
        assert settings.learning_rate == 1e-6 and settings.steps == 100 and settings.limit == 35_000
    settings = RunSettings.resolve({"recipe": "paper-em-ft"})
    assert settings.num_generations == 1 and settings.loss_reduction == "sum" and settings.steps == 40
    settings = RunSettings.resolve({"recipe": "one-shot-em", "dataset": "one.jsonl"})
    assert (settings.temperature, settings.loss_temperature, settings.learning_rate) == (0.5, 0.5, 2e-5)
    assert settings.loss_reduction == "token_mean" and settings.steps == 10


def test_a_value_that_is_ours_is_marked_so_in_every_recipe() -> None:
    for name in recipe_names():
        comments = [line for line in recipe_text(name).splitlines() if line.startswith("#")]
        assert any("ours" in line.lower() for line in comments), name


def test_the_pocket_recipe_is_for_the_pocket_models_on_their_own_problems_only() -> None:
    pocket, default = recipe_settings("pocket"), recipe_settings("default")
    assert RunSettings.resolve({}).learning_rate == pocket["learning_rate"]
    for name in ("pocket-reasoner", "pocket-misled"):
        assert RunSettings.resolve({"model": name}).learning_rate == pocket["learning_rate"]
    assert RunSettings.resolve({"dataset": "mine.jsonl"}).learning_rate == default["learning_rate"]
    assert RunSettings.resolve(MINE).loss_reduction == "sum"  # the paper's


@pytest.mark.parametrize("level", LEVELS)
def test_the_longest_answers_leave_room_for_the_solutions_of_every_level(level: str) -> None:
    from transformers import AutoTokenizer

    from em_hf.evaluation.run import our_tasks

    encode = AutoTokenizer.from_pretrained(POCKET_REASONER)
    longest = max(len(encode(row["solution"])["input_ids"]) + 1 for row in problems("test", 300, 0, level=level))
    assert longest <= our_tasks()["pocket"]["generation_kwargs"]["max_gen_toks"]
    for method in METHODS:
        settings = RunSettings.resolve({"method": method, "level": level})
        assert settings.level == level and longest <= settings.max_completion_length


def test_what_is_given_wins_over_the_recipe() -> None:
    settings = RunSettings.resolve({"steps": 3, "entropy_min": {"n_grad_steps": 9}})
    assert settings.steps == 3 and settings.batch_size == recipe_settings("pocket")["batch_size"]
    assert settings.entropy_min == {"n_grad_steps": 9}  # the rest is the model's


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "some/model"}, "dataset is missing: some/model brings no prompts of its own; give --dataset"),
        ({"method": "em"}, "method is 'em', but must be one of em-ft"),
        ({"steps": 0}, "steps is 0, but must be at least 1"),
        ({"eval_problems": -1}, "eval_problems is -1, but must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0"),
        ({"temperature": 0.0}, "temperature is 0.0, but must be above 0"),
        ({"beta": -0.1}, "beta is -0.1, but must be at least 0"),
        ({"recipe": "paper"}, "recipe is 'paper', but must be one of default, laptop-smollm2"),
        ({"method": "em-rl-token", "num_generations": 1}, "num_generations is 1, but em-rl-token compares"),
        ({"vllm": "colocate", "method": "sft"}, "vllm is colocate, but sft samples nothing while it trains"),
        ({"vllm_server": "http://host:8000"}, "vllm_server is 'http://host:8000', but must be .* and vllm server"),
        ({"method": "grpo", "num_generations": 2, "vllm": "server", "vllm_server": "host"}, "must be a URL"),
        ({"method": "sft", "beta": 0.1}, "beta is 0.1, but sft has no KL penalty"),
        ({"entropy_min": {"threshold": -1}}, "threshold"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        RunSettings.resolve(given)
    assert "\n" not in str(told.value)


def test_settings_are_read_back_from_a_run_and_those_of_another_version_are_named() -> None:
    settings = RunSettings.resolve({**MINE, "lora": True})
    assert RunSettings.of_run(RunFacts("failed", settings=asdict(settings))) == settings
    with pytest.raises(ValueError, match=r"unknown settings warmth: it was made by em-hf 9\.9; continue with"):
        RunSettings.of_run(RunFacts("failed", em_hf="9.9", settings={**asdict(settings), "warmth": 1}))
    with pytest.raises(ValueError, match="no settings"):
        RunSettings.of_run(RunFacts("failed", em_hf="9.9"))


@pytest.mark.parametrize("value", [{"steps": "3"}, {"lora": 1}, {"learning_rate": None}, {"entropy_min": [1]}])
def test_a_value_of_the_wrong_type_in_a_runs_file_is_one_line(value: dict[str, Any]) -> None:
    stored = {**asdict(RunSettings.resolve(MINE)), **value}
    with pytest.raises(ValueError, match=next(iter(value))) as told:
        RunSettings.of_run(RunFacts("failed", settings=stored))
    assert "\n" not in str(told.value)


def test_no_file_switches_a_repositorys_code_on_and_a_run_that_had_it_asks_for_the_flag_again() -> None:
    facts = RunFacts("interrupted", settings=asdict(RunSettings.resolve({**MINE, "trust_remote_code": True})))
    with pytest.raises(ValueError, match="never read from a file: give --trust-remote-code again to continue"):
        RunSettings.of_run(facts)
    assert RunSettings.of_run(facts, trust_remote_code=True).trust_remote_code
    plain = RunFacts("interrupted", settings=asdict(RunSettings.resolve(MINE)))
    assert not RunSettings.of_run(plain).trust_remote_code


@pytest.mark.parametrize(
    ("given", "loaded", "bf16"),
    [
        ({}, "float32", False),
        ({"dtype": "bfloat16"}, "float32", True),  # the weights that are trained stay in float32
        ({"dtype": "bfloat16", "lora": True}, "bfloat16", True),
        ({"lora": True}, "auto", False),
    ],
)
def test_trained_weights_are_float32_whatever_they_are_multiplied_in(
    given: dict[str, Any], loaded: str, bf16: bool, tmp_path: Path
) -> None:
    settings = RunSettings.resolve({**MINE, "device": "cpu", **given})
    assert load_precision(settings) == loaded
    assert trainer_arguments(settings, tmp_path)["bf16"] is bf16


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype is float16, in which a CPU does not train"):
        load_precision(RunSettings.resolve({**MINE, "device": "cpu", "dtype": "float16"}))
