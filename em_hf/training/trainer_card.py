"""The card that a trainer of ours writes beside its checkpoints and uploads with `push_to_hub`, as em-hf push does."""

from importlib import metadata
from pathlib import Path
from typing import Any

from em_hf.methods import METHODS
from em_hf.models import unwrap_model
from em_hf.training.record import versions

# The names that trainers' arguments and `em-hf train` share, and those that are not a setting of the method.
_SETTINGS = (
    "max_steps",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "max_grad_norm",
    "num_generations",
    "max_completion_length",
    "temperature",
    "loss_temperature",
    "loss_reduction",
    "beta",
    "reward",
)


class EMCard:
    """Mixed into a Trainer: `create_model_card` writes the card of the method, from what is known of this training."""

    method: str

    def create_model_card(self, *args: Any, model_name: str | None = None, **kwargs: Any) -> None:
        """Write README.md into the output folder; what only the parents' cards tell (tags, a license) is left out."""
        trainer: Any = self
        if not trainer.is_world_process_zero():
            return
        from em_hf.hub import model_card
        from em_hf.hub.runs import Run

        folder = Path(trainer.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder, _facts(trainer, self.method, model_name), log=_log(trainer))
        files = {path.name for path in folder.iterdir()}
        (folder / "README.md").write_text(str(model_card(run, files=files, repo_id=trainer.hub_model_id)), "utf-8")


def _facts(trainer: Any, name: str, model_name: str | None) -> dict[str, Any]:
    method, args = METHODS[name], trainer.args
    base = unwrap_model(trainer.accelerator.unwrap_model(trainer.model))
    return {
        "em_hf": metadata.version("em-hf"),
        "name": model_name or Path(args.output_dir).name,
        "method": name,
        "method_title": method.title,
        "objective": method.objective,
        "labels": method.needs,
        "loop": method.loop,
        "source": method.source,
        "base_model": base.config._name_or_path or None,
        "base_revision": getattr(base.config, "_commit_hash", None),
        "settings": {key: getattr(args, key) for key in _SETTINGS if hasattr(args, key)},
        "entropy_min": getattr(base.generation_config, "entropy_min_config", None),
        "lora": hasattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config"),
        "seed": args.seed,
        "versions": versions(),
        "steps_done": trainer.state.global_step,
    }


def _log(trainer: Any) -> list[dict[str, Any]]:
    return [line for line in trainer.state.log_history if "loss" in line and "entropy" in line]
