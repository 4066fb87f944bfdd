"""Example prompts, the settings stored with a model, and the settings in a page's address."""

from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from em_hf.generation.config import EntropyMinConfig
from em_hf.models import POCKET_NAMES, resolve_model
from em_hf.pocket import problems
from em_hf.settings import is_gguf

from .models import Models
from .request import LONGEST_ANSWER, MAX_PROMPT_CHARACTERS, SETTINGS, SLIDER_THRESHOLD

OPEN_QUESTIONS = [
    "Why is the sky blue? Explain it to a child.",
    "Write a short poem about the sea in winter.",
    "Name three differences between a frog and a toad.",
]
POCKET_LIMITS = (
    "The pocket models are tiny: they solve short word problems and nothing else, and know nothing of the world."
)
SERVE_ANOTHER = "Serve a larger model with `em-hf app --model OWNER/NAME`"


@dataclass(frozen=True)
class Example:
    """A prompt, the model it is for, its answer if known, and the seed to start with."""

    prompt: str
    model: str
    answer: str | None = None
    seed: int = 0


def examples(models: Models) -> list[Example]:
    """Return word problems with answers for the pocket models and open questions for the others, in model order."""
    found = []
    for name in models.names:
        if name in POCKET_NAMES:
            found += [Example(problem, name, answer) for problem, answer in problems_with_answers(3)]
        else:
            found += [Example(text, name) for text in OPEN_QUESTIONS]
    return found[:8]


def problems_with_answers(n: int = 6) -> list[tuple[str, str]]:
    """Return held-out problems of the pocket reasoner with their answers."""
    return [(problem["prompt"], problem["answer"]) for problem in problems("test", n, 3)]


def opening(models: Models) -> Example:
    """Return the example that the page opens with, for the first model offered."""
    name = models.names[0]
    if name not in POCKET_NAMES:
        return Example(OPEN_QUESTIONS[0], name)
    # With this seed the two rows diverge, and only EM-INF's reaches the answer.
    prompt, answer = problems_with_answers()[OPENING_PROBLEM]
    return Example(prompt, name, answer, OPENING_SEED)


OPENING_PROBLEM, OPENING_SEED = 3, 4
EXAMPLE_TOKENS = 96  # maximum length of the opening example


def settings_for(source: str) -> dict[str, Any]:
    """Return the settings of `stored_config` that the page has fields for."""
    config = stored_config(source)
    return {"threshold": config.threshold, "n_grad_steps": config.n_grad_steps}


@cache
def stored_config(source: str) -> EntropyMinConfig:
    """Return EM-INF's settings stored with a model, or the defaults if there are none.

    Args:
        source: a Hub id, a folder, a GGUF file or a pocket model's name, as `Models.source` returns it.
    """
    from transformers import GenerationConfig

    if is_gguf(source):  # it cannot store them
        return EntropyMinConfig()
    try:
        stored = getattr(GenerationConfig.from_pretrained(resolve_model(source)), "entropy_min_config", None)
        return EntropyMinConfig.from_dict(stored or {})
    except (OSError, ValueError):  # no generation_config.json, or settings of another version
        return EntropyMinConfig()


def from_address(search: str, names: list[str]) -> dict[str, Any]:
    """Return the settings in the query string of an address, without those that are unknown or out of range."""
    try:
        given = {key: values[-1] for key, values in parse_qs(search.lstrip("?"), max_num_fields=50).items()}
    except ValueError:
        return {}
    found: dict[str, Any] = {}
    if (prompt := given.get("prompt", "")).strip() and len(prompt) <= MAX_PROMPT_CHARACTERS:
        found |= {"prompt": prompt, "answer": ""}  # the answer on the page is another prompt's
        if len(answer := given.get("answer", "")) <= LONGEST_ANSWER:
            found["answer"] = answer
    if given.get("model") in names:
        found["model"] = given["model"]
    for name in ("seed", "max_new_tokens", "temperature", "threshold", "n_grad_steps"):
        try:
            value = SETTINGS[name].parse(given.get(name, ""))
        except ValueError:
            continue
        if name != "threshold" or value <= SLIDER_THRESHOLD:
            found[name] = value
    if given.get("entropy_min") in ("true", "false"):
        found["entropy_min"] = given["entropy_min"] == "true"
    return found
