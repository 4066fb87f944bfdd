"""Which runs and measurements the lab has. A job is named by what it is, so that a finished one is found again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from em_hf.evaluation.strategies import STRATEGIES
from em_hf.evaluation.tuning import SPACES
from em_hf.lab.settings import EM_METHODS, LEVELS, PLAIN, LabSettings
from em_hf.settings import MISLED_NAME as MISLED
from em_hf.settings import POCKET_NAME as POCKET
from em_hf.training.settings import recipe_settings

COLLAPSES, GUARDED_SEEDS = "em-rl-token", 2
AT_EQUAL_ENTROPY = ("temperature", "top-p", "min-p", "top-n-sigma", "adaptive-temperature")
# One run is chosen of each of these, on validation problems, for pass@k and votes.
BEST_OF = {"EM-FT": EM_METHODS[:1], "EM-RL": EM_METHODS[1:], "RLOO": ("rloo",)}
KINDS = ("fewer", "others")  # of problem, for the misled model
DIAGNOSIS_SAMPLES = 8


@dataclass(frozen=True)
class Training:
    """A training run: a run folder `runs/<name>`.

    Args:
        steps: None for the recipe's.
        guard: Watched by the collapse guard, which may stop it and restore earlier weights.
        long: It goes on past the recipe's steps.
        watch: Measured on hard validation problems along the way, which does not change it.
    """

    method: str
    seed: int
    model: str = POCKET
    steps: int | None = None
    guard: bool = False
    long: bool = False
    watch: bool = False

    @property
    def name(self) -> str:
        marks = {"misled-": self.model == MISLED, "guarded-": self.guard, "long-": self.long}
        return "".join(mark for mark, has in marks.items() if has) + f"{self.method}-{self.seed}"


@dataclass(frozen=True)
class Measuring:
    """Marked answers to held-out problems: a file `measured/<name>.json`.

    Args:
        model: The name of a training run, or of a model.
        strategy: One of em_hf.evaluation's.
        data: "plain" or "hard", or one of the misled model's `KINDS`.
        samples: Answers to each problem.
        settings: Those of the strategy: "stored" with the model, else its defaults; "tuned" on validation problems; or
            "equal-entropy", which leave as much entropy as EM-INF.
        entropy_min: EM-INF's settings other than the stored ones.
    """

    model: str
    strategy: str
    problems: int
    data: str = PLAIN
    split: str = "test"
    samples: int = 1
    settings: Literal["stored", "tuned", "equal-entropy"] = "stored"
    entropy_min: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        parts = [self.model, self.strategy, *(f"{key}={value:g}" for key, value in self.entropy_min)]
        parts += [self.settings] if self.settings != "stored" else []
        parts += [self.data, *([self.split] if self.split != "test" else [])]
        return "_".join([*parts, f"{self.problems}x{self.samples}"])


@dataclass(frozen=True)
class Tuning:
    """The best of a strategy's settings on validation problems: `measured/<name>.json`."""

    model: str
    strategy: str
    data: str
    trials: int
    problems: int

    @property
    def name(self) -> str:
        return f"{self.model}_{self.strategy}_tuning_{self.data}_{self.trials}x{self.problems}"


@dataclass(frozen=True)
class Matching:
    """The settings of other strategies that leave as much entropy as EM-INF does: `measured/<name>.json`."""

    model: str
    data: str
    problems: int

    @property
    def name(self) -> str:
        return f"{self.model}_equal-entropy_{self.data}_{self.problems}"


@dataclass(frozen=True)
class Diagnosing:
    """`em-hf diagnose` on validation problems of one kind: `measured/<name>.json`."""

    model: str
    data: str
    problems: int

    @property
    def name(self) -> str:
        return f"{self.model}_diagnose_{self.data}_{self.problems}"


Job = Training | Measuring | Tuning | Matching | Diagnosing


def trainings(settings: LabSettings) -> list[Training]:
    """Return all runs on the pocket reasoner, the first seed of every method before the second of any."""
    most = max(settings.seeds.values(), default=0)
    pairs = [(method, seed) for seed in range(most) for method, n in settings.seeds.items() if seed < n]
    return [
        Training(method, seed, steps=settings.steps, watch=seed == 0 and method not in EM_METHODS)
        for method, seed in pairs
    ]


def long_runs(settings: LabSettings) -> list[Training]:
    """Return one run of each EM method past the recipe's steps; its beginning is a run of the recipe's length."""
    methods = [method for method in EM_METHODS if settings.seeds.get(method)]
    steps = {method: settings.steps or recipe_settings("pocket", method)["steps"] for method in methods}
    return [
        Training(method, 0, steps=settings.long_factor * steps[method], long=True, watch=True) for method in methods
    ]


def guarded_runs(settings: LabSettings) -> list[Training]:
    """Return the first runs of the method that collapses, once more with the guard."""
    n = min(settings.seeds.get(COLLAPSES, 0), GUARDED_SEEDS)
    return [Training(COLLAPSES, seed, steps=settings.steps, guard=True) for seed in range(n)]


def misled_runs(settings: LabSettings) -> list[Training]:
    return [Training("em-ft", seed, MISLED, settings.steps) for seed in range(settings.misled_seeds)]


def on_levels(settings: LabSettings, model: str, *strategies: str) -> list[Measuring]:
    """Return one answer to each test problem of both levels, under each strategy."""
    return [Measuring(model, way, settings.problems, data=level) for level in LEVELS for way in strategies]


def on_validation(settings: LabSettings, model: str) -> list[Measuring]:
    """Return the measurements that the best runs are chosen by."""
    return [Measuring(model, "sampling", settings.chosen_on, data=level, split="validation") for level in LEVELS]


def of_run(settings: LabSettings, run: Training) -> list[Measuring]:
    """Return what is measured on a trained model."""
    jobs = on_levels(settings, run.name, "sampling", "greedy")
    candidate = any(run.method in methods for methods in BEST_OF.values())
    return [*jobs, *on_validation(settings, run.name)] if candidate else jobs


def many_answers(settings: LabSettings, model: str, strategy: str, level: str) -> Measuring:
    """Return several answers to every problem, for pass@k, votes and narrower intervals."""
    return Measuring(model, strategy, settings.problems, data=level, samples=settings.pass_samples)


def as_stored(settings: LabSettings, strategy: str, level: str) -> Measuring:
    """Return a strategy on the base model with the settings stored with it."""
    if strategy in ("sampling", "em-inf"):
        return many_answers(settings, POCKET, strategy, level)
    return Measuring(POCKET, strategy, settings.problems, data=level)


def tunable(settings: LabSettings) -> list[str]:
    return [strategy for strategy in settings.strategies if strategy in SPACES]


def tuning(settings: LabSettings, strategy: str, level: str) -> Tuning:
    return Tuning(POCKET, strategy, level, settings.tune_trials, settings.tune_problems)


def tuned(settings: LabSettings, strategy: str, level: str) -> Measuring:
    """Return a strategy on the base model with its best settings."""
    samples = settings.answers if STRATEGIES[strategy].base.samples == 1 else 1
    return Measuring(POCKET, strategy, settings.problems, data=level, samples=samples, settings="tuned")


def matchable(settings: LabSettings) -> list[str]:
    return [strategy for strategy in AT_EQUAL_ENTROPY if strategy in settings.strategies]


def matching(settings: LabSettings, level: str) -> Matching:
    return Matching(POCKET, level, settings.chosen_on)


def at_equal_entropy(settings: LabSettings, strategy: str, level: str) -> Measuring:
    """Return a strategy on the base model with settings that leave as much entropy as EM-INF."""
    return Measuring(
        POCKET, strategy, settings.problems, data=level, samples=settings.answers, settings="equal-entropy"
    )


def sweep(settings: LabSettings) -> Iterator[Measuring]:
    """Yield two grids on plain problems, threshold by steps and learning rate by KL weight; the rest is as stored."""
    grids = (
        ("threshold", settings.thresholds, "n_grad_steps", settings.grad_steps),
        ("learning_rate", settings.learning_rates, "kl_weight", settings.kl_weights),
    )
    for first, values, second, others in grids:
        for value in values:
            for other in others:
                yield Measuring(POCKET, "em-inf", settings.problems, entropy_min=((first, value), (second, other)))


def diagnosing(settings: LabSettings, model: str, data: str) -> Diagnosing:
    return Diagnosing(model, data, settings.diagnosed_on)


def on_kinds(settings: LabSettings, model: str, *strategies: str) -> list[Measuring]:
    """Return measurements of both kinds of problem for the misled model, or one trained from it."""
    return [Measuring(model, way, settings.kind_problems, data=kind) for kind in KINDS for way in strategies]


def of_decoding(settings: LabSettings) -> list[list[Job]]:
    """Return the chains about the base model: strategies as stored, at equal entropy and tuned, and diagnoses."""
    chains: list[list[Job]] = []
    for level in LEVELS:
        ways = [way for way in ("greedy", "sampling", "em-inf") if way in settings.strategies]
        chains.append([*(as_stored(settings, way, level) for way in ways), diagnosing(settings, POCKET, level)])
        equal = [at_equal_entropy(settings, way, level) for way in matchable(settings)]
        chains.append([matching(settings, level), *equal])
        chains += [[tuning(settings, way, level), tuned(settings, way, level)] for way in tunable(settings)]
    return chains


def first_chains(settings: LabSettings) -> list[list[Job]]:
    """Return all that can be done before the best models are known. The jobs of a chain are done in their order.

    The long ones come last, so that a lab that is stopped early has something to say of everything; but the longest
    runs come before others, so that none of them is left for one process at the end.
    """
    before: list[Job] = [*on_kinds(settings, MISLED, "sampling", "greedy", "em-inf")]
    before += [diagnosing(settings, MISLED, kind) for kind in KINDS]
    runs: list[list[Job]] = [[run] for run in long_runs(settings)]
    runs += [[run, *of_run(settings, run)] for run in trainings(settings)]
    runs += [[run, *on_levels(settings, run.name, "sampling")] for run in guarded_runs(settings)]
    runs += [[run, *on_kinds(settings, run.name, "sampling", "greedy")] for run in misled_runs(settings)]
    return [*of_decoding(settings), before, *runs, list(sweep(settings))]


def last_chains(settings: LabSettings, best: list[str]) -> list[list[Job]]:
    """Return what is measured on the best runs, by name."""
    return [[many_answers(settings, name, "sampling", level)] for name in best for level in LEVELS]


def family(job: Job) -> str:
    """Return the part of the plan that a job belongs to, for the account of what the lab takes."""
    if isinstance(job, Training):
        return "training"
    if isinstance(job, Tuning | Matching):
        return "tuning"
    if isinstance(job, Diagnosing):
        return "diagnoses"
    if job.data in KINDS:
        return "misled model"
    if job.model != POCKET:
        return "trained models" if job.samples == 1 else "pass@k"
    return "sweep" if job.entropy_min else "strategies"


def sampled_answers(settings: LabSettings, job: Job) -> int:
    """Return how many completions a job decodes: a vote of four counts four, a third draft three."""
    if isinstance(job, Measuring):
        return job.problems * job.samples * STRATEGIES[job.strategy].base.samples
    if isinstance(job, Tuning):
        return job.trials * job.problems * STRATEGIES[job.strategy].base.samples
    if isinstance(job, Diagnosing):
        return job.problems * DIAGNOSIS_SAMPLES
    if isinstance(job, Matching):
        return job.problems
    recipe = recipe_settings("pocket", job.method)
    steps = job.steps or recipe["steps"]
    drawn = steps * (settings.batch_size or recipe["batch_size"]) * recipe["num_generations"]
    readings = 2 * (1 + -(-steps // settings.watch_every)) * settings.watch_problems if job.watch else 0
    return (0 if job.method == "sft" else drawn) + readings
