"""Which runs and measurements the lab has. A job is named by what it is, so that a finished one is found again."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from em_hf.pocket import em_inf_settings
from em_hf.settings import MISLED_NAME as MISLED
from em_hf.settings import POCKET_NAME as POCKET
from em_hf.settings import from_dict, setting

LEVELS = ("test", "hard")  # what is measured on: plain held-out problems, and hard ones
EM_METHODS = ("em-ft", "em-rl-sequence", "em-rl-token")
MOST_SEEDS = (*EM_METHODS, "rloo")
COLLAPSES, GUARDED_SEEDS = "em-rl-token", 2
OF_THE_SWEEP = ("threshold", "n_grad_steps", "learning_rate", "kl_weight")
STRATEGIES = (
    "sampling",
    "greedy",
    "em-inf",
    "adaptive-temperature",
    "fixed-temperature",
    "min-p",
    "self-consistency",
    "weighted-self-consistency",
    "em-inf+self-consistency",
    "refinement",
    "em-inf+refinement",
)
AT_EQUAL_ENTROPY = ("adaptive-temperature", "fixed-temperature", "min-p")
EM_INF = {name: value for name, value in em_inf_settings().items() if name in OF_THE_SWEEP}
ONE_DRAW = ("sampling", "em-inf", *AT_EQUAL_ENTROPY)  # an answer is a single sampled one


@dataclass(frozen=True)
class LabSettings:
    """How much the lab does.

    `em-hf lab` has few options; the rest of the plan is set here.
    """

    seeds: dict[str, int] = setting({}, help="Training seeds of each method.")
    steps: int | None = setting(None, help="Steps of a training run.", low=1, unset="the recipe's")
    problems: int = setting(500, help="Held-out problems per measurement.", low=1)
    hard_problems: int = setting(300, help="Held-out hard problems per measurement.", low=1)
    kind_problems: int = setting(300, help="Problems of each kind, on the misled model.", low=1)
    answers: int = setting(
        4, help="Answers to each problem, where strategies that draw a single one are compared.", low=1
    )
    chosen_on: int = setting(
        200, help="Validation problems on which the best run is chosen and equal entropies are found.", low=1
    )
    pass_samples: int = setting(16, help="Answers to each problem for pass@k.", low=1)
    thresholds: tuple[float, ...] = setting((0.02, 0.05, 0.1, 0.3, 1.0), help="Thresholds of the sweep.", low=0)
    grad_steps: tuple[int, ...] = setting((1, 3, 10, 30), help="Gradient steps of the sweep.", low=0, high=100)
    learning_rates: tuple[float, ...] = setting((0.03, 0.1, 0.3, 1.0), help="Learning rates of the sweep.", above=0)
    kl_weights: tuple[float, ...] = setting((0.0, 0.05, 0.5), help="KL weights of the sweep.", low=0)
    misled_seeds: int = setting(3, help="EM-FT runs on the misled model.", low=0)
    full: bool = setting(False, help="Every strategy, pass@k and the sweep on every trained model.")
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


def lab_settings(
    *, quick: bool = False, full: bool = False, reasoner: str | None = None, seeds: int | None = None
) -> LabSettings:
    """The lab's plan; `quick` is a sketch of it, `seeds` the most training seeds of a method."""
    from em_hf.methods import METHODS

    most = {name: 5 if name in MOST_SEEDS else 3 for name in METHODS}
    if quick:
        made = LabSettings(
            seeds=dict.fromkeys(METHODS, 1),
            steps=2,
            problems=40,
            hard_problems=20,
            kind_problems=40,
            answers=1,
            chosen_on=20,
            pass_samples=4,
            thresholds=(0.1, 0.3),
            grad_steps=(3, 10),
            learning_rates=(0.1, 0.3),
            kl_weights=(0.0, 0.5),
            misled_seeds=1,
        )
    else:
        made = LabSettings(seeds=most)
    if seeds is not None:
        fewer = {name: min(n, seeds) for name, n in made.seeds.items()}
        made = replace(made, seeds=fewer, misled_seeds=min(made.misled_seeds, seeds))
    return replace(made, full=full, reasoner=reasoner)


@dataclass(frozen=True)
class Training:
    """A training run: a run folder `runs/<name>`.

    Args:
        steps: None for the recipe's.
        guard: watched by the collapse guard, which may stop it and put earlier weights back.
    """

    method: str
    seed: int
    model: str
    steps: int | None = None
    guard: bool = False

    @property
    def name(self) -> str:
        return f"{'misled-' if self.model == MISLED else ''}{'guarded-' if self.guard else ''}{self.method}-{self.seed}"


@dataclass(frozen=True)
class Measuring:
    """Answers to held-out problems, marked: a file `measured/<name>.json`.

    Args:
        model: the name of a training run, or of a model.
        strategy: one of `STRATEGIES`.
        entropy_min: EM-INF's settings where they are not `EM_INF`.
        data: "test", "validation", "hard" (hard test problems), "fewer" (the misled model's kind) or "others".
    """

    model: str
    strategy: str
    problems: int
    data: str = "test"
    samples: int = 1
    entropy_min: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        parts = [self.model, self.strategy, *(f"{key}={value:g}" for key, value in self.entropy_min), self.data]
        return "_".join([*parts, f"{self.problems}x{self.samples}"])


@dataclass(frozen=True)
class Matching:
    """The settings of other strategies that leave as much entropy as EM-INF does: `measured/<name>.json`."""

    model: str
    problems: int

    @property
    def name(self) -> str:
        return f"{self.model}_equal-entropy_{self.problems}"


@dataclass(frozen=True)
class Diagnosing:
    """`em-hf diagnose` on one kind of problem: `measured/<name>.json`."""

    model: str
    data: str
    problems: int

    @property
    def name(self) -> str:
        return f"{self.model}_diagnose_{self.data}_{self.problems}"


Job = Training | Measuring | Matching | Diagnosing


def trainings(settings: LabSettings) -> list[Training]:
    """All runs on the pocket reasoner, the first seed of every method before the second of any."""
    most = max(settings.seeds.values(), default=0)
    pairs = [(method, seed) for seed in range(most) for method, n in settings.seeds.items() if seed < n]
    return [Training(method, seed, POCKET, settings.steps) for method, seed in pairs]


def on(settings: LabSettings, model: str, strategy: str, data: str, samples: int = 1) -> Measuring:
    """Return a measurement on plain ("test") or hard ("hard") held-out problems."""
    n = settings.hard_problems if data == "hard" else settings.problems
    return Measuring(model, strategy, n, data=data, samples=samples)


def of_run(settings: LabSettings, run: Training) -> list[Measuring]:
    """What is measured on every trained model, and on which problems the best of the EM methods is chosen."""
    jobs = [on(settings, run.name, strategy, data) for data in LEVELS for strategy in ("sampling", "greedy")]
    if run.method in EM_METHODS:
        jobs.append(Measuring(run.name, "sampling", settings.chosen_on, data="validation"))
    return jobs


def guarded(settings: LabSettings) -> list[Training]:
    """The first runs of the method that collapses, once more with the guard."""
    n = min(settings.seeds.get(COLLAPSES, 0), GUARDED_SEEDS)
    return [Training(COLLAPSES, seed, POCKET, settings.steps, guard=True) for seed in range(n)]


def of_decoding(settings: LabSettings, model: str) -> list[list[Job]]:
    """Every strategy and pass@k on both levels, and the sweep, on one model."""
    strategies = [of_strategy(settings, model, strategy, data) for data in LEVELS for strategy in STRATEGIES]
    return [
        [Matching(model, settings.chosen_on), *strategies],
        pass_at_k(settings, model),
        list(sweep(settings, model)),
    ]


def of_strategy(settings: LabSettings, model: str, strategy: str, data: str = "test") -> Measuring:
    """One strategy beside the others."""
    return on(settings, model, strategy, data, samples=settings.answers if strategy in ONE_DRAW else 1)


def pass_at_k(settings: LabSettings, model: str) -> list[Job]:
    """Several answers to every problem of both levels, sampled and with EM-INF."""
    ways = [(data, strategy) for data in LEVELS for strategy in ("sampling", "em-inf")]
    return [on(settings, model, strategy, data, settings.pass_samples) for data, strategy in ways]


def sweep(settings: LabSettings, model: str) -> Iterator[Measuring]:
    """Two grids: threshold by steps, and learning rate by KL weight, the other two settings as in `EM_INF`."""
    grids = (
        ("threshold", settings.thresholds, "n_grad_steps", settings.grad_steps),
        ("learning_rate", settings.learning_rates, "kl_weight", settings.kl_weights),
    )
    for first, values, second, others in grids:
        for value in values:
            for other in others:
                changes = ((first, value), (second, other))
                yield Measuring(model, "em-inf", settings.problems, entropy_min=changes)


def of_misled(settings: LabSettings) -> list[list[Job]]:
    """The misled model before and after EM, on its kind of problem and on the others; one chain for each model."""

    def measured(model: str, *ways: str) -> list[Job]:
        n = settings.kind_problems
        return [Measuring(model, way, n, data=data) for data in ("fewer", "others") for way in ways]

    before = measured(MISLED, "sampling", "greedy", "em-inf")
    before += [Diagnosing(MISLED, data, min(100, settings.kind_problems)) for data in ("fewer", "others")]
    before += [Diagnosing(POCKET, "test", min(100, settings.kind_problems))]
    runs = [Training("em-ft", seed, MISLED, settings.steps) for seed in range(settings.misled_seeds)]
    return [before, *([run, *measured(run.name, "sampling", "greedy")] for run in runs)]


def first_chains(settings: LabSettings) -> list[list[Job]]:
    """All that can be done before the best models are known. The jobs of a chain are done in their order."""
    runs: list[list[Job]] = [[run, *of_run(settings, run)] for run in trainings(settings)]
    runs += [[run, Measuring(run.name, "sampling", settings.problems)] for run in guarded(settings)]
    # The short ones first, so that a lab that is stopped early has something to say of everything.
    *short, swept = of_decoding(settings, POCKET)
    return [*short, *of_misled(settings), *runs, swept]


def last_chains(settings: LabSettings, best: list[str]) -> list[list[Job]]:
    """Every strategy on the best models, or with `full` on all; RLOO's first run for pass@k beside them."""
    models = [run.name for run in trainings(settings)] if settings.full else best
    chains = [chain for model in models for chain in of_decoding(settings, model)]
    return chains if settings.full or "rloo" not in settings.seeds else [*chains, pass_at_k(settings, "rloo-0")]
