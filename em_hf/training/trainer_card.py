"""The card that our trainers write next to their checkpoints and upload with `push_to_hub`, as em-hf push does."""

from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from em_hf.hub.redact import may_be_hub_id
from em_hf.models import unwrap_model
from em_hf.runs import LogLine, Run, RunFacts
from em_hf.settings import settings_of
from em_hf.training.settings import RunSettings

# The settings of `em-hf train` that trainers' arguments share, and a trainer's own names where they differ.
_SHARED = [
    name for name, one in settings_of(RunSettings).items() if one.group in ("method", "optimization", "sampling")
]
_SETTINGS = ("max_steps", "num_train_epochs", "per_device_train_batch_size", "reward", *_SHARED)


class EMCard:
    """A Trainer mixin: `create_model_card` writes the method's card, from what is known about this training run."""

    method: str

    def create_model_card(self, *args: Any, model_name: str | None = None, **kwargs: Any) -> None:
        """Write README.md into the output folder; what only the parents' cards have (tags, a license) is left out."""
        trainer: Any = self
        if not trainer.is_world_process_zero():
            return
        from em_hf.hub import model_card

        folder = Path(trainer.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder, _facts(trainer, self.method, model_name), log=_log(trainer))
        files = {path.name for path in folder.iterdir()}
        (folder / "README.md").write_text(str(model_card(run, files=files, repo_id=trainer.hub_model_id)), "utf-8")


def _facts(trainer: Any, method: str, model_name: str | None) -> RunFacts:
    args, model = trainer.args, trainer.accelerator.unwrap_model(trainer.model)
    base = unwrap_model(model)
    return RunFacts.of_method(
        method,
        "finished",
        name=model_name or Path(args.output_dir).name,
        base_model=base.config._name_or_path or None,
        base_revision=_only_commit(base.config._name_or_path),
        settings={key: getattr(args, key) for key in _SETTINGS if hasattr(args, key)},
        entropy_min=getattr(base.generation_config, "entropy_min_config", None),
        lora=hasattr(model, "peft_config"),
        seed=args.seed,
        steps_done=trainer.state.global_step,
    )


def _only_commit(name: str) -> str | None:
    """Return the commit of a Hub model if the cache has just one: a model does not know which of several it is."""
    if not may_be_hub_id(name) or Path(name).exists():
        return None
    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model"), "snapshots")
    commits = {path.parent.name for path in folder.glob("*/config.json")}
    return commits.pop() if len(commits) == 1 else None


def _log(trainer: Any) -> list[LogLine]:
    history = [line for line in trainer.state.log_history if "loss" in line and "entropy" in line]
    return [
        LogLine(**{name: value for name, value in line.items() if name in LogLine.__dataclass_fields__})
        for line in history
    ]
