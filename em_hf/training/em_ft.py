"""EM-FT: fine-tuning on the token entropy of outputs that the model itself just sampled (paper, section 3.1).

TRL's DistillationTrainer has the loop: sampling with transformers or vLLM, chat templates, tools, accumulation, FSDP
and DeepSpeed. It is made to compare a student with a teacher on the student's samples; here there is no teacher, and
the loss is the student's own entropy.
"""

from collections import deque
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module
from transformers import TrainerCallback
from trl import DistillationConfig, DistillationTrainer
from trl.models.utils import prepare_deepspeed, prepare_fsdp

from em_hf.models import unwrap_model
from em_hf.sampling import eval_mode
from em_hf.settings import check, settings_of
from em_hf.training.losses import Distributions, distributions, summed_kl
from em_hf.training.rollouts import (
    Rollouts,
    fit_machine,
    prompt_rows,
    refuse_other_policies,
    sampling_arguments,
    trainer_parts,
)
from em_hf.training.settings import RunSettings
from em_hf.training.trainer_card import EMCard

_NOT_MODEL_INPUTS = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "tool_mask"}
_NOT_MODEL_INPUTS |= {"num_items_in_batch", "num_images", "num_tiles"}


@dataclass
class EMFTConfig(DistillationConfig):
    """TRL's DistillationConfig with the settings of EM-FT.

    The sampling policy is the model itself: `top_k` 0, `top_p` 1, no penalty, never EM-INF.

    Args:
        num_generations (`int`, defaults to 1): samples per prompt (the paper's N; 1 is enough there). The batch sizes
            count prompts.
        max_completion_length (`int`, defaults to 256): the most tokens per sample.
        loss_temperature (`float`, defaults to 1.0): of the distribution whose entropy is minimized; `temperature` is
            used for sampling.
        loss_reduction (`"sum"` or `"token_mean"`): the sum over a sample's tokens, averaged over the samples of the
            step (the paper's), or the mean over all tokens of the step (one-shot EM's).
        beta (`float`, defaults to 0.0): coefficient of the KL divergence from the model before training, in the same
            reduction; 0 (the paper's main setting) needs no reference model.
        bf16 (`bool`, *optional*): on by default if the accelerator supports it; TRL's own default is always on.

    Raises:
        ValueError: a value is out of range, or the samples would be drawn from a policy other than the model.
    """

    num_generations: int = field(default=1, metadata={"help": "Samples per prompt."})
    max_completion_length: int = field(default=256, metadata={"help": "The most tokens per sample."})
    loss_temperature: float = field(default=1.0, metadata={"help": "Temperature of the entropy that is minimized."})
    loss_reduction: Literal["sum", "token_mean"] = field(default="sum", metadata={"help": "sum or token_mean."})
    beta: float = field(default=0.0, metadata={"help": "KL coefficient."})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "Recompute activations in the backward."})

    def __post_init__(self) -> None:
        fit_machine(self)
        beta, self.beta = self.beta, 0.0  # the parent's is a different coefficient, from 0 to 1
        super().__post_init__()
        self.beta = beta
        declared = settings_of(RunSettings).keys() & {*EMFTConfig.__annotations__, "temperature"}
        check(self, RunSettings, sorted(declared), where="EMFTConfig")
        refuse_other_policies(self)


class EMFTTrainer(EMCard, Rollouts, DistillationTrainer):
    """TRL's DistillationTrainer with the token entropy of the samples as its loss and no teacher.

    Overrides `_compute_loss` (the objective), `compute_loss` (logs `kl` where `beta` is not 0) and
    `_generate_and_score_completions` (`num_generations` samples per prompt, drawn from only the prompts and their
    images). The rest is the parent's: its metrics (`entropy` in nats per token, `completions/mean_length`,
    `num_tokens`), vLLM (`use_vllm`, `vllm_mode`), tools, evaluation.

    Args:
        model (`str`, `PreTrainedModel` or `PeftModel`): a causal language model, or its name.
        args ([`EMFTConfig`]): the settings.
        train_dataset: rows with a "prompt", a text or a list of messages; other columns are ignored.
        processing_class: the model's tokenizer or processor.
        peft_config: turns the model into a PEFT model first.
        **kwargs: as for the parent.

    Raises:
        ValueError: fewer prompts than one step needs, a row without a prompt, or `beta` above 0 with a model that is
            already sharded.

    Example:

        >>> args = EMFTConfig("em-ft", max_steps=40, loss_reduction="token_mean", use_vllm=True)
        >>> EMFTTrainer("Qwen/Qwen2.5-0.5B", args, train_dataset=[{"prompt": "2 + 3 ="}] * 64).train()
    """

    args: EMFTConfig
    model: Module  # None, as transformers allows, only before __init__ has run
    method = "em-ft"

    def __init__(self, model: Any, args: EMFTConfig | None = None, **kwargs: Any) -> None:
        super().__init__(model, args=args or EMFTConfig(output_dir="em-ft"), **kwargs)
        self._kl = torch.zeros(())
        for name, kept in self._logs.items():  # the parent keeps as many as there are prompts
            self._logs[name] = deque(kept, maxlen=(kept.maxlen or 0) * self.args.num_generations or None)
        if self.args.beta and not hasattr(self.model, "disable_adapter"):
            self.teacher_model = self._reference()

    def _reference(self) -> Any:
        """Return a copy of the model before training, sharded as the model will be."""
        try:
            copy = deepcopy(self.model).eval().requires_grad_(False)
        except AssertionError as error:  # raised by FSDP2
            raise ValueError(
                f"beta is {self.args.beta}, but a model that is sharded already cannot be copied as the reference: let "
                "accelerate shard it, or train with LoRA, whose base model is the reference"
            ) from error
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(copy, self.accelerator)
        if self.is_fsdp_enabled:
            return prepare_fsdp(copy, self.accelerator)
        return self.accelerator.prepare_model(copy, evaluation_mode=True)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        for row in inputs:
            if not row.get("prompt"):
                what = "an empty prompt" if "prompt" in row else f"no prompt, only {', '.join(sorted(row))}"
                raise ValueError(f'a row has {what}: EM-FT samples from a "prompt", a text or a list of messages')
        columns = ("prompt", "image", "images")
        rows = [{name: row[name] for name in columns if name in row} for row in inputs]
        return super()._generate_and_score_completions([row for row in rows for _ in range(self.args.num_generations)])

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        result = super().compute_loss(model, inputs, *args, **kwargs)
        if self.args.beta:
            # After the wrapped forward pass, which no collective may interrupt.
            both = torch.stack([self._kl, _counted(inputs).sum().to(self._kl)])
            kl, tokens = self.accelerator.reduce(both, reduction="sum").tolist()
            self._metrics["train" if self.model.training else "eval"]["kl"].append(kl / max(tokens, 1))
        return result

    def _compute_loss(self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        mask = _counted(inputs)
        policy = self._distributions(unwrapped_student, inputs, mask)
        entropy = total = policy.summed_entropy()
        if self.args.beta:
            kl = summed_kl(policy, self._of_reference(unwrapped_student, inputs, mask))
            total = entropy + self.args.beta * kl
            self._kl = kl.detach()
        if self.args.loss_reduction == "token_mean":
            # In training the parent passes the token count of the whole step divided by the number of processes.
            count = mask.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        else:
            count = len(mask) * (self.args.gradient_accumulation_steps if self.model.training else 1)
        return total / count, entropy.detach(), mask.sum()

    def _of_reference(self, student: Any, inputs: dict[str, Any], mask: Tensor) -> Distributions:
        with torch.no_grad():
            if self.teacher_model is None:
                with student.disable_adapter(), eval_mode(student):
                    return self._distributions(student, inputs, mask)
            teacher = self.accelerator.unwrap_model(self.teacher_model)
            found = self._forward_redirection(
                self.teacher_model, teacher, self._distributions, teacher, inputs, mask, self._shards
            )
            return found

    @property
    def _shards(self) -> bool:
        return self.is_deepspeed_enabled or self.is_fsdp_enabled

    def _distributions(self, model: Any, inputs: dict[str, Any], mask: Tensor, keep: bool = False) -> Distributions:
        """Return those of the samples' tokens; with `keep`, the head outlives a sharded model's forward pass."""
        inner = unwrap_model(model)
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        more = {name: value for name, value in inputs.items() if name not in _NOT_MODEL_INPUTS}
        # The forward pass of the wrapper is under way (see `_ForwardRedirection`): its hooks must not run twice.
        found = distributions(inner.forward, inner, ids, attention, mask, self.args.loss_temperature, **more)
        return found.with_own_head() if keep else found


def _counted(inputs: dict[str, Any]) -> Tensor:
    """Return bool `[samples, tokens]`, true for tokens the model sampled (end of sequence included), not for tools'."""
    mask = inputs["completion_mask"].bool()
    return mask & inputs["tool_mask"].bool() if "tool_mask" in inputs else mask


def build_trainer(
    settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list[TrainerCallback]
) -> EMFTTrainer:
    """Return the trainer of a run (see `em_hf.training.run`)."""
    args = EMFTConfig(
        **sampling_arguments(settings, folder),
        loss_temperature=settings.loss_temperature,
        loss_reduction=settings.loss_reduction,
    )
    return EMFTTrainer(
        model, args, **trainer_parts(settings, tokenizer, prompt_rows(settings, tokenizer, data), callbacks)
    )
