"""The best weights of a run on the disk: the trainable ones alone, whole or not at all, and back into the model."""

from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from em_hf.models import unwrap_model


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
