"""What lies in a run folder besides its records: checkpoints, whole or broken, the best weights and the saved model."""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from em_hf.models import unwrap_model
from em_hf.training.distributed import world_size
from em_hf.training.record import MARK

CHECKPOINTS = "checkpoints"
# What FSDP writes in place of optimizer.pt.
_SHARDED_OPTIMIZER = ("optimizer.bin", "optimizer_0")


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise OSError unless a run may be written to `folder`: it is new or empty, or a run that may be overwritten."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MARK).is_file():
        raise OSError(f"{folder} exists and is not a run of em-hf; give another --output")
    if not overwrite:
        raise OSError(f"{folder} already holds a run; give --overwrite to replace it, or another --output")


def make_folder(folder: Path) -> None:
    """Make `folder`, which `check_folder` has passed, anew and empty."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def save_whole(model: Any, tokenizer: Any, folder: Path, *, weights: dict[str, Any] | None = None) -> None:
    """Write model, tokenizer and generation config; config.json, without which nothing loads, comes last.

    Args:
        weights: the whole weights, where `model` is sharded over processes.
    """
    from em_hf.models import unwrap_model

    made = folder / ".saving"
    shutil.rmtree(made, ignore_errors=True)
    try:
        model.save_pretrained(made, **({} if weights is None else {"state_dict": weights}))
        unwrap_model(model).generation_config.save_pretrained(made)
        tokenizer.save_pretrained(made)
        (made / "README.md").unlink(missing_ok=True)  # PEFT's empty card
        last = {"config.json", "adapter_config.json"}
        for path in sorted(made.iterdir(), key=lambda path: path.name in last):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: its state parses, and optimizer, scheduler and RNG files are there.

    transformers would take the highest number even if it was half written, and load one without an optimizer silently.
    """
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # Each of several processes writes its own random states.
    count = world_size()
    random = ["rng_state.pth"] if count == 1 else [f"rng_state_{i}.pth" for i in range(count)]
    names = (("optimizer.pt", *_SHARDED_OPTIMIZER), ("scheduler.pt",), *((name,) for name in random))
    return all(any((checkpoint / name).exists() for name in one_of) for one_of in names)


def steps_of(checkpoint: Path) -> int:
    """The number of optimizer steps after which it was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`, a run's `checkpoints`."""
    found = sorted(folder.glob("checkpoint-*"), key=steps_of)
    return next((path for path in reversed(found) if is_whole(path)), None)


def drop_broken_checkpoints(folder: Path) -> None:
    """Remove what is left in `folder` of checkpoints that were not written to their end."""
    for path in folder.glob("checkpoint-*"):
        if not is_whole(path):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def readable_disk_errors(folder: Path) -> Iterator[None]:
    """Turn "no space left", in the form of any library that writes here, into an OSError with the way out."""
    try:
        yield
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise OSError(
            f"{folder} could not be written, since the disk is full: free some space, then go on with "
            f"em-hf train --resume {folder}"
        ) from error


def _is_disk_full(error: Exception) -> bool:
    """safetensors gives an error of its own, and torch's writer says only that its archive came out too short."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    return "No space left on device" in text or (isinstance(error, RuntimeError) and "inline_container.cc" in text)


class BestWeights:
    """Keeps a model's trainable weights in `folder`, an adapter's in PEFT's form, so that they load from there too.

    Every process must call `keep` and `restore`: sharded weights are put together first. One file is moved into place,
    so that a killed run leaves the weights kept before or the new ones, never a mixture.

    Args:
        model: as it is trained, not wrapped.
        folder: to hold `model.safetensors` or `adapter_model.safetensors`, the configuration and the tokenizer;
            every process must be able to read it.
        tokenizer: the model's, if it has one.
        writes: whether this is the process that writes.

    Raises:
        ValueError: the model is partitioned by DeepSpeed ZeRO-3, which gives no process the weights.
    """

    def __init__(self, model: Any, folder: Path, *, tokenizer: Any = None, writes: bool = True) -> None:
        if any(hasattr(p, "ds_id") for p in model.parameters()):
            raise ValueError(
                "the best weights cannot be kept under DeepSpeed ZeRO-3: pass restore_best=False, and take them from "
                "the checkpoints"
            )
        self.model, self.folder, self.tokenizer, self.writes = model, folder, tokenizer, writes
        self._adapter = hasattr(model, "peft_config")
        self.file = folder / ("adapter_model.safetensors" if self._adapter else "model.safetensors")

    def facts(self) -> dict[str, str] | None:
        """What was kept with the weights; None where nothing was kept."""
        from safetensors import safe_open

        if not self.file.is_file():
            return None
        with safe_open(self.file, "pt") as file:
            return file.metadata()

    @torch.no_grad()
    def keep(self, **facts: Any) -> None:
        """Write the weights as they are now, and `facts` into the file's header."""
        from safetensors.torch import save_file

        whole = {name: _whole(tensor).to("cpu", copy=True).contiguous() for name, tensor in self._live().items()}
        if self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._save_configuration()
            part = self.file.with_name(self.file.name + ".part")
            save_file(whole, part, metadata={"format": "pt", **{name: str(value) for name, value in facts.items()}})
            part.replace(self.file)
        PartialState().wait_for_everyone()  # no process may look for the file before it is there

    @torch.no_grad()
    def restore(self) -> None:
        """Put the kept weights into the live model.

        Raises:
            ValueError: they are not those of this model.
        """
        from safetensors.torch import load_file

        kept, live = load_file(self.file), self._live()
        if kept.keys() != live.keys() or any(kept[name].shape != live[name].shape for name in live):
            raise ValueError(f"{self.file} holds weights of another model: remove it")
        for name, tensor in live.items():
            _copy(tensor, kept[name])

    def _live(self) -> dict[str, Tensor]:
        """The trainable weights themselves, under the names that they are saved by."""
        if self._adapter:
            from peft import get_peft_model_state_dict

            return get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def _save_configuration(self) -> None:
        if self._adapter:
            self.model.peft_config[self.model.active_adapter].save_pretrained(self.folder)
        else:
            self.model.config.save_pretrained(self.folder)
        unwrap_model(self.model).generation_config.save_pretrained(self.folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(self.folder)


def _whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together; any other as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _copy(live: Tensor, value: Tensor) -> None:
    if hasattr(live, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value.to(live.device, live.dtype), live.device_mesh, live.placements)  # type: ignore[attr-defined]
    live.copy_(value)
