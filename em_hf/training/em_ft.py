"""EM-FT: fine-tuning on the token entropy of outputs that the model itself just sampled (paper, section 3.1)."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import set_seed
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from em_hf.models import encode_prompts, unwrap_model
from em_hf.sampling import completion_mask, eval_mode, generation_config, using_generation_config
from em_hf.training.losses import Distributions, distributions, summed_kl
from em_hf.training.trainer_card import EMCard


@dataclass
class EMFTConfig(TrainingArguments):
    """transformers' TrainingArguments and what EM-FT adds.

    Args:
        num_generations: samples a prompt (the paper's N; 1 is enough there).
        max_completion_length: tokens a sample has at most.
        temperature: of the sampling; top_k 0 and top_p 1, always. EM-INF is never on while sampling.
        loss_temperature: of the distribution whose entropy is minimized.
        loss_reduction: "sum" over a sample's tokens and mean over samples (the paper's), or "token_mean" over all
            tokens of the step (one-shot EM's; with gradient accumulation, of each micro-batch).
        beta: coefficient of the KL divergence from the model as it was before training, summed and averaged as the
            entropy is; 0 (the paper's main setting) needs no reference.
        chat_template: put prompts into the tokenizer's chat template, where it has one.

    Raises:
        ValueError: a value is out of range.
    """

    num_generations: int = field(default=1, metadata={"help": "Samples a prompt."})
    max_completion_length: int = field(default=256, metadata={"help": "Tokens a sample has at most."})
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature."})
    loss_temperature: float = field(default=1.0, metadata={"help": "Temperature of the entropy minimized."})
    loss_reduction: Literal["sum", "token_mean"] = field(default="sum", metadata={"help": "sum or token_mean."})
    beta: float = field(default=0.0, metadata={"help": "KL coefficient."})
    chat_template: bool = field(default=True, metadata={"help": "Use the tokenizer's chat template."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Prompts are no model input: keep them."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_seed is None:
            # Every process samples with a seed of its own, but to share the prompts all must order them alike.
            self.data_seed: int | None = self.seed
        for name, low in (("num_generations", 1), ("max_completion_length", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"EMFTConfig: {name} is {getattr(self, name)}, but must be at least {low}")
        if not self.beta >= 0:
            raise ValueError(f"EMFTConfig: beta is {self.beta}, but must be at least 0")
        for name in ("temperature", "loss_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"EMFTConfig: {name} is {getattr(self, name)}, but must be above 0")
        if self.loss_reduction not in ("sum", "token_mean"):
            raise ValueError(
                f"EMFTConfig: loss_reduction is {self.loss_reduction!r}, but must be 'sum' or 'token_mean'"
            )


class EMFTTrainer(EMCard, Trainer):
    """transformers' Trainer with the EM-FT objective.

    Overrides `compute_loss`: it samples from the current model and returns the samples' entropy (inside this hook,
    since the Trainer restores its random state before it, which makes a resumed run equal to one that was not
    interrupted); and `log`, which adds `entropy` (nats a token), `completion_length`, and
    the step's sampled `tokens` and `tokens_with_prompts`, over all processes.

    Args:
        model: a causal language model, or a PEFT model of one.
        args: the settings.
        train_dataset: rows with a "prompt"; other columns are never looked at.
        processing_class: the model's tokenizer.
        peft_config: makes the model a PEFT model first.
        **kwargs: as for the parent.
    """

    args: EMFTConfig
    method = "em-ft"

    def __init__(
        self,
        model: Any,
        args: EMFTConfig | None = None,
        *,
        train_dataset: Any,
        processing_class: Any,
        peft_config: Any = None,
        **kwargs: Any,
    ) -> None:
        if peft_config is not None:
            try:
                from peft import get_peft_model
            except ImportError as error:
                raise ImportError("LoRA needs PEFT: pip install 'em-hf[train]'") from error
            model = get_peft_model(model, peft_config)
        args = args or EMFTConfig(output_dir="em-ft")
        super().__init__(
            model,
            args,
            data_collator=self._encode,
            train_dataset=train_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        self._frozen = None
        if args.beta and not hasattr(model, "disable_adapter"):
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError("beta above 0 keeps a whole copy of the model, which is not sharded: train with LoRA")
            self._frozen = deepcopy(self.model).eval().requires_grad_(False).to(self.accelerator.device)
        self.loss_is_scaled_for_ga = False  # a mean over the micro-batch: the parent divides it by their number
        self.sampling = generation_config(
            unwrap_model(model),
            processing_class,
            do_sample=True,
            temperature=args.temperature,
            num_return_sequences=args.num_generations,
            max_new_tokens=args.max_completion_length,
            stop_strings=None,  # a sample ends at an end-of-sequence token alone
        )
        self._sums = dict.fromkeys(("entropy", "kl", "tokens", "tokens_with_prompts", "samples"), 0.0)
        if self.accelerator.num_processes > 1:
            set_seed(self.args.seed, device_specific=True)  # or all processes would sample with the same noise

    def _encode(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        prompts = [row["prompt"] for row in rows]
        return encode_prompts(self.processing_class, prompts, chat_template=self.args.chat_template)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        inner = self.accelerator.unwrap_model(model)
        sequences = self.sample(inner, inputs)
        prompt = inputs["attention_mask"].repeat_interleave(self.args.num_generations, 0)
        mask = completion_mask(sequences[:, prompt.shape[1] :], self.sampling.eos_token_id or [])
        attention = torch.cat([prompt, mask.long()], 1)
        policy = distributions(model, unwrap_model(inner), sequences, attention, mask, self.args.loss_temperature)
        entropy = total = policy.summed_entropy()
        count = mask.sum()
        if self.args.beta:
            kl = summed_kl(policy, self._reference(inner, sequences, attention, mask))
            total = entropy + self.args.beta * kl
        if self.args.loss_reduction == "token_mean":
            # Gradients are averaged over processes, so each divides by the mean count, not by its own.
            everywhere = (
                self.accelerator.gather(count[None].float()).mean() if self.accelerator.num_processes > 1 else count
            )
            loss = total / everywhere
        else:
            loss = total / mask.shape[0]
        if model.training:
            self._sums["entropy"] += float(entropy.detach())
            self._sums["kl"] += float(kl.detach()) if self.args.beta else 0.0
            self._sums["tokens"] += int(count)
            self._sums["tokens_with_prompts"] += int(count) + int(prompt.sum())
            self._sums["samples"] += mask.shape[0]
        return (loss, None) if return_outputs else loss

    @torch.no_grad()
    def _reference(self, model: Any, sequences: Tensor, attention: Tensor, mask: Tensor) -> Distributions:
        """Those of the model before training: of the adapter's base, or of a copy."""
        off = nullcontext() if self._frozen is not None else model.disable_adapter()
        asked = self._frozen if self._frozen is not None else model
        with off, eval_mode(asked):
            return distributions(asked, unwrap_model(asked), sequences, attention, mask, self.args.loss_temperature)

    @torch.no_grad()
    def sample(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        """`num_generations` samples a prompt from the current model: `[samples, prompt + completion]`."""
        with using_generation_config(model, self.sampling), eval_mode(model):
            return model.generate(**inputs, generation_config=self.sampling)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if self._sums["tokens"]:
            sums = torch.tensor(list(self._sums.values()), dtype=torch.float32, device=self.accelerator.device)
            entropy, kl, tokens, with_prompts, samples = self.accelerator.reduce(sums, reduction="sum").tolist()
            logs = {
                **logs,
                "entropy": entropy / tokens,
                **({"kl": kl / tokens} if self.args.beta else {}),
                "completion_length": tokens / samples,
                "tokens": tokens,
                "tokens_with_prompts": with_prompts,
            }
            self._sums = dict.fromkeys(self._sums, 0.0)
        super().log(logs, *args, **kwargs)


def build_trainer(
    settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list[TrainerCallback]
) -> EMFTTrainer:
    """The trainer of a run (see `em_hf.training.run`)."""
    from em_hf.training.settings import lora_config, trainer_arguments

    args = EMFTConfig(
        **trainer_arguments(settings, folder),
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_length,
        temperature=settings.temperature,
        loss_temperature=settings.loss_temperature,
        loss_reduction=settings.loss_reduction,
        beta=settings.beta,
        chat_template=settings.chat_template,
    )
    return EMFTTrainer(
        model,
        args,
        train_dataset=[{"prompt": prompt} for prompt in data.prompts],
        processing_class=tokenizer,
        peft_config=lora_config(settings) if settings.lora else None,
        callbacks=callbacks,
    )
