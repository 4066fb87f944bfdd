"""The agent and the zero reward in the real OpenRLHF, loaded and called as its rollout engine does."""

import ast
import asyncio
import inspect
import logging
import re
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

OURS = files("em_hf.training")
MAX_LENGTH = 12


def source(module: str) -> str:
    """The text of a file of OpenRLHF, some of which import what only a GPU's machine has."""
    package = find_spec("openrlhf")
    assert package is not None and package.submodule_search_locations
    return Path(package.submodule_search_locations[0], *module.split(".")).with_suffix(".py").read_text()


@pytest.fixture(scope="module")
def load_executor() -> Callable[[str], Any]:
    """The engine's own loader of agents, taken out of its file."""
    from openrlhf.utils.agent import AgentExecutorBase

    tree = ast.parse(source("trainer.ray.vllm_engine"))
    loader = next(node for node in tree.body if getattr(node, "name", "") == "_load_agent_executor")
    names: dict[str, Any] = {"AgentExecutorBase": AgentExecutorBase}
    exec(compile(ast.Module([loader], []), "vllm_engine.py", "exec"), names)
    return names["_load_agent_executor"]


class Engine:
    """vLLM's answer for given tokens, with the log-probabilities of a model of this process."""

    def __init__(self, model: Any, drawn: list[int]) -> None:
        self.model, self.drawn = model, drawn
        self.asked: list[Any] = []

    @torch.no_grad()
    async def generate(self, prompt: list[int], params: Any, multi_modal_data: Any = None) -> Any:
        self.asked.append(params)
        z = self.model(torch.tensor([prompt + self.drawn])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        log_probs = [
            {token: SimpleNamespace(logprob=float(row[token]))} for token, row in zip(self.drawn, z, strict=True)
        ]
        given = None if params.logprobs is None else log_probs
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=self.drawn, text="", finish_reason="stop", logprobs=given)]
        )


def sampling(**changes: Any) -> Any:
    given = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "max_tokens": 4, "logprobs": None}
    return SimpleNamespace(**{**given, **changes})


def executed(executor: Any, engine: Engine, letters: Any, params: Any) -> dict[str, Any]:
    # the call of RolloutRayActor.generate_responses
    return asyncio.run(
        executor.execute(
            prompt="ab",
            label="c",
            sampling_params=params,
            max_length=MAX_LENGTH,
            hf_tokenizer=letters,
            llm_engine=engine,
            images=None,
        )
    )


@pytest.mark.parametrize("log_probs", [None, 1])
def test_the_reward_is_the_log_probability_of_the_sample_and_the_rest_is_openrlhfs(
    log_probs: int | None, load_executor: Callable[[str], Any], letter_model: Callable, letters: Any
) -> None:
    model, drawn = letter_model().eval(), [4, 5, 1]
    executor = load_executor(str(OURS / "openrlhf.py"))
    params = sampling(logprobs=log_probs)
    engine = Engine(model, drawn)
    found = executed(executor, engine, letters, params)
    with torch.no_grad():
        z = model(torch.tensor([[2, 3, *drawn]])).logits[0].double()
    wanted = sum(float(z[1 + i].log_softmax(-1)[token]) for i, token in enumerate(drawn))
    assert found["reward"] == found["scores"] == pytest.approx(wanted, abs=1e-5)
    assert found["observation_tokens"] == [2, 3, *drawn] and found["action_ranges"] == [(2, 5)]
    assert (found["rollout_log_probs"] is None) == (log_probs is None)
    assert params.logprobs == log_probs  # the samples of a prompt share these
    assert engine.asked[0].logprobs is not None


def test_samples_of_a_truncated_distribution_are_refused_and_another_temperature_warns_once(
    load_executor: Callable[[str], Any], letter_model: Callable, letters: Any, caplog: pytest.LogCaptureFixture
) -> None:
    executor, engine = load_executor(str(OURS / "openrlhf.py")), Engine(letter_model().eval(), [4, 1])
    for name, value in (("top_p", 0.9), ("top_k", 20), ("min_p", 0.1)):
        with pytest.raises(ValueError, match=f"rollout.{name} is {value:g}"):
            executed(executor, engine, letters, sampling(**{name: value}))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            executed(executor, engine, letters, sampling(temperature=0.6))
    assert [record.getMessage()[:26] for record in caplog.records] == ["sampled at temperature 0.6"]


def test_the_zero_reward_makes_an_experience_of_reward_zero(letter_model: Callable, letters: Any) -> None:
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    executor = SingleTurnAgentExecutor(str(OURS / "zero_reward.py"))
    found = executed(executor, Engine(letter_model().eval(), [4, 1]), letters, sampling())
    assert found["reward"] == 0.0 and found["scores"] == 0.0


def test_the_options_that_the_documentation_names_are_openrlhfs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    parser = source("cli.train_ppo_ray")
    commands = [block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "openrlhf.cli" in block]
    options = {word for command in commands for word in command.split() if word.startswith("--")}
    assert {"--actor.entropy_coef", "--train.agent_func_path", "--reward.clip_range"} <= options
    assert [option for option in options if f'"{option}"' not in parser] == []


def test_openrlhf_adds_the_entropy_with_the_coefficients_own_sign() -> None:
    """`loss -= entropy * coef`: -1 adds the entropy to what is minimized. There is no check of the sign to fail."""
    step = source("trainer.ray.ppo_actor")
    assert "loss -= entropy_loss * self.args.actor.entropy_coef" in step


def test_the_executor_has_the_parents_signature(load_executor: Callable[[str], Any]) -> None:
    from openrlhf.utils.agent import AgentExecutorBase

    ours = inspect.signature(type(load_executor(str(OURS / "openrlhf.py"))).execute).parameters
    theirs = inspect.signature(AgentExecutorBase.execute).parameters
    assert list(theirs)[:4] == list(ours)[:4]
