"""The records of a run folder as dataclasses. None means not known or not measured."""

import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Literal

from em_hf.methods import METHODS

Status = Literal["running", "finished", "interrupted", "failed"]
_LIBRARIES = ("torch", "transformers", "accelerate", "trl", "peft", "datasets", "safetensors", "huggingface-hub")


def now() -> str:
    """Return the current time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the installed libraries that decide what a run computes."""
    found: dict[str, str | None] = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _LIBRARIES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass
class DatasetFacts:
    """The prompts that a run was trained on: `n` is their number, `fingerprint` a hash of their text."""

    name: str | None = None
    split: str | None = None
    level: str | None = None
    prompt_column: str | None = None
    answer_column: str | None = None
    n: int | None = None
    fingerprint: str | None = None


@dataclass
class ComputeFacts:
    """The cost of a run: tokens including prompts, FLOPs by the rule of `em_hf.flops`, seconds of training, bytes."""

    parameters: int = 0
    tokens_sampled: int = 0
    tokens_trained: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True)
class Verdict:
    """How a guarded run ended.

    Attributes:
        collapsed: Whether it was stopped because of a collapse.
        step: Step at which it was stopped, because of a collapse or early; None if it was not stopped.
        why: Why it was stopped, in one line.
        best_step: Step after which the best weights were kept.
    """

    collapsed: bool = False
    step: int | None = None
    why: str | None = None
    best_step: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class RunFacts:
    """`run.json`: how a run was requested, what it was made with, and how far it got. None means not known.

    Attributes:
        status: "running", "finished", "interrupted" or "failed" (with an error); the last two can be resumed.
        trained: Whether the trained model has been saved.
        steps_done: Optimizer steps.
        started, finished: ISO 8601, UTC.
    """

    status: Status
    em_hf: str | None = None
    name: str | None = None
    method: str | None = None
    method_title: str | None = None
    objective: str | None = None
    labels: str | None = None
    loop: str | None = None
    source: str | None = None
    base_model: str | None = None
    base_revision: str | None = None
    dataset: DatasetFacts | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    entropy_min: dict[str, Any] | None = None
    lora: bool = False
    seed: int | None = None
    processes: int = 1
    versions: dict[str, str | None] = field(default_factory=dict)
    command: str | None = None
    started: str | None = None
    finished: str | None = None
    steps_done: int = 0
    trained: bool = False
    compute: ComputeFacts | None = None
    guard: Verdict | None = None

    @classmethod
    def of_method(cls, method: str, status: Status, **facts: Any) -> "RunFacts":
        """Return the record of a run of this method in the current environment, with the given facts."""
        about = METHODS[method]
        return cls(
            status=status,
            em_hf=metadata.version("em-hf"),
            method=method,
            method_title=about.title,
            objective=about.objective,
            labels=about.needs,
            loop=about.loop,
            source=about.source,
            versions=versions(),
            **facts,
        )


@dataclass
class LogLine:
    """A line of `log.jsonl`: what a trainer logged after an optimizer step, as means over the step's samples.

    Attributes:
        seconds: Since training began, excluding measurements before and after it.
        entropy, kl: Nats per token.
        completion_length: Tokens per sample.
        tokens, tokens_with_prompts: Of the whole step: tokens sampled, and tokens trained on.
    """

    step: int
    seconds: float | None = None
    loss: float | None = None
    entropy: float | None = None
    reward: float | None = None
    kl: float | None = None
    completion_length: float | None = None
    tokens: float | None = None
    tokens_with_prompts: float | None = None
    token_accuracy: float | None = None
    grad_norm: float | None = None


@dataclass(frozen=True)
class Reading:
    """A line of `probe.jsonl` or `guard.jsonl`: what was measured after a training step; None means not known.

    Attributes:
        step: Optimizer steps done.
        entropy: Nats per token, of the model's own distributions (before EM-INF).
        log_prob: Of the sampled tokens under the model, nats per token.
        completion_length: Tokens per completion.
        lines: Non-empty lines per completion, since reasoning steps are written in lines.
        repetition: Share of a completion's 4-grams that occurred in it before, 0 to 1.
        accuracy: Share of correct samples, 0 to 1.
        right: Share of correct samples of each prompt.
        kl: Nats per token to the model before training: as last logged by the trainer or, with an adapter, measured.
    """

    step: int
    entropy: float | None = None
    log_prob: float | None = None
    completion_length: float | None = None
    lines: float | None = None
    repetition: float | None = None
    accuracy: float | None = None
    right: tuple[float, ...] | None = None
    kl: float | None = None

    def numbers(self) -> dict[str, float]:
        """Return the numbers that a logger shows."""
        return {k: v for k, v in asdict(self).items() if isinstance(v, int | float) and k not in ("step", "kl")}


@dataclass(frozen=True)
class ResultRow:
    """A row of `results.json`: a model on held-out prompts, sampled.

    Attributes:
        accuracy, low, high: A share with its 95% interval over problems; None without answers.
        entropy: Nats per token, of the model's own distributions.
        completion_length: Tokens per sample.
        seconds: Of the whole measurement.
        prompt, sample: One of the prompts, and what was sampled for it.
        trained, greedy, em_inf: Whether the model is the trained one, and how it was decoded; derived from the row's
            name for older files, which lack them.
    """

    name: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    entropy: float | None = None
    completion_length: float | None = None
    seconds: float | None = None
    prompt: str | None = None
    sample: str | None = None
    trained: bool | None = None
    greedy: bool | None = None
    em_inf: bool | None = None

    def __post_init__(self) -> None:
        name = self.name.lower()
        of_base = name.startswith("base") or name in ("em-inf", "greedy")
        said = {"trained": not of_base, "greedy": "greedy" in name, "em_inf": "em-inf" in name}
        for key, value in said.items():
            if getattr(self, key) is None:
                object.__setattr__(self, key, value)


@dataclass
class Results:
    """`results.json`: the rows, each measured on `n` prompts, and how they were sampled.

    Attributes:
        note: What a reader of the rows must know, such as that fewer prompts were measured than requested.
    """

    rows: list[ResultRow] = field(default_factory=list)
    n: int | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True)
class Figure:
    """A mean over problems and its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Benchmark:
    """A task's dataset on the Hub and its number of problems, which tells a whole benchmark from a part of it."""

    hub: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class EvaluationRow:
    """A strategy on a task: every figure, and the numbers it was computed from, one per problem."""

    strategy: str
    task: str
    problems: int
    samples: int
    metric: str
    figures: dict[str, Figure]
    values: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """`eval.json`: what was requested and, once the status is "finished", what was found."""

    status: Literal["running", "finished"]
    settings: dict[str, Any]
    command: str | None = None
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    rows: list[EvaluationRow] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    tuning: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str | None] = field(default_factory=dict)
    date: str | None = None

    @property
    def own_data(self) -> bool:
        """Whether the problems were a user's own, which are no benchmark, whatever the name of their file."""
        return self.settings.get("dataset") is not None


@dataclass(frozen=True)
class Answer:
    """A line of `answers/STRATEGY.jsonl`: one answer, and what it took.

    Attributes:
        key: Task, problem and sample.
        tokens, prompt_tokens: Tokens sampled for it; prompt tokens passed through the model for it.
        nats: Summed entropy of the model's own distributions; None if the engine does not report it.
    """

    key: tuple[str, int, int]
    text: str
    tokens: int
    prompt_tokens: int
    nats: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Diagnosis:
    """`diagnose.json`: what `em-hf diagnose` found for a model; `em_hf.evaluation.diagnose` explains the fields."""

    verdict: str
    sentence: str
    problems: int | None = None
    samples: int | None = None
    accuracy: Figure | None = None
    mixed: int | None = None
    misled: Figure | None = None
    measures: dict[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    advice: dict[str, str] = field(default_factory=dict)
    threshold: float | None = None
    dataset: str | None = None
    split: str | None = None
    level: str | None = None
    seed: int | None = None
