"""The registry of strategies, and their settings as a user writes them: `temperature=0.6`, `em-inf:threshold=0.1`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from em_hf.evaluation.strategy import Strategy
from em_hf.generation.config import EntropyMinConfig
from em_hf.messages import did_you_mean, shown

# The paper samples at temperature 0.1 after EM-INF; that is left to the `temperature` option, not hidden here.
EM_INF = EntropyMinConfig()
ADAPTIVE = EntropyMinConfig(method="adaptive_temperature")

# The settings that a strategy may have, and the type that parses each value.
KINDS: dict[str, type] = {
    **{"temperature": float, "top_k": int, "top_p": float, "min_p": float, "top_n_sigma": float, "n": int},
    **{"threshold": float, "n_grad_steps": int, "learning_rate": float, "kl_weight": float, "optimizer": str},
    "target_ratio": float,
}
DRAWN = ("temperature", "top_k", "top_p", "min_p", "top_n_sigma")
OF_EM_INF = ("threshold", "n_grad_steps", "learning_rate", "kl_weight", "optimizer")
OF_ADAPTIVE = ("threshold", "target_ratio")


@dataclass(frozen=True)
class Entry:
    """A strategy in the registry.

    Args:
        summary: one line for `--list`.
        base: the strategy with its default settings.
        main: the setting that `NAME=VALUE` sets.
    """

    summary: str
    base: Strategy
    main: str | None = None

    @property
    def settings(self) -> tuple[str, ...]:
        """The names of the settings it has."""
        if self.base.greedy:
            return ()
        own = {"logit_optimization": OF_EM_INF, "adaptive_temperature": OF_ADAPTIVE}
        em = own[self.base.entropy_min.method] if self.base.entropy_min else ()
        return (*DRAWN, *em, *(("n",) if self.base.samples > 1 else ()))


def _entry(summary: str, name: str, main: str | None = None, **settings: Any) -> tuple[str, Entry]:
    return name, Entry(summary, Strategy(name, **settings), main)


STRATEGIES: dict[str, Entry] = dict(
    (
        _entry("the most probable token at each step", "greedy", greedy=True),
        _entry("tokens drawn from the model's own distribution", "sampling"),
        _entry("sampling at another temperature", "temperature", "temperature", temperature=0.6),
        _entry("sampling among the likeliest tokens of a total probability", "top-p", "top_p", top_p=0.95),
        _entry("sampling among tokens with a share of the largest probability", "min-p", "min_p", min_p=0.1),
        _entry(
            "sampling among tokens whose logits are within n standard deviations of the largest",
            "top-n-sigma",
            "top_n_sigma",
            top_n_sigma=1.0,
        ),
        _entry(
            "sampling at the temperature that leaves a share of each step's entropy",
            "adaptive-temperature",
            "target_ratio",
            entropy_min=ADAPTIVE,
        ),
        _entry("sampling after gradient steps on the logits", "em-inf", "threshold", entropy_min=EM_INF),
        _entry("the most frequent of N sampled answers", "self-consistency", "n", answers=4),
        _entry(
            "the same, each vote weighted by the model's confidence",
            "weighted-self-consistency",
            "n",
            answers=4,
            weighted=True,
        ),
        _entry("N sampled drafts, each correcting the last", "refinement", "n", rounds=3),
        _entry(
            "the most frequent of N answers, each with EM-INF",
            "em-inf+self-consistency",
            "n",
            answers=4,
            entropy_min=EM_INF,
        ),
        _entry(
            "the same, each vote weighted by the model's confidence",
            "em-inf+weighted-self-consistency",
            "n",
            answers=4,
            weighted=True,
            entropy_min=EM_INF,
        ),
        _entry("N drafts, each with EM-INF", "em-inf+refinement", "n", rounds=3, entropy_min=EM_INF),
    )
)


def parse_strategy(spec: str) -> tuple[str, dict[str, Any]]:
    """Return a strategy's name and settings from `NAME`, `NAME=VALUE` or `NAME:SETTING=VALUE:...`.

    `NAME=VALUE` sets the strategy's main setting: `temperature=0.6`, `self-consistency=16`, `em-inf=0.1` (its
    threshold).

    Raises:
        ValueError: there is no such strategy, it has no such setting, or the value is of the wrong type.

    Example:

    ```python
    parse_strategy("em-inf:threshold=0.1:n-grad-steps=10")  # ("em-inf", {"threshold": 0.1, "n_grad_steps": 10})
    ```
    """
    head, *rest = spec.strip().split(":")
    name, equals, value = head.partition("=")
    name = name.strip().lower().replace("_", "-")
    if name not in STRATEGIES:
        raise ValueError(f"strategy is {shown(name)}, but must be one of {', '.join(STRATEGIES)}{_near(name)}")
    entry, settings = STRATEGIES[name], dict[str, Any]()
    if equals and entry.main is None:
        raise ValueError(f"strategy {name} takes no value, but {shown(spec)} gives it one; write {name}")
    words = [(entry.main or "", value)] if equals else []
    words += [(key, value) for key, _, value in (word.partition("=") for word in rest)]
    for key, word in words:
        key = key.strip().replace("-", "_")
        if key not in entry.settings:
            have = f"it has {', '.join(entry.settings).replace('_', '-')}" if entry.settings else "it has none"
            raise ValueError(f"strategy {name} has no setting {shown(key.replace('_', '-'))}; {have}")
        if key in settings:
            raise ValueError(f"strategy {shown(spec)} sets {key.replace('_', '-')} twice")
        try:
            settings[key] = KINDS[key](word.strip())
        except ValueError as error:
            kind = {int: "a whole number", float: "a number", str: "a word"}[KINDS[key]]
            raise ValueError(f"strategy {name}: {key} is {shown(word)}, but must be {kind}") from error
    return name, settings


def _near(name: str) -> str:
    return did_you_mean(name, STRATEGIES)


def make_strategy(
    name: str,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    top_n_sigma: float | None = None,
    entropy_min: dict[str, Any] | None = None,
    n: int | None = None,
) -> Strategy:
    """Return the strategy of that name, changed by those of the given settings that apply to it.

    Args:
        temperature, top_k, top_p, min_p, top_n_sigma: settings of the draw; ignored by greedy decoding.
        entropy_min: fields of `EntropyMinConfig` other than the method; ignored by a strategy without EM-INF.
        n: answers of self-consistency, drafts of refinement; ignored by the others.

    Raises:
        ValueError: an unknown name, or a value out of range.
    """
    if name not in STRATEGIES:
        raise ValueError(f"strategy is {name!r}, but must be one of {', '.join(STRATEGIES)}{_near(name)}")
    strategy = STRATEGIES[name].base
    drawn = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "top_n_sigma": top_n_sigma}
    changes: dict[str, Any] = {key: value for key, value in drawn.items() if value is not None}
    if strategy.greedy:
        changes = {}
    if entropy_min and strategy.entropy_min:
        config = {**strategy.entropy_min.to_dict(), **entropy_min, "method": strategy.entropy_min.method}
        changes["entropy_min"] = EntropyMinConfig.from_dict(config)
    if n is not None:
        changes |= {"answers": n} if strategy.answers > 1 else {}
        changes |= {"rounds": n} if strategy.rounds > 1 else {}
    return replace(strategy, **changes)


def make_strategies(
    specs: Sequence[str], shared: Mapping[str, Any] | None = None, stored: EntropyMinConfig | None = None
) -> list[Strategy]:
    """Return the strategies of a comparison, each under its own name.

    Args:
        specs: as for `parse_strategy`.
        shared: settings for every strategy that has them and does not set them itself; None counts as not given.
        stored: EM-INF settings stored with the model, for whatever is not set otherwise.

    Raises:
        ValueError: as in `parse_strategy`; a value is out of range; two strategies are the same or share a name; or no
            strategy has a shared setting.
    """
    given = {name: value for name, value in (shared or {}).items() if value is not None}
    parsed = [parse_strategy(spec) for spec in specs]
    for name, value in given.items():
        if not any(name in STRATEGIES[strategy].settings for strategy, _ in parsed):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is {value!r}, but no strategy has it among {', '.join(specs)}")
    made: dict[str, Strategy] = {}
    for strategy, own in parsed:
        known = {**{name: value for name, value in given.items() if name in STRATEGIES[strategy].settings}, **own}
        em = {name: known.pop(name) for name in (*OF_EM_INF, *OF_ADAPTIVE) if name in known}
        config = STRATEGIES[strategy].base.entropy_min
        if config and stored and stored.method == config.method:
            em = {**stored.to_dict(), **em}
        one = replace(make_strategy(strategy, **known, entropy_min=em), name=_name(strategy, own))
        if one.name in made:
            raise ValueError(f"two strategies are named {one.name}: leave one out, or give it another setting")
        twin = next((name for name, other in made.items() if replace(other, name=one.name) == one), None)
        if twin is not None:
            raise ValueError(f"{twin} and {one.name} are the same strategy: leave one out, or give it another setting")
        made[one.name] = one
    return list(made.values())


def _name(strategy: str, own: Mapping[str, Any]) -> str:
    """Return the name of a strategy with its own settings, in the form that `parse_strategy` reads."""
    main = STRATEGIES[strategy].main
    words = {key: f"{value:g}" if isinstance(value, int | float) else value for key, value in own.items()}
    head = f"{strategy}={words.pop(main)}" if main in words else strategy
    return ":".join([head, *(f"{key.replace('_', '-')}={word}" for key, word in words.items())])
