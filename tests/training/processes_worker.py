"""Run by test_processes.py, under torchrun and alone: the same trainings with the same global batch and samples."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from em_hf import EMFTConfig, EMFTTrainer, EntropyCallback, EntropyCollapseCallback
from em_hf.training import callbacks
from em_hf.training.checkpoints import last_checkpoint
from em_hf.training.trace import Reading
from tests.training.processes import write_result

PROMPTS = ["ab", "c", "bca", "d", "ea", "dd", "cab", "b"] * 2
GLOBAL_BATCH = 4


def make_model(folder: Path, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 8, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    more = {"num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.5}
    tokens = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **more, **tokens, **changes}))  # type: ignore[arg-type]


def completion(prompt: list[int], which: int) -> list[int]:
    """A completion of 1 to 5 tokens, those of 5 perhaps cut off: a function of the prompt and the sample's number."""
    generator = torch.Generator().manual_seed(sum(token * 8**i for i, token in enumerate(prompt)) + 1000 * which)
    length = int(torch.randint(1, 6, (), generator=generator))
    drawn = torch.randint(2, 8, (length,), generator=generator).tolist()
    return drawn if which % 2 and length == 5 else [*drawn[:-1], 1]


class GivenEMFT(EMFTTrainer):
    """Every prompt's samples are the same whatever the process, the batch and the policy."""

    def sample(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        rows = []
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"]):
            prompt = ids[mask.bool()].tolist()
            rows += [ids.tolist() + completion(prompt, i) for i in range(self.args.num_generations)]
        longest = max(map(len, rows))
        return torch.tensor([row + [1] * (longest - len(row)) for row in rows])


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": GLOBAL_BATCH // PartialState().num_processes,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        **changes,
    }


def weights(model: Any) -> dict[str, Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {n: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone() for n, p in named.items()}


def em_ft(folder: Path, tokenizer: Any, *, model: Any = None, lora: bool = False, **changes: Any) -> dict[str, Any]:
    model = model or make_model(folder)
    if lora:
        import peft

        torch.manual_seed(0)
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    args = EMFTConfig(**settings(folder, num_generations=2, max_completion_length=5, **changes))
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    t = GivenEMFT(model, args, train_dataset=rows, processing_class=tokenizer)
    t.train()
    logs = [{k: line[k] for k in ("entropy", "completion_length", "tokens")} for line in t.state.log_history[:-1]]
    return {"weights": weights(model), "logs": logs}


def em_rl(folder: Path, tokenizer: Any, reward: str) -> dict[str, Any]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    from em_hf import EMRLConfig, EMRLTrainer

    class GivenEMRL(EMRLTrainer):
        def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
            first = 0 if len(prompt_ids) == GLOBAL_BATCH else PartialState().process_index * len(prompt_ids)
            # one global batch holds a group of two for each of two prompts
            return [completion(list(ids), (first + i) % 2) for i, ids in enumerate(prompt_ids)]

    model = AutoModelForCausalLM.from_pretrained(folder.parent / "model")
    args = EMRLConfig(
        **settings(folder, num_generations=2, max_completion_length=5, reward=reward, beta=0.1, learning_rate=1e-3)
    )
    rows = Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS[:8]])
    t = GivenEMRL(model, args, train_dataset=rows, processing_class=tokenizer)
    seen: list[dict[str, Any]] = []
    score = t._generate_and_score_completions

    def scored(inputs: Any) -> Any:
        out = score(inputs)
        seen.append({"advantages": t.accelerator.gather(out["advantages"]).tolist()})
        return out

    t._generate_and_score_completions = scored
    t.train()
    names = ("reward", "reward_std", "completions/mean_length", "kl")
    logs = [{k: line[k] for k in names} for line in t.state.log_history[:-1]]
    return {"weights": weights(model), "advantages": [step["advantages"] for step in seen], "logs": logs}


def watched(folder: Path, tokenizer: Any, model: Any = None) -> dict[str, Any]:
    """The probe really samples, with accuracies that are made up: best after step 2."""
    real = callbacks.probe_model

    def scripted(*args: Any, step: int, **kwargs: Any) -> Reading:
        right = {0: 2, 1: 3, 2: 4, 3: 3}[step]
        reading = real(*args, step=step, **kwargs)
        return Reading(**{**reading.__dict__, "accuracy": right / 4, "right": (1.0,) * right + (0.0,) * (4 - right)})

    callbacks.probe_model = scripted
    model = model or make_model(folder)
    shards = any(isinstance(p, DTensor) for p in model.parameters())
    save = {} if shards else {"save_strategy": "steps", "save_steps": 2}
    args = EMFTConfig(**settings(folder, max_completion_length=5, **save))
    t = GivenEMFT(model, args, train_dataset=[{"prompt": p} for p in PROMPTS], processing_class=tokenizer)
    probe = EntropyCallback(t, PROMPTS[:4], every=1, max_new_tokens=4)
    guard = EntropyCollapseCallback(t, probe)
    t.add_callback(probe)
    t.add_callback(guard)
    t.train()
    PartialState().wait_for_everyone()
    callbacks.probe_model = real
    return {
        "weights": weights(model),
        "verdict": guard.verdict.to_dict(),
        "readings": [reading.__dict__ for reading in probe.readings],
        "logged": sum("probe/entropy" in line for line in t.state.log_history),
        "checkpoint": getattr(last_checkpoint(folder), "name", None),
        "lines": len((folder / "probe.jsonl").read_text().splitlines()),
    }


CASES: dict[str, Callable[[Path, Any], dict[str, Any]]] = {
    "sum": lambda folder, tokenizer: em_ft(folder, tokenizer),
    "token mean": lambda folder, tokenizer: em_ft(folder, tokenizer, loss_reduction="token_mean"),
    "kl": lambda folder, tokenizer: em_ft(folder, tokenizer, beta=0.3),
    "lora": lambda folder, tokenizer: em_ft(folder, tokenizer, lora=True),
    "em-rl-sequence": lambda folder, tokenizer: em_rl(folder, tokenizer, "sequence"),
    "em-rl-token": lambda folder, tokenizer: em_rl(folder, tokenizer, "token"),
    "watched": watched,
}


@contextmanager
def gloo() -> Iterator[int]:
    dist.init_process_group("gloo")
    assert dist.get_world_size() == 2 == PartialState(cpu=True).num_processes
    yield dist.get_rank()
    dist.barrier()
    dist.destroy_process_group()


def run(folder: Path) -> dict[str, dict[str, Any]]:
    """All cases in this process; `folder / "model"` holds the model and its tokenizer."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
    return {name: case(folder / name.replace(" ", "-"), tokenizer) for name, case in CASES.items()}


if __name__ == "__main__":
    where = Path(sys.argv[1])
    with gloo() as rank:
        found = run(where)
        everywhere: list[Any] = [None, None]
        dist.all_gather_object(everywhere, {name: case["weights"] for name, case in found.items()})
        logged: list[Any] = [None, None]
        dist.all_gather_object(logged, found["watched"]["logged"])
        if rank == 0:
            write_result(where, {"found": found, "weights": everywhere, "logged": logged})
