"""EM-RL: reinforcement learning whose only reward is how sure the policy is of what it sampled (paper, section 3.2).

TRL's RLOOTrainer has the loop: rollouts, the leave-one-out baseline, the KL penalty, the clipped loss. Ours is what it
is given: rewards from the sampling policy's own log-probabilities and entropies, without another forward pass.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from trl import RLOOConfig, RLOOTrainer
from trl.trainer.utils import RepeatSampler

from em_hf.training.rewards import negative_entropy, sequence_log_prob
from em_hf.training.trainer_card import EMCard

REWARDS: dict[str, Any] = {"sequence": sequence_log_prob, "token": negative_entropy}


def fit_machine(args: Any) -> None:
    """Where nothing was asked for: bfloat16 only where the accelerator has it, and no gradient checkpointing.

    TRL's own defaults are both on, which on a CPU is an error, or bfloat16 without a word.
    """
    if args.bf16 is None:
        args.bf16 = bool(
            not args.use_cpu and not args.fp16 and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        )


@dataclass
class EMRLConfig(RLOOConfig):
    """TRL's RLOOConfig with the paper's settings as defaults.

    Args:
        reward: "sequence", the log-probability of the sampled output (equation 3), or "token", the negative entropy
            summed over its tokens (equation 4).
        num_generations: rollouts a prompt (the paper's N).
        beta: coefficient of the KL penalty to the reference policy (the paper's β).
        bf16: by default where the accelerator has it; TRL's own default is everywhere.

    Raises:
        ValueError: the rollouts would not be samples of the policy that is rewarded and trained: top_k, top_p, min_p, a
            repetition penalty, or EM-INF.
    """

    reward: Literal["sequence", "token"] = field(default="sequence", metadata={"help": "sequence or token."})
    num_generations: int | None = field(default=4, metadata={"help": "Rollouts a prompt."})
    beta: float = field(default=0.001, metadata={"help": "KL coefficient."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Recompute activations in the backward."})

    def __post_init__(self) -> None:
        fit_machine(self)
        super().__post_init__()
        if self.reward not in REWARDS:
            raise ValueError(f"EMRLConfig: reward is {self.reward!r}, but must be 'sequence' or 'token'")
        refuse_other_policies(self)


def refuse_other_policies(args: Any) -> None:
    """Raise ValueError unless rollouts are drawn from the whole, unchanged distribution that the reward is about."""
    neutral = {"top_k": (0, None), "top_p": (1.0, None), "min_p": (0.0, None), "repetition_penalty": (1.0, None)}
    more = args.generation_kwargs if isinstance(args.generation_kwargs, dict) else {}
    name = type(args).__name__
    for setting, allowed in neutral.items():
        value = more.get(setting, getattr(args, setting))
        if value not in allowed:
            raise ValueError(
                f"{name}: {setting} is {value}, but an entropy reward is of the policy that was sampled, and that is "
                f"the whole distribution: it must be {allowed[0]:g}"
            )
    # TRL hands generation_kwargs to generate or to vLLM's SamplingParams, where EM-INF stands among the extra_args.
    of_vllm = more.get("extra_args")
    if {"entropy_min", "entropy_min_config"} & {*more, *(of_vllm if isinstance(of_vllm, dict) else ())}:
        raise ValueError(
            f"{name}: EM-INF stays off in RL rollouts, since samples of the changed distribution would bias the "
            "importance ratio: train without it, and decode with it"
        )


class ExactResume:
    """Mixed into a TRL trainer with rollouts: a resumed run ends with the weights of one that was not interrupted.

    TRL keeps neither the rollouts that are still in use nor how far their use has come, and orders the prompts of every
    epoch after the first by what its sampler has drawn before. Here both stand in the checkpoint, and an epoch's order
    is a function of seed and epoch.
    """

    _step: int
    _buffered_inputs: Any

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)  # type: ignore[misc]
        if isinstance(sampler, RepeatSampler):
            sampler.__class__ = _EpochSampler
        return sampler

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)  # type: ignore[misc]
        torch.save({"step": self._step, "inputs": self._buffered_inputs}, self._rollouts_file(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)  # type: ignore[misc]
        if checkpoint is not None and self._rollouts_file(checkpoint).is_file():
            device = self.accelerator.device  # type: ignore[attr-defined]
            kept = torch.load(self._rollouts_file(checkpoint), map_location=device, weights_only=True)
            self._step, self._buffered_inputs = kept["step"], kept["inputs"]

    def _rollouts_file(self, folder: str) -> Path:
        return Path(folder) / f"rollouts_{self.args.process_index}.pth"  # type: ignore[attr-defined]


class _EpochSampler(RepeatSampler):
    """TRL's sampler, whose order in an epoch depends on seed and epoch alone; in the first epoch it is TRL's."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class EMRLTrainer(EMCard, ExactResume, RLOOTrainer):
    """TRL's RLOOTrainer with negative entropy as the only reward.

    Overrides two hooks: in the pass that scores the rollouts under the policy that sampled them, the entropies are
    asked for too and both are kept; in the reward computation they become the columns `log_probs` and `entropies`,
    which any reward function of TRL's form may take (see `em_hf.training.rewards`).

    Args:
        model: a causal language model, loaded by name or from a folder (where `beta` is not 0 the reference is read
            from there again), or a PEFT model.
        args: the settings.
        reward_funcs: other rewards in place of `args.reward`'s.
        train_dataset: rows with a "prompt", a text or a list of messages; other columns reach the rewards only.
        processing_class: the model's tokenizer.
        **kwargs: as for the parent.
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
        # Of the passes without gradients the first after a generation is the sampling policy's; the next is the
        # reference's: another model, or this one without its adapter.
        if torch.is_grad_enabled() or compute_entropy or self._of_policy is not None:
            return call(model, *args, compute_entropy=compute_entropy, **kwargs)
        log_probs, entropies, *rest = call(model, *args, compute_entropy=True, **kwargs)
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
            # A truncated completion that is masked would have a sum over nothing, the best reward there is.
            scored = not self.mask_truncated_completions or ids[-1] in ends
            columns = {"log_probs": log_probs, "entropies": entropies}
            rows.append({**row, **{k: v[i, : len(ids)].tolist() if scored else None for k, v in columns.items()}})
        return super()._calculate_rewards(rows, prompts, completions, completion_ids_list)
