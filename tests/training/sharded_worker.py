"""Run under torchrun by test_sharded.py: the EM-FT loss of a model sharded by FSDP2, and its gradients."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.distributed import DistributedConfig

from em_hf import EMFTConfig, EMFTTrainer
from em_hf.training import losses
from tests.training.processes import write_result
from tests.training.processes_worker import em_ft, settings, watched

# reshard_after_forward of the root and whether the head is sharded by itself: the weight of the head is then left
# whole after the forward pass (None), sharded again (True), or sharded again as a module of its own.
CASES: dict[str, dict[str, Any]] = {
    "whole after the forward pass": {},
    "sharded again": {"reshard": True},
    "sharded again, tied": {"reshard": True, "tied": True},
    "whole, tied": {"tied": True},
    "head by itself": {"reshard": True, "head": True},
    "frozen head": {"reshard": True, "frozen": True},
}


def make_model(*, tied: bool = False, frozen: bool = False, **_: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=24,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        initializer_range=0.5,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    model.lm_head.weight.requires_grad_(not frozen)
    return model


def batch(rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sequences, attention and completion mask of one process: prompts padded on the left, completions on the right."""
    generator = torch.Generator().manual_seed(rank)
    ids = torch.randint(2, 24, (3, 9), generator=generator)
    attention = torch.ones_like(ids)
    attention[0, :2] = 0
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1 + rank % 2, 3 - rank :] = False
    attention[:, 4:] *= mask
    return ids, attention, mask


def sharded(model: LlamaForCausalLM, *, reshard: bool | None = None, head: bool = False, **_: Any) -> None:
    for layer in model.model.layers:
        fully_shard(layer)
    if head:
        fully_shard(model.lm_head)
    fully_shard(model, reshard_after_forward=reshard)
    assert all(isinstance(p, DTensor) for p in model.parameters())


def by_transformers(folder: Path) -> Any:
    """The model of test_processes.py as transformers itself loads and shards it."""
    model = AutoModelForCausalLM.from_pretrained(folder, distributed_config=DistributedConfig(fsdp_size=2))
    assert all(isinstance(p, DTensor) for p in model.parameters())
    return model


def trained(folder: Path) -> dict[str, Any]:
    """Trainings of a sharded model through EMFTTrainer: with the samples given, with the callbacks, and sampling."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
    given = em_ft(folder / "given", tokenizer, model=by_transformers(folder / "model"))
    seen = watched(folder / "watched", tokenizer, by_transformers(folder / "model"))
    # Sharded with torch's own function, as accelerate does it.
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    sharded(model, reshard=True)
    drawn: list[Any] = [None, None]
    dist.all_gather_object(drawn, sampled(model, tokenizer, folder / "sampled", dist.get_rank()))
    return {"given": given, "watched": seen, "sampled": drawn}


def sampled(model: Any, tokenizer: Any, folder: Path, rank: int) -> list[list[int]]:
    """What a process samples: the first one's samples end at once, the other's late."""
    args = EMFTConfig(**settings(folder, max_completion_length=9 if rank else 1))
    t = EMFTTrainer(model, args, train_dataset=[{"prompt": "ab"}] * 4, processing_class=tokenizer)
    torch.manual_seed(rank)
    return t._generate_single_turn([tokenizer("ab")["input_ids"]] * 8, None, {})


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    assert dist.get_world_size() == 2 == PartialState(cpu=True).num_processes
    calls = []
    real = losses.linear_entropy
    losses.linear_entropy = lambda *a, **k: (calls.append("token_weight" in k), real(*a, **k))[1]  # type: ignore
    results = {}
    for name, case in CASES.items():
        model = make_model(**case)
        sharded(model, **case)
        calls.clear()
        loss = losses.summed_entropy(model, model, *batch(dist.get_rank()))
        assert calls[-1], "the loss was to come from linear_entropy"
        loss.backward()
        everywhere: list[Any] = [None, None]
        dist.all_gather_object(everywhere, float(loss.detach()))
        assert all(p.grad is None or isinstance(p.grad, DTensor) for p in model.parameters())
        gradients = {n: None if p.grad is None else p.grad.full_tensor() for n, p in model.named_parameters()}
        results[name] = {"losses": everywhere, "gradients": gradients}
    model = make_model()
    fully_shard(model, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16), reshard_after_forward=True)
    loss = losses.summed_entropy(model, model, *batch(dist.get_rank()))
    loss.backward()
    grads = {n: None if p.grad is None else p.grad.full_tensor() for n, p in model.named_parameters()}
    results["bfloat16"] = {"gradients": grads}
    results["trained"] = trained(folder)
    if dist.get_rank() == 0:
        write_result(folder, results)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
