"""The sizes a plan is computed from: those of the model, and of the work of one GPU."""

from dataclasses import dataclass
from typing import Any

from em_hf.flops import parameter_count
from em_hf.methods import METHODS
from em_hf.training.settings import RunSettings


@dataclass(frozen=True)
class Shape:
    """What a plan needs to know about a model: parameter counts and sizes; `multiplied` is P of `em_hf.flops`."""

    name: str
    parameters: int
    multiplied: int
    adapter: int
    layer: int
    head: int
    hidden: int
    layers: int
    query: int
    key_value: int
    inner: int
    vocabulary: int

    @classmethod
    def of_config(cls, config: Any, name: str, *, lora: Any = None) -> "Shape":
        """Return the shape of a model, counted on the meta device, where it takes no memory.

        Args:
            config: a transformers config.
            lora: PEFT's config of the adapter, or None if there is none.

        Raises:
            ValueError: the config is not of a causal language model, or is of a mixture of experts.
        """
        import torch
        from transformers import AutoModelForCausalLM

        text = config.get_text_config()
        if getattr(text, "num_experts", None) or getattr(text, "num_local_experts", None):
            raise ValueError(f"{name} is a mixture of experts, which --plan cannot count: name a dense model")
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        whole = sum(p.numel() for p in model.parameters())
        blocks = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == text.num_hidden_layers]
        multiplied = parameter_count(model)
        layer = max((sum(p.numel() for p in block.parameters()) for stack in blocks for block in stack), default=whole)
        adapter = 0
        if lora is not None:
            from peft import get_peft_model

            adapted = get_peft_model(model, lora)
            adapter = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        heads = text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        return cls(
            name=name,
            parameters=whole,
            multiplied=multiplied,
            adapter=adapter,
            layer=layer,
            head=text.vocab_size * text.hidden_size,
            hidden=text.hidden_size,
            layers=text.num_hidden_layers,
            query=heads * width,
            key_value=(getattr(text, "num_key_value_heads", None) or heads) * width,
            inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
            vocabulary=text.vocab_size,
        )

    def attention_flops(self, tokens: float, context: float) -> float:
        """Return the forward-pass FLOPs of scores and weighted sums for `tokens` queries over `context` keys each."""
        return 4 * tokens * context * self.query * self.layers


@dataclass(frozen=True)
class Work:
    """How much one GPU processes per step, per batch and per generation.

    Args:
        prompt, completion: Tokens per sample.
    """

    settings: RunSettings
    gpus: int
    prompt: int
    completion: int

    @property
    def length(self) -> int:
        return self.prompt + self.completion

    @property
    def batch(self) -> int:
        """Samples that one GPU trains on at once."""
        return self.settings.samples_per_batch

    @property
    def batches(self) -> int:
        return self.settings.gradient_accumulation_steps

    @property
    def sampled_at_once(self) -> int:
        """Samples that a GPU draws per step, all at once; 0 if the method does not sample while training."""
        return self.batch * self.batches if METHODS[self.settings.method].samples else 0

    @property
    def samples(self) -> int:
        """Samples per step, on all GPUs."""
        return self.batch * self.batches * self.gpus

    @property
    def prompts(self) -> int:
        return self.settings.batch_size * self.batches * self.gpus
