"""The registry of training methods, as data: adding a method means adding an entry. Imports nothing heavy."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal


@dataclass(frozen=True)
class Method:
    """A training method.

    Args:
        title: Its name in tables and cards.
        summary: One line for `--list-methods`.
        objective: The formula that is minimized or maximized.
        build: `module:function`, called as `build(settings, model, tokenizer, data, folder, callbacks)` with the run's
            RunSettings and `em_hf.data.Prompts`; returns a transformers Trainer.
        needs: The labels it uses: "answers", "solutions" or none. A method that needs none never sees any.
        loop: The TRL trainer whose loop it runs in, "" for ours.
        source: Where the method was published: "arXiv NUMBER, …".
        rollouts: Whether TRL samples groups of completions per prompt, with a KL penalty `beta`.
        samples: Whether TRL samples from the current policy at each step, with transformers or vLLM.
        own: The settings of `em-hf train` that this method has and most others do not.
    """

    title: str
    summary: str
    objective: str
    build: str
    needs: Literal["answers", "solutions"] | None = None
    loop: str = ""
    source: str = ""
    rollouts: bool = True
    samples: bool = True
    own: tuple[str, ...] = ()

    def builder(self) -> Callable[..., Any]:
        """Import and return the function that `build` names."""
        module, name = self.build.split(":")
        return getattr(import_module(module), name)


METHODS = {
    "em-ft": Method(
        title="EM-FT",
        summary="fine-tune on the token entropy of the model's own samples",
        objective="minimize 1/N Σ_i Σ_t H(π(·|x_i, y_i,<t)) over outputs y_i sampled from the model itself",
        build="em_hf.training.em_ft:build_trainer",
        rollouts=False,
        loop="DistillationTrainer",
        source="arXiv 2505.15134, section 3.1",
        own=("loss_reduction", "loss_temperature"),
    ),
    "em-rl-sequence": Method(
        title="EM-RL-sequence",
        summary="RLOO, rewarded with the log-probability of the sampled output",
        objective="maximize E[Σ_t log π(y_t|x, y_<t)] - β KL(π || π_ref), the reward held constant in the gradient",
        build="em_hf.training.baselines:build_em_rl",
        loop="RLOOTrainer",
        source="arXiv 2505.15134, equation 3",
    ),
    "em-rl-token": Method(
        title="EM-RL-token",
        summary="RLOO, rewarded with the negative entropy summed over the output's tokens",
        objective="maximize E[-Σ_t H(π(·|x, y_<t))] - β KL(π || π_ref), the reward held constant in the gradient",
        build="em_hf.training.baselines:build_em_rl",
        loop="RLOOTrainer",
        source="arXiv 2505.15134, equation 4",
    ),
    "sc-rl": Method(
        title="SC-RL",
        summary="RLOO, rewarded with the share of a prompt's samples that gave the same answer",
        objective="maximize E[1/N Σ_j 1[a = a_j]] - β KL(π || π_ref) over the answers of a prompt's N samples",
        build="em_hf.training.baselines:build_rloo",
        loop="RLOOTrainer",
        source="arXiv 2505.15134, its self-consistency baseline",
    ),
    "rent": Method(
        title="RENT",
        summary="GRPO, rewarded with the negative mean token entropy",
        objective="maximize E[-1/T Σ_t H(π(·|x, y_<t))] - β KL(π || π_ref)",
        build="em_hf.training.baselines:build_grpo",
        loop="GRPOTrainer",
        source="arXiv 2505.22660",
        own=("reward_tokens",),
    ),
    "self-certainty": Method(
        title="Self-certainty",
        summary="GRPO, rewarded with the mean KL from the uniform to the policy's distribution (Intuitor)",
        objective="maximize E[1/T Σ_t KL(uniform || π(·|x, y_<t))] - β KL(π || π_ref)",
        build="em_hf.training.baselines:build_grpo",
        loop="GRPOTrainer",
        source="arXiv 2505.19590",
    ),
    "format": Method(
        title="Format reward",
        summary="RLOO, rewarded with 1 for a marked answer, right or wrong",
        objective="maximize E[1[y marks an answer]] - β KL(π || π_ref)",
        build="em_hf.training.baselines:build_rloo",
        loop="RLOOTrainer",
        source="arXiv 2506.10947",
    ),
    "random": Method(
        title="Random reward",
        summary="RLOO, rewarded with 0 or 1 by chance",
        objective="maximize E[r] - β KL(π || π_ref) with r = 0 or 1, each with probability 1/2, whatever y is",
        build="em_hf.training.baselines:build_rloo",
        loop="RLOOTrainer",
        source="arXiv 2506.10947",
    ),
    "ssd": Method(
        title="SSD",
        summary="supervised fine-tuning on the base model's own samples, drawn once with top-p truncation",
        objective="minimize -Σ_t log π(y_t|x, y_<t) on outputs y sampled from the base model, raw: no label, no filter",
        build="em_hf.training.ssd:build_trainer",
        rollouts=False,
        samples=False,
        loop="SFTTrainer",
        source="arXiv 2604.01193",
        own=("top_p",),
    ),
    "rloo": Method(
        title="RLOO",
        summary="RLOO, rewarded with 1 for the labeled answer",
        objective="maximize E[1[a = a*]] - β KL(π || π_ref) for the labeled answer a*",
        build="em_hf.training.baselines:build_rloo",
        needs="answers",
        loop="RLOOTrainer",
        source="arXiv 2402.14740",
    ),
    "grpo": Method(
        title="GRPO",
        summary="GRPO, rewarded with 1 for the labeled answer",
        objective="maximize E[1[a = a*]] - β KL(π || π_ref) for the labeled answer a*",
        build="em_hf.training.baselines:build_grpo",
        needs="answers",
        loop="GRPOTrainer",
        source="arXiv 2402.03300",
    ),
    "sft": Method(
        title="SFT",
        summary="supervised fine-tuning on labeled solutions",
        objective="minimize -Σ_t log π(y*_t|x, y*_<t) on labeled solutions y*",
        build="em_hf.training.baselines:build_sft",
        needs="solutions",
        rollouts=False,
        samples=False,
        loop="SFTTrainer",
    ),
}


def unused_settings(method: str) -> set[str]:
    """Return the settings of `em-hf train` that a method does not use."""
    this = METHODS[method]
    unused = {name for other in METHODS.values() for name in other.own} - {*this.own}
    if this.needs == "solutions":
        unused |= {"num_generations", "temperature"}
    if this.loop == "SFTTrainer":
        unused |= {"beta"}
    return unused
