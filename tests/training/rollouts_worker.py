"""Run by test_rollout_processes.py, under torchrun and alone: rewards and advantages of the same given rollouts."""

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import RLOOConfig

from em_hf import EMRLConfig, EMRLTrainer
from em_hf.training.baselines import ResumableRLOOTrainer
from em_hf.training.rewards import vote_frequency
from tests.training.processes import write_result

# A group of four and a group of four more; on two processes each has one of them.
PROMPTS = ["ab"] * 4 + ["c"] * 4
ROLLOUTS = [[2, 3, 1], [1], [5, 5, 4], [3, 3, 3], [4, 1], [6, 2, 1], [2], [3, 1]]
TEXTS = ["#### 1", "#### 2", "#### 1", "#### 1", "#### 3", "none", "#### 3", "#### 4"]


def part() -> slice:
    """The rows of this process."""
    state = PartialState()
    size = len(ROLLOUTS) // state.num_processes
    return slice(state.process_index * size, (state.process_index + 1) * size)


class Given:
    def _generate_single_turn(self, *args: Any) -> list[list[int]]:
        return [list(ids) for ids in ROLLOUTS[part()]]


class GivenEMRL(Given, EMRLTrainer):
    pass


class GivenRLOO(Given, ResumableRLOOTrainer):
    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
        return super()._calculate_rewards(inputs, prompts, TEXTS[part()], ids)


def scored(folder: Path) -> dict[str, Any]:
    """By method: rewards, advantages, and the first step's weights, of all processes."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", padding_side="left")
    shared = {"per_device_train_batch_size": len(ROLLOUTS) // PartialState().num_processes, "num_generations": 4}
    shared |= {"max_completion_length": 3, "report_to": "none", "use_cpu": True, "save_strategy": "no", "beta": 0.3}
    shared |= {"max_steps": 2, "learning_rate": 1e-2, "bf16": False, "gradient_checkpointing": False}
    shared |= {"disable_tqdm": True, "max_grad_norm": 0.0, "optim": "sgd", "shuffle_dataset": False}
    data = Dataset.from_list([{"prompt": PROMPTS[0]}, {"prompt": PROMPTS[4]}] * 2)
    found = {}
    for name in ("sequence", "token", "vote"):
        model = AutoModelForCausalLM.from_pretrained(folder / "model")
        out = str(folder / "out" / name)
        if name == "vote":
            args = RLOOConfig(output_dir=out, **shared)
            trainer: Any = GivenRLOO(
                model, vote_frequency(4), args=args, train_dataset=data, processing_class=tokenizer
            )
        else:
            args = EMRLConfig(output_dir=out, reward=name, **shared)
            trainer = GivenEMRL(model, args, train_dataset=data, processing_class=tokenizer)
        trainer.model.train()
        inputs = trainer._generate_and_score_completions([{"prompt": prompt} for prompt in PROMPTS[part()]])
        rewards = next(iter(trainer._logs["rewards"].values()))
        advantages = gather_object(inputs["advantages"].tolist())
        trainer.train()
        weights = {
            key: value.detach().clone() for key, value in trainer.accelerator.unwrap_model(model).named_parameters()
        }
        found[name] = {"rewards": list(rewards), "advantages": advantages, "weights": weights}
    return {"processes": PartialState().num_processes, **found}


if __name__ == "__main__":
    torch.set_num_threads(1)
    PartialState(cpu=True)
    result = scored(Path(sys.argv[1]))
    if PartialState().is_main_process:
        write_result(Path(sys.argv[1]), result)
