"""EM-RL in verl: the trainer `em_hf`, whose rewards are the policy's own log-probabilities and entropies.

verl loads this module through the entry point `verl.plugins` in every process that imports verl, including Ray's
workers. Select the trainer with `trainer.v1.trainer_mode=em_hf` and the reward with `+em_hf.reward=sequence`; the
folder `verl_runs` next to this module has configurations of complete runs. verl logs a plug-in that fails to
load at debug level only, so this one warns, and `em-hf env` reports it.
"""

import logging
from typing import Any

import torch

from em_hf.training.rewards import rent_last_third_reward, rent_reward, sequence_reward, token_reward

try:
    import transfer_queue as tq
    from omegaconf import open_dict
    from tensordict import TensorDict
    from verl.trainer.ppo.v1.trainer_base import register_trainer
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
    from verl.workers.utils.padding import response_to_nested
except Exception as error:
    from importlib.metadata import version

    reason = (
        f"em-hf's plug-in is made for verl 0.9, and in verl {version('verl')} it finds not all it needs "
        f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}): the trainer em_hf is not there"
    )
    logging.getLogger(__name__).warning(reason)
    raise ImportError(reason) from error

REWARDS = {
    "sequence": sequence_reward,
    "token": token_reward,
    "rent": rent_reward,
    "rent_last_third": rent_last_third_reward,
}


@register_trainer("em_hf")
class EMHFTrainer(PPOTrainerSync):
    """verl's synchronous trainer with rewards from the sampling policy.

    Overrides `_compute_advantage`: rewards computed from verl's entropies and log-probabilities of each batch become
    its `rm_scores`, at the last token of each response; the parent computes the advantages.

    Args:
        config: verl's; `em_hf.reward` is one of sequence (the default), token, rent and rent_last_third.

    Raises:
        ValueError: the reward is unknown, or `rollout_correction.bypass_mode` is on, so verl computes no entropies.
    """

    def __init__(self, config: Any) -> None:
        self.reward_name = (config.get("em_hf") or {}).get("reward", "sequence")
        if self.reward_name not in REWARDS:
            raise ValueError(f"em_hf.reward is {self.reward_name!r}, but must be one of {', '.join(REWARDS)}")
        if (config.algorithm.get("rollout_correction") or {}).get("bypass_mode", False):
            raise ValueError(
                "algorithm.rollout_correction.bypass_mode is on, but then verl computes no entropies, which the reward "
                "is made of: set it to false"
            )
        with open_dict(config):
            # Under any other name verl would fill its replay buffer asynchronously.
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        fields = ["entropy", "old_log_probs", "response_mask"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        nested = data["response_mask"]
        padded = {name: torch.nested.to_padded_tensor(data[name], 0.0) for name in fields}
        mask = padded["response_mask"]
        rewards = REWARDS[self.reward_name](padded["old_log_probs"], padded["entropy"], mask)
        metrics["em_hf/reward/mean"] = float(rewards.mean())
        scores = response_to_nested(at_last_token(rewards, mask), nested)
        batch = tq.kv_batch_put(
            keys=batch.keys,
            partition_id=batch.partition_id,
            fields=TensorDict({"rm_scores": scores}, batch_size=len(batch)),
        )
        return super()._compute_advantage(batch, metrics)


def at_last_token(rewards: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Put `[B]` rewards on each row's last token that counts, and 0 elsewhere: `[B, T]`."""
    positions = torch.arange(mask.shape[-1], device=mask.device)
    last = (positions * (mask != 0)).argmax(-1)
    scores = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    return scores.scatter(-1, last[:, None], rewards.float()[:, None])
