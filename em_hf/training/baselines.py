"""The methods the paper compares EM with, and related ones: TRL's trainers with other rewards and our settings."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer
from trl.trainer.utils import pad

from em_hf.entropy import token_entropy
from em_hf.models import encode_prompts
from em_hf.training.em_rl import EMRLConfig, EMRLTrainer
from em_hf.training.rewards import (
    coin_flip,
    for_trl,
    marked_answer,
    rent_last_third_reward,
    rent_reward,
    self_certainty,
    self_certainty_reward,
    verified_answer,
    vote_frequency,
)
from em_hf.training.rollouts import Rollouts, prompt_rows, refuse_other_policies, rollout_arguments, trainer_parts


class ResumableRLOOTrainer(Rollouts, RLOOTrainer):
    """TRL's RLOOTrainer with exact resume."""


class ResumableGRPOTrainer(Rollouts, GRPOTrainer):
    """TRL's GRPOTrainer with exact resume."""


class CertaintyGRPOTrainer(ResumableGRPOTrainer):
    """TRL's GRPOTrainer with rewards that can take the columns `entropies` and `certainties` of the sampling policy.

    GRPO does not score its rollouts under the policy that sampled them, so this takes an extra forward pass.
    """

    model: Module  # None, as transformers allows, only before __init__ has run

    @torch.no_grad()
    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: list[list[int]]
    ) -> Tensor:
        prompt_ids_list = self._tokenize_prompts(prompts)[0]
        size = self.args.per_device_train_batch_size
        rows = []
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            z = self._completion_logits(prompt_ids_list[part], completion_ids_list[part])
            columns = {"entropies": token_entropy(z), "certainties": self_certainty(z)}
            for i, (row, ids) in enumerate(zip(inputs[part], completion_ids_list[part], strict=True)):
                rows.append({**row, **{name: values[i, : len(ids)].tolist() for name, values in columns.items()}})
        return super()._calculate_rewards(rows, prompts, completions, completion_ids_list)

    def _completion_logits(self, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        """Return the logits `[rows, longest completion, V]` that the completions' tokens were drawn from."""

        def padded(rows: list[list[int]], side: str) -> tuple[Tensor, Tensor]:
            ids = [torch.tensor(row, device=self.accelerator.device) for row in rows]
            ones = [torch.ones_like(row) for row in ids]
            return pad(ids, self._tokenizer.pad_token_id, padding_side=side), pad(ones, 0, padding_side=side)

        (before, seen), (after, drawn) = padded(prompts, "left"), padded(completions, "right")
        length = after.shape[1]
        with self.accelerator.autocast():
            logits = self.model(
                input_ids=torch.cat([before, after], 1),
                attention_mask=torch.cat([seen, drawn], 1),
                logits_to_keep=length + 1,
                use_cache=False,
            ).logits
        return logits[:, -length - 1 : -1] / self.temperature


def build_em_rl(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """Return the trainer for EM-RL-sequence or EM-RL-token, whichever `settings.method` names."""
    args = EMRLConfig(**rollout_arguments(settings, folder), reward=settings.method.removeprefix("em-rl-"))
    return EMRLTrainer(
        model, args, **trainer_parts(settings, tokenizer, prompt_rows(settings, tokenizer, data), callbacks)
    )


def build_rloo(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """Return the trainer for RLOO with labels, or another reward on texts: a vote, a marked answer, or chance."""
    args = RLOOConfig(**rollout_arguments(settings, folder))
    rewards = {"rloo": verified_answer, "format": marked_answer, "random": coin_flip}
    reward = vote_frequency(settings.num_generations) if settings.method == "sc-rl" else rewards[settings.method]
    rows = prompt_rows(settings, tokenizer, data)
    return ResumableRLOOTrainer(model, reward, args=args, **trainer_parts(settings, tokenizer, rows, callbacks))


def build_grpo(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """Return the trainer for GRPO with labels, or with the reward of RENT or Intuitor (`self-certainty`)."""
    args = GRPOConfig(**rollout_arguments(settings, folder))
    rows = prompt_rows(settings, tokenizer, data)
    rest = trainer_parts(settings, tokenizer, rows, callbacks)
    if settings.method == "grpo":
        return ResumableGRPOTrainer(model, verified_answer, args=args, **rest)
    refuse_other_policies(args)
    rent = rent_last_third_reward if settings.reward_tokens == "last-third" else rent_reward
    reward = for_trl(rent, "entropies") if settings.method == "rent" else for_trl(self_certainty_reward, "certainties")
    return CertaintyGRPOTrainer(model, reward, args=args, **rest)


def build_sft(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """Return the trainer for SFT on the labeled solutions, with the loss on them and the end of the text only."""
    # The prompt is encoded as everywhere else; without a chat template the solution starts on a new line.
    rows = []
    for prompt, solution in zip(data.prompts, data.solutions, strict=True):
        before = encode_prompts(tokenizer, [prompt], chat_template=settings.chat_template)["input_ids"][0].tolist()
        text = solution if settings.chat_template and tokenizer.chat_template else "\n" + solution
        # A solution that is cut off does not end there.
        after = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append((before, after[: settings.max_completion_length]))
    return sft_trainer(settings, model, tokenizer, rows, folder, callbacks)


def sft_trainer(
    settings: Any, model: Any, tokenizer: Any, rows: list[tuple[list[int], list[int]]], folder: Path, callbacks: list
) -> Any:
    """Return TRL's SFTTrainer on (prompt, completion) tokens, with the loss on the completions only."""
    from em_hf.training.settings import trainer_arguments

    masked = [
        {"input_ids": before + after, "completion_mask": [0] * len(before) + [1] * len(after)} for before, after in rows
    ]
    args = SFTConfig(**trainer_arguments(settings, folder), max_length=None, completion_only_loss=True, loss_type="nll")
    return SFTTrainer(model, args, **trainer_parts(settings, tokenizer, masked, callbacks))
