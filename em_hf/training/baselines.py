"""What the paper compares EM with, and its neighbours: TRL's trainers with other rewards, under our settings."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer
from trl.trainer.utils import pad

from em_hf.entropy import token_entropy
from em_hf.models import encode_prompts
from em_hf.training.em_rl import EMRLConfig, EMRLTrainer, ExactResume, refuse_other_policies
from em_hf.training.rewards import (
    mean_self_certainty,
    negative_mean_entropy,
    negative_mean_entropy_of_last_third,
    self_certainty,
    verified_answer,
    vote_frequency,
)


class ResumableRLOOTrainer(ExactResume, RLOOTrainer):
    """TRL's RLOOTrainer, which resumes exactly."""


class ResumableGRPOTrainer(ExactResume, GRPOTrainer):
    """TRL's GRPOTrainer, which resumes exactly."""


class CertaintyGRPOTrainer(ResumableGRPOTrainer):
    """TRL's GRPOTrainer, whose rewards may take the columns `entropies` and `certainties` of the sampling policy.

    GRPO does not score its rollouts under the policy that sampled them, so this is a forward pass of its own.
    """

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
        """`[rows, longest completion, V]`, those that the completions' tokens were drawn from."""

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
    """EM-RL-sequence or EM-RL-token, as `settings.method` says."""
    args = EMRLConfig(**_rollout_arguments(settings, folder), reward=settings.method.removeprefix("em-rl-"))
    return EMRLTrainer(model, args, **_rest(settings, tokenizer, _prompt_rows(settings, tokenizer, data), callbacks))


def build_rloo(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """RLOO with labels, or, for `sc-rl`, with the majority vote in their place."""
    args = RLOOConfig(**_rollout_arguments(settings, folder))
    reward = vote_frequency(settings.num_generations) if settings.method == "sc-rl" else verified_answer
    rows = _prompt_rows(settings, tokenizer, data)
    return ResumableRLOOTrainer(model, reward, args, **_rest(settings, tokenizer, rows, callbacks))


def build_grpo(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """GRPO with labels, or with the reward of RENT or Intuitor (`self-certainty`)."""
    args = GRPOConfig(**_rollout_arguments(settings, folder))
    rows = _prompt_rows(settings, tokenizer, data)
    rest = _rest(settings, tokenizer, rows, callbacks)
    if settings.method == "grpo":
        return ResumableGRPOTrainer(model, verified_answer, args, **rest)
    refuse_other_policies(args)
    rent = negative_mean_entropy_of_last_third if settings.reward_tokens == "last-third" else negative_mean_entropy
    reward = rent if settings.method == "rent" else mean_self_certainty
    return CertaintyGRPOTrainer(model, reward, args, **rest)


def build_sft(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """SFT on the labeled solutions: the loss is of their tokens and the end of the text, never of the prompt's."""
    from em_hf.training.settings import trainer_arguments

    # The prompt is encoded as it is everywhere else, and the solution begins a line of its own.
    rows = []
    for prompt, solution in zip(data.prompts, data.solutions, strict=True):
        before = encode_prompts(tokenizer, [prompt], chat_template=settings.chat_template)["input_ids"][0].tolist()
        text = solution if settings.chat_template and tokenizer.chat_template else "\n" + solution
        after = tokenizer(text, add_special_tokens=False)["input_ids"][: settings.max_completion_length]
        after = [*after, tokenizer.eos_token_id]
        rows.append({"input_ids": before + after, "completion_mask": [0] * len(before) + [1] * len(after)})
    args = SFTConfig(**trainer_arguments(settings, folder), max_length=None, completion_only_loss=True, loss_type="nll")
    return SFTTrainer(model, args, **_rest(settings, tokenizer, rows, callbacks))


def _rollout_arguments(settings: Any, folder: Path) -> dict[str, Any]:
    """The run's settings under TRL's names; its batch counts completions, ours prompts."""
    from em_hf.training.settings import trainer_arguments

    arguments = trainer_arguments(settings, folder)
    arguments["per_device_train_batch_size"] = settings.batch_size * settings.num_generations
    reference = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
    return {
        **arguments,
        "num_generations": settings.num_generations,
        "max_completion_length": settings.max_completion_length,
        "temperature": settings.temperature,
        "top_k": 0,
        "top_p": 1.0,
        "beta": settings.beta,
        "model_init_kwargs": {name: value for name, value in reference.items() if value} or None,
        "use_vllm": settings.vllm is not None,
        **({"vllm_mode": settings.vllm} if settings.vllm else {}),
        "vllm_server_base_url": settings.vllm_server,
    }


def _rest(settings: Any, tokenizer: Any, rows: list[dict[str, Any]], callbacks: list) -> dict[str, Any]:
    from datasets import Dataset

    from em_hf.training.settings import lora_config

    return {
        "train_dataset": Dataset.from_list(rows),
        "processing_class": tokenizer,
        "callbacks": callbacks,
        "peft_config": lora_config(settings) if settings.lora else None,
    }


def _prompt_rows(settings: Any, tokenizer: Any, data: Any) -> list[dict[str, Any]]:
    """Prompts as TRL wants them, messages where there is a chat template, and the answers where they are known."""
    templated = settings.chat_template and tokenizer.chat_template
    rows: list[dict[str, Any]] = [
        {"prompt": [{"role": "user", "content": prompt}] if templated else prompt} for prompt in data.prompts
    ]
    if data.answers is not None:
        rows = [{**row, "answer": answer} for row, answer in zip(rows, data.answers, strict=True)]
    return rows
