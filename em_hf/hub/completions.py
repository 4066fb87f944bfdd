"""A dataset of completions sampled from a run's model, with and without EM-INF, and the entropy of each token."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from em_hf import __version__
from em_hf.answers import extract_answer, same_answer
from em_hf.data import Prompts, load_prompts
from em_hf.generation.config import EntropyMinConfig
from em_hf.hub.export import Repository, stage
from em_hf.hub.folders import temporary_folder
from em_hf.hub.push import Published, Say, push_folder
from em_hf.hub.redact import without_paths
from em_hf.runs import Run
from em_hf.settings import PLAIN, POCKET_DATASETS, at_level

BATCH_SIZE = 32
CARD = """---
{{ card_data }}
---

# Completions of {{ name }}

{{ n }} prompts of `{{ dataset }}`, each completed twice by {{ model }}: by sampling (`em_inf` false) and with entropy
minimization while decoding (EM-INF, `em_inf` true), at temperature 1, top_k 0, top_p 1, at most {{ limit }} new
tokens, seed {{ seed }}. `entropy` has, for each token up to and including the end of the text, the entropy in nats of
the model's own distribution, before EM-INF changed it.{% if answers %} `correct` says whether the final answer is the
labeled one.{% endif %}

Made with em-hf {{ version }}; the settings of EM-INF: `{{ settings }}`.
"""


@contextmanager
def staged_completions(
    run: Run, count: int, *, model_id: str | None = None, seed: int = 0, say: Say = lambda _: None
) -> Iterator[Repository]:
    """Stage `data/completions.jsonl` in a temporary folder: the run's model on the first prompts of its dataset.

    The pocket problems are those of the test split, which training never sees.

    Raises:
        ValueError, OSError: the model or the dataset cannot be loaded.
    """
    facts, settings = run.facts.dataset, run.facts.settings
    if facts is None or facts.name is None:
        raise ValueError(f"{run.folder} does not say on what prompts it was trained: leave --completions out")
    data = load_prompts(
        facts.name,
        config=settings.get("dataset_config"),
        split="test" if facts.name in POCKET_DATASETS else facts.split or "train",
        level=facts.level or PLAIN,
        prompt_column=facts.prompt_column,
        limit=count,
    )
    sampling = run.results.sampling if run.results else {}
    limit = int(sampling.get("max_new_tokens") or settings.get("max_completion_length") or 256)
    say(f"Sampling {2 * len(data)} completions.")
    chat = bool(settings.get("chat_template", True))
    config = EntropyMinConfig.from_dict(run.facts.entropy_min or {})
    rows = _sample(str(run.folder), data, config, limit=limit, chat_template=chat, seed=seed)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    card = DatasetCard.from_template(
        DatasetCardData(
            tags=["em-hf", "entropy-minimization"],
            task_categories=["text-generation"],
            pretty_name=f"Completions of {run.name}",
        ),
        template_str=CARD,
        name=run.name,
        n=len(data),
        dataset=at_level(without_paths(facts.name), facts.level),
        model=f"[{model_id}](https://huggingface.co/{model_id})" if model_id else f"the run {run.name}",
        limit=limit,
        seed=seed,
        answers=data.answers is not None,
        version=__version__,
        settings=json.dumps(config.to_dict()),
    )
    with temporary_folder() as folder:
        files: dict[str, Path | bytes] = {"data/completions.jsonl": lines.encode()}
        yield stage(folder / "repository", files, card, mark={"completions_of": run.name})


def publish_completions(
    run: Run, model: str, count: int, repo_id: str | None = None, *, public: bool = False, say: Say = lambda _: None
) -> Published:
    """Push the dataset of completions of the run that was pushed as `model`, by default as `MODEL-completions`."""
    repo_id = repo_id or f"{model}-completions"
    with staged_completions(run, count, model_id=model, say=say) as repository:
        return push_folder(
            repository, repo_id, kind="dataset", public=public, message=f"Completions of {model}", say=say
        )


def _sample(
    folder: str, data: Prompts, config: EntropyMinConfig, *, limit: int, chat_template: bool, seed: int
) -> list[dict[str, Any]]:
    """Return a row per prompt and way of decoding; both ways use the same random numbers."""
    from em_hf.models import load_model
    from em_hf.sampling import SamplingConfig, sample

    model, tokenizer = load_model(folder)
    found = {}
    for em_inf in (False, True):
        how = SamplingConfig(
            max_new_tokens=limit,
            entropy_min=config if em_inf else None,
            seed=seed,
            batch_size=BATCH_SIZE,
            sort_by_length=False,
            chat_template=chat_template,
        )
        found[em_inf] = [drawn for (drawn,) in sample(model, tokenizer, data.prompts, how)]
    rows: list[dict[str, Any]] = []
    for i, prompt in enumerate(data.prompts):
        for em_inf, completions in found.items():
            entropy = [round(value, 6) for value in completions[i].entropies.tolist()]
            row = {"prompt": prompt, "completion": completions[i].text, "em_inf": em_inf, "entropy": entropy}
            if data.answers is not None:
                row["correct"] = same_answer(data.answers[i], extract_answer(completions[i].text))
            rows.append(row)
    return rows
