"""How much the lab does: the sizes of its plan, whole and as a sketch."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from em_hf.evaluation.strategies import STRATEGIES
from em_hf.methods import METHODS
from em_hf.pocket.problems import LEVELS
from em_hf.settings import from_dict, setting

PLAIN, HARD = LEVELS
EM_METHODS = ("em-ft", "em-rl-sequence", "em-rl-token")


@dataclass(frozen=True)
class LabSettings:
    """The sizes of the plan. `em-hf lab` has few options; the rest is set here."""

    seeds: dict[str, int] = setting({}, help="Training seeds of each method.")
    strategies: tuple[str, ...] = setting(tuple(STRATEGIES), help="Strategies on the base model.")
    train_levels: tuple[str, ...] = setting((PLAIN,), help="Levels of the problems to train on, in equal parts.")
    steps: int | None = setting(None, help="Steps of a training run.", low=1, unset="the recipe's")
    batch_size: int | None = setting(None, help="Prompts per step.", low=1, unset="the recipe's")
    max_new_tokens: int = setting(
        176, help="Longest answer that is measured; training has the recipe's.", unit="tokens", low=1
    )
    problems: int = setting(200, help="Held-out problems of a level per measurement.", low=1)
    answers: int = setting(2, help="Answers to each problem, for strategies that draw a single one.", low=1)
    pass_samples: int = setting(16, help="Answers to each problem for pass@k and votes.", low=1)
    chosen_on: int = setting(
        100, help="Validation problems of a level on which the best runs are chosen and equal entropies found.", low=1
    )
    tune_trials: int = setting(5, help="Settings tried per strategy and level.", low=1)
    tune_problems: int = setting(80, help="Validation problems per trial.", low=1)
    watch_problems: int = setting(100, help="Hard validation problems that are measured along a run.", low=1)
    watch_every: int = setting(10, help="Steps between these measurements.", low=1)
    long_factor: int = setting(2, help="Steps of the long run of each EM method, times the others'.", low=1)
    diagnosed_on: int = setting(100, help="Validation problems per diagnosis.", low=2)
    kind_problems: int = setting(200, help="Problems of each kind, on the misled model.", low=1)
    misled_seeds: int = setting(3, help="EM-FT runs on the misled model.", low=0)
    thresholds: tuple[float, ...] = setting((0.02, 0.1, 0.3, 0.6, 1.0), help="Thresholds of the sweep.", low=0)
    grad_steps: tuple[int, ...] = setting((1, 3, 10, 30), help="Gradient steps of the sweep.", low=0, high=100)
    learning_rates: tuple[float, ...] = setting((0.03, 0.1, 0.3, 1.0), help="Learning rates of the sweep.", above=0)
    kl_weights: tuple[float, ...] = setting((0.0, 0.05, 0.5), help="KL weights of the sweep.", low=0)
    reasoner: str | None = setting(None, help="Folder of a pocket reasoner to use instead of the shipped one.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LabSettings":
        """Return the settings that JSON made of `to_dict`.

        Raises:
            ValueError: A key is unknown, or a value is wrong.
        """
        return from_dict(cls, values)


SKETCH = LabSettings(
    seeds=dict.fromkeys(("em-ft", "em-rl-sequence", "ssd", "rloo"), 1),
    strategies=("greedy", "sampling", "temperature", "em-inf", "self-consistency"),
    steps=1,
    batch_size=4,
    problems=12,
    answers=1,
    pass_samples=4,
    chosen_on=8,
    tune_trials=2,
    tune_problems=8,
    watch_problems=8,
    watch_every=1,
    long_factor=2,
    diagnosed_on=16,
    kind_problems=24,
    misled_seeds=1,
    thresholds=(0.1,),
    grad_steps=(3, 10),
    learning_rates=(0.1,),
    kl_weights=(0.0,),
)


def lab_settings(*, quick: bool = False, reasoner: str | None = None, seeds: int | None = None) -> LabSettings:
    """Return the lab's plan.

    Args:
        quick: A sketch of it.
        reasoner: Folder of another pocket reasoner.
        seeds: The most training seeds per method.
    """
    made = SKETCH if quick else LabSettings(seeds=dict.fromkeys(METHODS, 3))
    if seeds is not None:
        fewer = {name: min(n, seeds) for name, n in made.seeds.items()}
        made = replace(made, seeds=fewer, misled_seeds=min(made.misled_seeds, seeds))
    return replace(made, reasoner=reasoner)
