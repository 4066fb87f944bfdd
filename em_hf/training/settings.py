"""The settings of a training run, the recipes that provide them, and their names in the underlying libraries."""

from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from em_hf.messages import did_you_mean, shown
from em_hf.methods import METHODS
from em_hf.runs import CHECKPOINTS_FOLDER, RUN_FILE, RunFacts
from em_hf.settings import (
    PLAIN,
    POCKET_DATASETS,
    POCKET_NAME,
    POCKET_NAMES,
    DataSettings,
    DrawSettings,
    ModelSettings,
    check,
    check_level,
    from_dict,
    like,
    setting,
)


@dataclass(frozen=True)
class RunSettings(DataSettings, ModelSettings):
    """All settings that determine a run; they are written to run.json, and `--resume` reads them back.

    `resolve` builds them from a recipe and the user's options; the constructor alone validates nothing.
    """

    method: str = setting("em-ft", help="Training method.", choices=tuple(METHODS))
    recipe: str | None = setting(
        None, help="Settings that belong together; options win over them.", unset="pocket or default"
    )
    steps: int = setting(40, help="Optimizer steps.", group="optimization", low=1)
    batch_size: int = setting(8, help="Prompts per batch and process.", group="optimization", low=1)
    gradient_accumulation_steps: int = setting(1, help="Batches per optimizer step.", group="optimization", low=1)
    learning_rate: float = setting(1e-6, help="Learning rate of AdamW, constant.", group="optimization", above=0)
    max_grad_norm: float = setting(
        1.0, help="Largest norm of the gradient, to which it is clipped; 0: no clipping.", group="optimization", low=0
    )
    num_generations: int = setting(1, help="Samples per prompt.", group="sampling", low=1)
    max_completion_length: int = setting(256, help="Longest sample.", group="sampling", unit="tokens", low=1)
    temperature: float = like(DrawSettings, "temperature")
    top_p: float = like(
        DrawSettings,
        "top_p",
        help="SSD samples from the smallest set of tokens with this probability.",
        group="method",
        label="top-p",
    )
    loss_temperature: float = like(
        DrawSettings,
        "temperature",
        help="Temperature of the distribution whose entropy EM-FT minimizes.",
        group="method",
    )
    loss_reduction: Literal["sum", "token_mean"] = setting(
        "sum", help="Entropy summed over each sample's tokens, or averaged over all tokens."
    )
    beta: float = setting(0.0, help="Coefficient of the KL penalty to the base model.", low=0)
    reward_tokens: Literal["all", "last-third"] = setting("all", help="Tokens that RENT's reward looks at.")
    vllm: Literal["colocate", "server"] | None = setting(
        None, help="Sample with vLLM, in the training processes or on a server.", group="scale", unset="transformers"
    )
    vllm_server: str | None = setting(
        None,
        help="Where the vLLM server runs.",
        group="scale",
        metavar="URL",
        unset="port 8000 of this machine",
        label="vLLM server",
    )
    gradient_checkpointing: bool = setting(
        False, help="Recompute activations: less memory, more time.", group="optimization"
    )
    lora: bool = setting(False, help="Train a LoRA adapter instead of all weights.", label="LoRA")
    lora_rank: int = setting(16, help="Rank of the LoRA adapter.", low=1, label="LoRA rank")
    eval_problems: int = setting(
        64, help="Held-out prompts to measure on before and after; 0: none.", group="watching", low=0
    )
    eval_samples: int = setting(1, help="Samples per held-out prompt.", group="watching", low=1)
    save_steps: int = setting(20, help="Steps between checkpoints.", group="output", low=1)
    guard: bool = setting(
        True,
        help="Stop when the model collapses, and restore the last healthy weights.",
        group="watching",
        flag="--guard/--no-guard",
    )
    early_stopping: bool = setting(
        False, help="Stop when the probe's accuracy falls, and keep the best weights.", group="watching"
    )
    probe_problems: int = setting(
        32, help="Prompts that are sampled while training, for the guard; 0: none.", group="watching", low=0
    )
    probe_every: int = setting(10, help="Steps between probe readings.", group="watching", low=1)
    entropy_min: dict[str, Any] = setting(
        {},
        help="EM-INF settings to store with the model, as JSON: '{\"n_grad_steps\": 10}'.",
        metavar="JSON",
        unset="those stored with the model, else EM-INF's defaults",
        label="EM-INF",
    )

    @classmethod
    def resolve(cls, given: dict[str, Any]) -> "RunSettings":
        """Return the recipe's settings overridden by the given ones; the default recipe depends on model and dataset.

        Raises:
            ValueError: A value is out of range, the dataset is missing for a model without prompts of its own, or
                there is no such recipe.
        """
        own_problems = given.get("dataset", "pocket") in POCKET_DATASETS
        pocket = given.get("model", POCKET_NAME) in POCKET_NAMES and own_problems
        name = given.get("recipe") or ("pocket" if pocket else "default")
        recipe = recipe_settings(name, **{k: given[k] for k in ("method", "level") if isinstance(given.get(k), str)})
        return from_dict(cls, {**recipe, **given, "recipe": name}).validated()

    @classmethod
    def of_run(cls, facts: RunFacts, *, trust_remote_code: bool = False) -> "RunSettings":
        """Return the settings that a run was started with.

        Args:
            trust_remote_code: Whether this call allows a repository's own code; the stored value never does.

        Raises:
            ValueError: The run has settings that this version of em-hf does not know, a value is wrong, or the
                run was started with `trust_remote_code` and this call does not repeat it.
        """
        stored = facts.settings
        if not stored:
            raise ValueError("the run has no settings: it was killed before it began; start it again")
        unknown = sorted(set(stored) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"the run has the unknown settings {', '.join(unknown)}: it was made by em-hf {facts.em_hf}; continue "
                "with that version"
            )
        if stored.get("trust_remote_code") and not trust_remote_code:
            raise ValueError(
                "the run was started with --trust-remote-code, which runs code from the model's repository and is "
                "never read from a file: give --trust-remote-code again to continue"
            )
        return from_dict(cls, {**stored, "trust_remote_code": trust_remote_code}, RUN_FILE).validated()

    @property
    def samples_per_batch(self) -> int:
        """The completions that a process trains on at once: its samples, or the labels of a method that needs those."""
        return self.batch_size * (1 if METHODS[self.method].needs == "solutions" else self.num_generations)

    def validated(self) -> "RunSettings":
        """Return these settings after validating them.

        Raises:
            ValueError: A value is out of range, or two settings exclude each other.
        """
        from em_hf.generation.config import EntropyMinConfig

        check(self)
        if self.dataset is None:
            raise ValueError(
                f"dataset is missing: {self.model} brings no prompts of its own; give --dataset a Hub id, or a "
                ".jsonl, .csv, .parquet or .txt file"
            )
        check_level(self.level, self.dataset)
        self._check_for_method()
        EntropyMinConfig.from_dict(self.entropy_min)
        return self

    def _check_for_method(self) -> None:
        method = METHODS[self.method]
        if self.early_stopping and not (self.guard and self.probe_problems):
            raise ValueError(
                "early_stopping is on, but goes by the accuracy on the guard's probe: turn guard on, and set "
                "probe_problems to at least 1"
            )
        if method.rollouts and self.num_generations < 2:
            raise ValueError(
                f"num_generations is {self.num_generations}, but {self.method} compares a prompt's samples with one "
                "another: it must be at least 2"
            )
        if self.top_p != 1 and self.method != "ssd":
            raise ValueError(
                f"top_p is {self.top_p}, but {self.method} samples from the whole distribution: leave it out"
            )
        if self.vllm and not method.samples:
            raise ValueError(f"vllm is {self.vllm}, but {self.method} samples nothing while it trains: leave it out")
        if self.vllm_server is not None and (self.vllm != "server" or "://" not in self.vllm_server):
            raise ValueError(
                f"vllm_server is {self.vllm_server!r}, but must be a URL such as http://host:8000, and vllm server"
            )
        if method.loop == "SFTTrainer" and self.beta:
            raise ValueError(f"beta is {self.beta}, but {self.method} has no KL penalty: it must be 0")


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with em-hf."""
    folder = resources.files("em_hf.training") / "recipes"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """Return the text of a recipe, including the sources of its values.

    Raises:
        ValueError: There is no recipe of that name.
    """
    names = recipe_names()
    if name not in names:
        raise ValueError(f"recipe is {shown(name)}, but must be one of {', '.join(names)}{did_you_mean(name, names)}")
    return (resources.files("em_hf.training") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def recipe_settings(name: str, method: str | None = None, level: str = PLAIN) -> dict[str, Any]:
    """Return a recipe's settings for `method` (by default its own) and `level`, with its overrides for both applied."""
    import yaml

    values = yaml.safe_load(recipe_text(name))
    of_methods, of_levels = values.pop("methods", {}), values.pop("levels", {})
    method = method or values.get("method", "em-ft")
    return {**values, **of_levels.get(level, {}), **of_methods.get(method, {}), "method": method}


def default_name(settings: RunSettings) -> str:
    stem = Path(settings.model.rstrip("/")).name.lower()
    return f"{settings.method}-{stem}-{datetime.now():%Y%m%d-%H%M%S}"


def on_cpu(settings: RunSettings) -> bool:
    import torch

    return settings.device == "cpu" or not torch.accelerator.is_available()


def load_precision(settings: RunSettings) -> str:
    """Return the dtype in which to load a model for training.

    Trained weights are held in float32, whatever they are multiplied in: a step of EM-FT is far smaller than the
    smallest change to a weight in bfloat16. Under LoRA the frozen base model has the requested precision.
    """
    if settings.dtype == "float16" and on_cpu(settings):
        raise ValueError("dtype is float16, in which a CPU does not train: give float32 or bfloat16")
    return settings.dtype if settings.lora else "float32"


def trainer_arguments(settings: RunSettings, folder: Path) -> dict[str, Any]:
    """Return the run's settings under the names of transformers' TrainingArguments."""
    import torch

    cpu = on_cpu(settings)
    can_bf16 = not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return {
        "output_dir": str(folder / CHECKPOINTS_FOLDER),
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "use_cpu": cpu,
        "bf16": settings.dtype == "bfloat16" or (settings.dtype == "auto" and can_bf16),
        "fp16": settings.dtype == "float16",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # show when a run diverges
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "report_to": "none",
        "disable_tqdm": True,
    }


def lora_config(settings: RunSettings) -> Any:
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ImportError("LoRA needs PEFT: pip install 'em-hf[train]'") from error
    rank = settings.lora_rank
    return LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM", revision=settings.revision
    )
