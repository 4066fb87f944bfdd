"""What all trainers that sample with TRL share: the policy that is sampled, exact resume, a run's arguments."""

from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from trl.trainer.utils import RepeatSampler

from em_hf.sampling import eval_mode, using_generation_config
from em_hf.training.vllm import check_vllm, one_line_errors, prepare_engine


def fit_machine(args: Any) -> None:
    """Set `bf16`, if it is None, to whether the accelerator supports bfloat16.

    TRL's own default is on, which on a CPU is an error or silently trains in bfloat16.
    """
    if args.bf16 is None:
        args.bf16 = bool(
            not args.use_cpu and not args.fp16 and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        )


def refuse_other_policies(args: Any) -> None:
    """Raise ValueError unless rollouts are drawn from the whole, unchanged distribution whose entropy is used."""
    neutral = {"top_k": (0, None), "top_p": (1.0, None), "min_p": (0.0, None), "repetition_penalty": (1.0, None)}
    more = args.generation_kwargs if isinstance(args.generation_kwargs, dict) else {}
    name = type(args).__name__
    for setting, allowed in neutral.items():
        value = more.get(setting, getattr(args, setting))
        if value not in allowed:
            raise ValueError(
                f"{name}: {setting} is {value}, but the entropy is of the policy that was sampled, and that is the "
                f"whole distribution: it must be {allowed[0]:g}"
            )
    # TRL hands generation_kwargs to generate or to vLLM's SamplingParams, where EM-INF's settings are in extra_args.
    of_vllm = more.get("extra_args")
    if {"entropy_min", "entropy_min_config"} & {*more, *(of_vllm if isinstance(of_vllm, dict) else ())}:
        raise ValueError(
            f"{name}: EM-INF stays off in RL rollouts and in EM-FT's samples: those of the changed distribution would "
            "bias the gradient and the importance ratio; train without it, and decode with it"
        )


class Rollouts:
    """A mixin for TRL trainers that sample: samples of the policy itself, exact resume, and no run without steps.

    Overrides `_generate_single_turn`: dropout is off, and no default of the model's own generation config (beams, a
    penalty, a minimum length) applies to sampling.

    Overrides `_get_train_sampler`, `_save_rng_state` and `_load_rng_state`: a resumed run ends with the same weights as
    an uninterrupted one. TRL saves neither the rollouts still in use nor how much of them has been used, and its prompt
    order after the first epoch depends on what its sampler drew before. Here both are in the checkpoint, and an epoch's
    order depends only on seed and epoch. TRL drops an incomplete step at the end of an epoch, so if the prompts do not
    fill one step, training would have no steps.

    vLLM's errors are turned into one line each, and the run's seed decides what an engine in this process samples.

    Raises:
        ValueError: when training starts with fewer prompts than one step needs; when vLLM is missing or fails.
    """

    _step: int
    _buffered_inputs: Any

    def __init__(self, *rest: Any, args: Any, **kwargs: Any) -> None:
        parent: Any = super()  # a TRL trainer
        if not args.use_vllm:
            parent.__init__(*rest, args=args, **kwargs)
            return
        check_vllm(args.vllm_mode, args.vllm_server_base_url)
        if args.vllm_mode == "colocate":
            prepare_engine()
        with one_line_errors(args):
            parent.__init__(*rest, args=args, **kwargs)
        set_seed(args.seed, device_specific=True)  # the engine has set its own seed

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        trainer: Any = self
        sample = super()._generate_single_turn  # type: ignore[misc]
        if trainer.use_vllm:
            with one_line_errors(trainer.args):
                return sample(*args, **kwargs)
        model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        with using_generation_config(model, trainer.generation_config), eval_mode(model):
            return sample(*args, **kwargs)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)  # type: ignore[misc]
        if isinstance(sampler, RepeatSampler):
            if sampler.num_samples < sampler.batch_size:
                raise ValueError(
                    f"the dataset has {sampler.num_samples} prompts, but one step takes {sampler.batch_size}: lower "
                    "per_device_train_batch_size or gradient_accumulation_steps, or give more prompts"
                )
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
    """TRL's sampler with an order that depends only on seed and epoch; in the first epoch it is TRL's."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


def sampling_arguments(settings: Any, folder: Path) -> dict[str, Any]:
    """Return the run's settings under the names that TRL's trainers share; the batch counts prompts."""
    from em_hf.training.settings import trainer_arguments

    return {
        **trainer_arguments(settings, folder),
        "num_generations": settings.num_generations,
        "max_completion_length": settings.max_completion_length,
        "temperature": settings.temperature,
        "top_k": 0,
        "top_p": 1.0,
        "beta": settings.beta,
        "use_vllm": settings.vllm is not None,
        **({"vllm_mode": settings.vllm} if settings.vllm else {}),
        "vllm_server_base_url": settings.vllm_server,
    }


def rollout_arguments(settings: Any, folder: Path) -> dict[str, Any]:
    """Return `sampling_arguments` for RL, whose batch counts completions and whose reference is loaded separately."""
    reference = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
    return {
        **sampling_arguments(settings, folder),
        "per_device_train_batch_size": settings.samples_per_batch,
        "model_init_kwargs": {name: value for name, value in reference.items() if value} or None,
    }


def trainer_parts(settings: Any, tokenizer: Any, rows: list[dict[str, Any]], callbacks: list) -> dict[str, Any]:
    from datasets import Dataset

    from em_hf.training.settings import lora_config

    return {
        "train_dataset": Dataset.from_list(rows),
        "processing_class": tokenizer,
        "callbacks": callbacks,
        "peft_config": lora_config(settings) if settings.lora else None,
    }


def prompt_rows(settings: Any, tokenizer: Any, data: Any) -> list[dict[str, Any]]:
    """Return the prompts in TRL's form, as messages if there is a chat template, with the answers if they are known.

    Raises:
        ValueError: A prompt is the beginning of an answer, which TRL would close before the model goes on.
    """
    for row, prompt in enumerate(data.prompts, 1):
        if not isinstance(prompt, str) and prompt[-1]["role"] == "assistant":
            raise ValueError(
                f"prompt {row} ends with an assistant message, but TRL's trainers begin a new one after it: end "
                "prompts with the user's message"
            )
    templated = settings.chat_template and tokenizer.chat_template
    rows: list[dict[str, Any]] = [
        {"prompt": [{"role": "user", "content": prompt}] if templated and isinstance(prompt, str) else prompt}
        for prompt in data.prompts
    ]
    if data.answers is not None:
        rows = [{**row, "answer": answer} for row, answer in zip(rows, data.answers, strict=True)]
    return rows
