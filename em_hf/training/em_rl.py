"""EM-RL: reinforcement learning whose only reward is the policy's confidence in its own samples (paper, section 3.2).

TRL's RLOOTrainer provides the loop: rollouts, the leave-one-out baseline, the KL penalty, the clipped loss. This module
provides the rewards, from the sampling policy's own log-probabilities and entropies, without another forward pass.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from trl import RLOOConfig, RLOOTrainer

from em_hf.training.rewards import for_trl, sequence_reward, token_reward
from em_hf.training.rollouts import Rollouts, fit_machine, refuse_other_policies
from em_hf.training.trainer_card import EMCard

REWARDS: dict[str, Any] = {
    "sequence": for_trl(sequence_reward, "log_probs"),
    "token": for_trl(token_reward, "entropies"),
}


@dataclass
class EMRLConfig(RLOOConfig):
    """TRL's RLOOConfig with the paper's settings as defaults.

    Args:
        reward: "sequence", the log-probability of the sampled output (equation 3), or "token", the negative entropy
            summed over its tokens (equation 4).
        num_generations: rollouts per prompt (the paper's N).
        beta: coefficient of the KL penalty to the reference policy (the paper's β).
        bf16: on by default if the accelerator supports it; TRL's own default is always on.

    Raises:
        ValueError: the rollouts would not be samples of the policy that is rewarded and trained, because of top_k,
            top_p, min_p, a repetition penalty, or EM-INF.
    """

    reward: Literal["sequence", "token"] = field(default="sequence", metadata={"help": "sequence or token."})
    num_generations: int | None = field(default=4, metadata={"help": "Rollouts per prompt."})
    beta: float = field(default=0.001, metadata={"help": "KL coefficient."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Recompute activations in the backward."})

    def __post_init__(self) -> None:
        fit_machine(self)
        super().__post_init__()
        if self.reward not in REWARDS:
            raise ValueError(f"EMRLConfig: reward is {self.reward!r}, but must be 'sequence' or 'token'")
        refuse_other_policies(self)


class EMRLTrainer(EMCard, Rollouts, RLOOTrainer):
    """TRL's RLOOTrainer with negative entropy as the only reward.

    Overrides two hooks. The pass that scores the rollouts under the policy that sampled them also requests the
    entropies and keeps both; the reward computation passes them on as the columns `log_probs` and `entropies`, which
    any reward function in TRL's form can take (see `em_hf.training.rewards`).

    Args:
        model: a causal language model, loaded by name or from a folder (if `beta` is not 0, the reference model is
            loaded from there again), or a PEFT model.
        args: the settings.
        reward_funcs: rewards to use in place of `args.reward`'s.
        train_dataset: rows with a "prompt", a text or a list of messages; other columns are passed to the rewards only.
        processing_class: the model's tokenizer.
        **kwargs: as for the parent.

    Raises:
        ValueError: when training under unsloth, whose generated trainers return no entropies.
    """

    def __init__(self, model: Any, args: EMRLConfig | None = None, *, reward_funcs: Any = None, **kwargs: Any) -> None:
        args = args or EMRLConfig(output_dir="em-rl")
        refuse_other_policies(args)
        self.method = f"em-rl-{args.reward}"
        self._of_policy: tuple[Tensor, Tensor] | None = None
        super().__init__(model=model, reward_funcs=reward_funcs or REWARDS[args.reward], args=args, **kwargs)

    def _get_per_token_logps_and_entropies(
        self, model: Any, *args: Any, compute_entropy: bool = False, **kwargs: Any
    ) -> Any:
        call = super()._get_per_token_logps_and_entropies
        # The first pass without gradients after a generation is the sampling policy's; the next is the reference's:
        # another model, or this one without its adapter.
        if torch.is_grad_enabled() or compute_entropy or self._of_policy is not None:
            return call(model, *args, compute_entropy=compute_entropy, **kwargs)
        log_probs, entropies, *rest = call(model, *args, compute_entropy=True, **kwargs)
        if entropies is None:
            raise ValueError(
                "EM-RL needs the entropies of the sampled tokens, but this trainer's parent returned none, as the "
                "trainers that unsloth generates in place of TRL's: train without unsloth"
            )
        self._of_policy = log_probs, entropies
        return log_probs, None, *rest

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: list[list[int]]
    ) -> Tensor:
        assert self._of_policy is not None
        log_probs, entropies = self._of_policy
        self._of_policy = None
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        rows = []
        for i, (row, ids) in enumerate(zip(inputs, completion_ids_list, strict=True)):
            # The sum over a masked, truncated completion would be empty, which is the highest possible reward.
            scored = not self.mask_truncated_completions or ids[-1] in ends
            columns = {"log_probs": log_probs, "entropies": entropies}
            rows.append({**row, **{k: v[i, : len(ids)].tolist() if scored else None for k, v in columns.items()}})
        return super()._calculate_rewards(rows, prompts, completions, completion_ids_list)
