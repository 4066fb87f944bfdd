"""What decides a training run: its settings, the recipes that fill them, and their names in the libraries below."""

from dataclasses import dataclass, field, fields
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from em_hf.methods import METHODS

POCKET = "pocket-reasoner"
POCKET_MODELS = (POCKET, "pocket-misled")


@dataclass
class RunSettings:
    """All that decides a run. What stands here goes into run.json, and `--resume` reads it back."""

    method: str = "em-ft"
    recipe: str | None = None
    model: str = POCKET
    revision: str | None = None
    dtype: str = "auto"
    device: str | None = None
    trust_remote_code: bool = False
    dataset: str | None = None
    dataset_config: str | None = None
    split: str = "train"
    prompt_column: str | None = None
    answer_column: str | None = None
    chat_template: bool = True
    limit: int | None = None
    steps: int = 40
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-6
    max_grad_norm: float = 1.0
    num_generations: int = 1
    max_completion_length: int = 256
    temperature: float = 1.0
    loss_temperature: float = 1.0
    loss_reduction: str = "sum"
    beta: float = 0.0
    reward_tokens: str = "all"
    vllm: str | None = None
    vllm_server: str | None = None
    gradient_checkpointing: bool = False
    lora: bool = False
    lora_rank: int = 16
    eval_problems: int = 64
    eval_samples: int = 1
    save_steps: int = 20
    guard: bool = True
    early_stopping: bool = False
    probe_problems: int = 32
    probe_every: int = 10
    entropy_min: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def resolve(cls, given: dict[str, Any]) -> "RunSettings":
        """The recipe, with what was given over it; without one named, that for this model and dataset.

        Raises:
            ValueError: a value out of range, no dataset for a model that brings none, or no such recipe.
        """
        pocket = given.get("model", POCKET) in POCKET_MODELS and given.get("dataset", "pocket") == "pocket"
        name = given.get("recipe") or ("pocket" if pocket else "default")
        settings = cls(**{**recipe_settings(name, given.get("method")), **given, "recipe": name})
        settings.validate()
        return settings

    @classmethod
    def of_run(cls, facts: dict[str, Any]) -> "RunSettings":
        """The settings in a run.json.

        Raises:
            ValueError: another version of em-hf wrote it, with settings that this one does not have.
        """
        settings = facts.get("settings") or {}
        unknown = sorted(set(settings) - {f.name for f in fields(cls)})
        if unknown or not settings:
            what = f"the unknown settings {', '.join(unknown)}" if unknown else "no settings"
            raise ValueError(f"the run has {what}: it was made by em-hf {facts.get('em_hf')}; go on with that version")
        return cls(**settings)

    def validate(self) -> None:
        from em_hf.generation.config import EntropyMinConfig

        if self.dataset is None:
            raise ValueError(
                f"dataset is missing: {self.model} brings no prompts of its own; give --dataset a Hub id, or a "
                ".jsonl, .csv, .parquet or .txt file"
            )
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, but must be one of {', '.join(METHODS)}")
        at_least = {"steps": 1, "batch_size": 1, "gradient_accumulation_steps": 1, "num_generations": 1}
        at_least |= {"max_completion_length": 1, "lora_rank": 1, "eval_problems": 0, "eval_samples": 1, "save_steps": 1}
        at_least |= {"probe_problems": 0, "probe_every": 1}
        for name, low in at_least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least {low}")
        for name in ("learning_rate", "temperature", "loss_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be above 0")
        if not self.beta >= 0:
            raise ValueError(f"beta is {self.beta}, but must be at least 0")
        allowed: dict[str, tuple[str | None, ...]] = {
            "loss_reduction": ("sum", "token_mean"),
            "reward_tokens": ("all", "last-third"),
            "vllm": (None, "colocate", "server"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(map(str, values))}")
        self._validate_for_method()
        self.entropy_min = EntropyMinConfig.from_dict(self.entropy_min).to_dict()

    def _validate_for_method(self) -> None:
        method = METHODS[self.method]
        if self.early_stopping and not (self.guard and self.probe_problems):
            raise ValueError(
                "early_stopping is the guard's, by the accuracy on the probe: it needs guard and probe_problems"
            )
        if method.rollouts and self.num_generations < 2:
            raise ValueError(
                f"num_generations is {self.num_generations}, but {self.method} compares a prompt's samples with one "
                "another: it must be at least 2"
            )
        if self.vllm and not method.rollouts:
            raise ValueError(f"vllm is {self.vllm}, but {self.method} has no rollouts of TRL that vLLM could make")
        if self.vllm_server is not None and (self.vllm != "server" or "://" not in self.vllm_server):
            raise ValueError(
                f"vllm_server is {self.vllm_server!r}, but must be a URL such as http://host:8000, and vllm server"
            )
        if self.method == "sft" and self.beta:
            raise ValueError(f"beta is {self.beta}, but sft has no KL penalty: it must be 0")


def recipe_names() -> list[str]:
    """Those that come with em-hf."""
    folder = resources.files("em_hf.training") / "recipes"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """The recipe as it was written, with the sources of its values.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in recipe_names():
        raise ValueError(f"recipe is {name!r}, but must be one of {', '.join(recipe_names())}")
    return (resources.files("em_hf.training") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")


def recipe_settings(name: str, method: str | None = None) -> dict[str, Any]:
    """A recipe's settings for `method`, by default its own: what it says for all, and for this one under `methods`."""
    import yaml

    values = yaml.safe_load(recipe_text(name))
    of_methods = values.pop("methods", {})
    method = method or values.get("method", "em-ft")
    return {**values, **of_methods.get(method, {}), "method": method}


def default_name(settings: RunSettings) -> str:
    stem = Path(settings.model.rstrip("/")).name.lower()
    return f"{settings.method}-{stem}-{datetime.now():%Y%m%d-%H%M%S}"


def on_cpu(settings: RunSettings) -> bool:
    import torch

    return settings.device == "cpu" or not torch.accelerator.is_available()


def load_precision(settings: RunSettings) -> str:
    """The dtype to load a model in that is to be trained.

    Weights that are trained are held in float32, whatever they are multiplied in: a step of EM-FT is far smaller than
    what bfloat16 can add to a weight. Under LoRA the frozen base model has the precision asked for.
    """
    if settings.dtype == "float16" and on_cpu(settings):
        raise ValueError("dtype is float16, in which a CPU does not train: give float32 or bfloat16")
    return settings.dtype if settings.lora else "float32"


def trainer_arguments(settings: RunSettings, folder: Path) -> dict[str, Any]:
    """The run's settings under the names of transformers' TrainingArguments."""
    import torch

    cpu = on_cpu(settings)
    can_bf16 = not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return {
        "output_dir": str(folder / "checkpoints"),
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
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
