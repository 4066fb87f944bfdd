"""What a run folder holds besides its records: checkpoints, the best weights, and the saved model."""

import errno
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from em_hf.messages import one_line
from em_hf.models import unwrap_model
from em_hf.runs import RUN_FILE, RunFacts, RunFileError, read_json, write_json
from em_hf.training.distributed import world_size

logger = logging.getLogger(__name__)
# What FSDP writes in place of optimizer.pt.
_SHARDED_OPTIMIZER = ("optimizer.bin", "optimizer_0")
# What FSDP and DeepSpeed write in place of safetensors files.
_SHARDED_WEIGHTS = ("pytorch_model_fsdp*", "global_step*")


def make_folder(folder: Path) -> None:
    """Create `folder`, or empty it except for a run.json that marks it as failed until the new run's replaces it.

    If the process is killed at any point, `check_folder` still recognizes the folder as a run's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        return
    write_json(folder / RUN_FILE, RunFacts("failed", name=folder.name))
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != RUN_FILE:
            path.unlink()


def save_whole(model: Any, tokenizer: Any, folder: Path, *, weights: dict[str, Any] | None = None) -> None:
    """Write model, tokenizer and generation config; config.json, without which nothing loads, comes last.

    Args:
        weights: the whole weights, where `model` is sharded over processes.
    """
    made = folder / ".saving"
    shutil.rmtree(made, ignore_errors=True)
    try:
        model.save_pretrained(made, **({} if weights is None else {"state_dict": weights}))
        unwrap_model(model).generation_config.save_pretrained(made)
        tokenizer.save_pretrained(made)
        (made / "README.md").unlink(missing_ok=True)  # PEFT's empty card
        last = {"config.json", "adapter_config.json"}
        files = [path for path in made.rglob("*") if path.is_file()]  # chat templates with a name are in a subfolder
        for path in sorted(files, key=lambda path: path.name in last):
            target = folder / path.relative_to(made)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def damage(checkpoint: Path, *, thorough: bool = True) -> str | None:
    """Return what is broken in a checkpoint, in a few words, or None if it is whole.

    transformers takes the highest number even if that checkpoint was only half written, and silently loads one without
    an optimizer.

    Args:
        thorough: Read every file to its end; otherwise check only names, headers and lengths.
    """
    try:
        state = read_json(checkpoint / "trainer_state.json")
        for path in checkpoint.glob("*.json"):
            read_json(path)
    except (RunFileError, OSError) as error:
        return str(error).replace(f"{checkpoint}/", "")
    if not isinstance(state, dict) or state.get("global_step") != steps_of(checkpoint):
        return "trainer_state.json is of another step"
    # Each of several processes writes its own random states.
    count = world_size()
    random = ["rng_state.pth"] if count == 1 else [f"rng_state_{i}.pth" for i in range(count)]
    for names in (("optimizer.pt", *_SHARDED_OPTIMIZER), ("scheduler.pt",), *((name,) for name in random)):
        if not any((checkpoint / name).exists() for name in names):
            return f"{names[0]} is missing"
    weights = list(checkpoint.glob("*.safetensors"))
    if not weights and not any(any(checkpoint.glob(pattern)) for pattern in _SHARDED_WEIGHTS):
        return "the weights are missing"
    for path in weights:
        if not _is_whole_safetensors(path):
            return f"{path.name} is not whole"
    for path in (path for pattern in ("*.pt", "*.pth", "*.bin") for path in checkpoint.glob(pattern)):
        if not _is_whole_archive(path, thorough=thorough):
            return f"{path.name} is not whole"
    for name in ("optimizer.pt", "scheduler.pt") if thorough else ():
        if (checkpoint / name).is_file() and not _holds_states(checkpoint / name):
            return f"{name} holds something else"
    return None


def _holds_states(path: Path) -> bool:
    """Return whether a file from `torch.save` holds a state dict, and nothing that would run when it is read."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # an arbitrary pickle can raise anything
        return False
    return isinstance(found, dict) and bool(found)


def _is_whole_safetensors(path: Path) -> bool:
    """Return whether the header parses and the tensors that it names fill the rest of the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt"):
            return True
    except (SafetensorError, OSError):
        return False


def _is_whole_archive(path: Path, *, thorough: bool) -> bool:
    """Return whether a file from `torch.save` is a whole archive, by its checksums if `thorough`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist()) and (not thorough or archive.testzip() is None)
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError):
        return False


def steps_of(checkpoint: Path) -> int:
    """Return the number of optimizer steps after which it was written, or -1 if its name does not say."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`, a run's `checkpoints`."""
    found = sorted(folder.glob("checkpoint-*"), key=steps_of, reverse=True)
    return next((path for path in found if damage(path) is None), None)


def drop_damaged_checkpoints(folder: Path, *, thorough: bool = True) -> list[str]:
    """Remove damaged checkpoints from `folder`, so that they do not count towards those kept; return what was wrong."""
    found = []
    for path in sorted(folder.glob("checkpoint-*"), key=steps_of):
        why = damage(path, thorough=thorough)
        if why is not None:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            found.append(f"{path.name} is damaged ({why})")
    return found


@contextmanager
def readable_disk_errors(folder: Path) -> Iterator[None]:
    """Turn any library's "no space left" error into an OSError that says how to continue.

    A file that ends too early is an OSError as well: the command line would take an EOFError for Ctrl-D.
    """
    try:
        yield
    except EOFError as error:
        raise OSError(f"a file in {folder}, or one that the run reads, ends too early: {error}") from error
    except Exception as error:
        if not _is_disk_full(error):
            raise
        raise OSError(
            f"{folder} could not be written, since the disk is full: free some space, then go on with "
            f"em-hf train --resume {folder}"
        ) from error


@contextmanager
def readable_checkpoint_errors(checkpoint: Path | None, has_stepped: Callable[[], bool]) -> Iterator[None]:
    """Turn library errors on a whole checkpoint of another model into a ValueError that says how to continue."""
    try:
        yield
    except (ValueError, OSError, MemoryError):  # these already say what is wrong
        raise
    except Exception as error:
        if checkpoint is None or has_stepped() or "out of memory" in str(error).lower():
            raise
        raise ValueError(
            f"the run cannot go on from {checkpoint} ({type(error).__name__}: {one_line(error, 200)}): it is damaged "
            "or of another model; remove it, and the run goes on from the one before"
        ) from error


def _is_disk_full(error: Exception) -> bool:
    """Return whether an error means that the disk is full.

    safetensors raises a separate error, and torch's writer says only that its archive came out too short.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    return "No space left on device" in text or (isinstance(error, RuntimeError) and "inline_container.cc" in text)


class BestWeights:
    """A model's best trainable weights, kept in `folder` in loadable form (an adapter in PEFT's).

    Every process must call `keep` and `restore`: sharded weights are gathered first. One file is moved into place, so
    that a killed run leaves either the previous weights or the new ones, never a mixture.

    Args:
        model: The model being trained, not wrapped.
        folder: Holds `model.safetensors` or `adapter_model.safetensors`, the configuration and the tokenizer; every
            process must be able to read it.
        tokenizer: The model's, if it has one.
        writes: Whether this is the process that writes.

    Raises:
        ValueError: The model is partitioned by DeepSpeed ZeRO-3, under which no process has the weights.
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
        """Return the facts kept with the weights, or None if nothing was kept or the file is damaged."""
        from safetensors import safe_open

        if not self.file.is_file():
            return None
        if _is_whole_safetensors(self.file):
            with safe_open(self.file, "pt") as file:
                known = file.metadata() or {}
            if known.get("step", "").isdecimal():
                return known
        if self.writes:
            logger.warning("%s is damaged, so the best weights so far are lost.", self.file)
            self.file.unlink(missing_ok=True)
        return None

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
            ValueError: They are those of another model.
        """
        from safetensors.torch import load_file

        kept, live = load_file(self.file), self._live()
        if kept.keys() != live.keys() or any(kept[name].shape != live[name].shape for name in live):
            raise ValueError(f"{self.file} holds weights of another model: remove it")
        for name, tensor in live.items():
            _copy(tensor, kept[name])

    def _live(self) -> dict[str, Tensor]:
        """Return the trainable weights themselves, under the names that they are saved by."""
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
    """Return a sharded tensor as a whole, and any other unchanged."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _copy(live: Tensor, value: Tensor) -> None:
    if hasattr(live, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value.to(live.device, live.dtype), live.device_mesh, live.placements)  # type: ignore[attr-defined]
    live.copy_(value)
