"""EM-RL-sequence in OpenRLHF: an agent whose reward is the log-probability of what the policy just sampled.

OpenRLHF's own reward hooks see texts only; an agent executor also sees the engine's log-probabilities. Pass this file
to OpenRLHF's trainer with `--train.agent_func_path`. Sequence rewards are far below -10, to which OpenRLHF clips them
by default: widen `--reward.clip_range`, or all samples get the same reward.
"""

import logging
from copy import deepcopy
from typing import Any

import torch
from openrlhf.utils.agent import SingleTurnAgentExecutor

from em_hf.training.rewards import sequence_reward

logger = logging.getLogger(__name__)


class AgentExecutor(SingleTurnAgentExecutor):
    """OpenRLHF's single-turn executor with the reward of EM-RL-sequence (paper, equation 3).

    Overrides `execute`: it requests the log-probabilities of the sampled tokens from the engine, and their sum is the
    reward. OpenRLHF also samples its evaluations with this executor, at `--eval.temperature`.
    """

    async def execute(self, prompt: Any, label: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Sample one completion and reward it.

        Args:
            prompt, label: as OpenRLHF passes them; the label is ignored.
            sampling_params (`vllm.SamplingParams`): of the rollout; not modified.
            *args, **kwargs: as for the parent (`max_length`, `hf_tokenizer`, `llm_engine`, `images`).

        Returns:
            The result from which OpenRLHF builds an experience, with `reward` and `scores` in nats.

        Raises:
            ValueError: the sampling distribution is truncated, and vLLM does not return log-probabilities under it.
        """
        for name, whole in (("top_p", (1,)), ("top_k", (0, -1)), ("min_p", (0,))):
            value = getattr(sampling_params, name)
            if value not in whole:
                raise ValueError(
                    f"rollout.{name} is {value:g}, but the reward is the log-probability under the distribution that "
                    f"was sampled, and that must be the whole one: set it to {whole[-1]}"
                )
        if sampling_params.temperature != 1:
            _warn_of_temperature(sampling_params.temperature)
        asked = deepcopy(sampling_params)
        if asked.logprobs is None:
            asked.logprobs = 0  # of the sampled token only
        result = await super().execute(prompt, label, asked, *args, **kwargs)
        ((start, end),) = result["action_ranges"]
        log_probs = torch.tensor([result["rollout_log_probs"][start:end]], dtype=torch.float64)
        result["reward"] = result["scores"] = float(sequence_reward(log_probs, None, torch.ones_like(log_probs)))
        if sampling_params.logprobs is None:  # the trainer corrects for the engine only if asked to
            result["rollout_log_probs"] = None
        return result


_warned: set[float] = set()


def _warn_of_temperature(temperature: float) -> None:
    if temperature not in _warned:
        _warned.add(temperature)
        logger.warning(
            "sampled at temperature %g, but vLLM gives log-probabilities at temperature 1 by default: right for an "
            "evaluation; to train, set --rollout.temperature 1",
            temperature,
        )
