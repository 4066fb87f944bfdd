"""A dataset of completions that a run's model samples, with and without EM-INF, and the entropy of each token."""

import json
from collections.abc import Callable
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, HfApi

from em_hf import __version__
from em_hf.answers import extract_answer, same_answer
from em_hf.data import load_prompts
from em_hf.generation.config import EntropyMinConfig
from em_hf.hub.errors import plain_errors
from em_hf.hub.publish import Published, refuse_foreign
from em_hf.hub.redact import without_paths
from em_hf.hub.remote import Remote
from em_hf.hub.repository import MARK, Repository, make_repository
from em_hf.hub.runs import Run

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


def plan_completions(
    run: Run, count: int, *, model_id: str | None = None, seed: int = 0, say: Callable[[str], None] = lambda _: None
) -> Repository:
    """A dataset repository with `data/completions.jsonl`: the run's model on the first `count` prompts of its dataset.

    The pocket problems are those of the test split, which training never sees.

    Raises:
        ValueError, OSError: the model or the dataset cannot be loaded.
    """
    facts = run.facts["dataset"]
    pocket = facts["name"] == "pocket"
    data = load_prompts(
        facts["name"],
        config=run.facts["settings"].get("dataset_config"),
        split="test" if pocket else facts["split"],
        prompt_column=facts["prompt_column"],
        limit=count,
    )
    sampling = (run.results or {}).get("sampling", {})
    limit = int(sampling.get("max_new_tokens") or run.facts["settings"].get("max_completion_length") or 256)
    say(f"Sampling {2 * len(data)} completions.")
    chat = bool(run.facts["settings"].get("chat_template", True))
    config = EntropyMinConfig.from_dict(run.facts["entropy_min"])
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
        dataset=without_paths(facts["name"]),
        model=f"[{model_id}](https://huggingface.co/{model_id})" if model_id else f"the run {run.name}",
        limit=limit,
        seed=seed,
        answers=data.answers is not None,
        version=__version__,
        settings=json.dumps(config.to_dict()),
    )
    files: dict[str, Any] = {"README.md": f"{card}\n".encode(), "data/completions.jsonl": lines.encode()}
    mark = {"em_hf": __version__, "completions_of": run.name, "files": sorted([*files, MARK])}
    files[MARK] = (json.dumps(mark, indent=2) + "\n").encode()
    return make_repository(files, card)


def publish_completions(
    run: Run,
    model: str,
    count: int,
    repo_id: str | None = None,
    *,
    public: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Published:
    """Push the dataset of completions of the run that was pushed as `model`, by default as `MODEL-completions`."""
    api = HfApi()
    repo_id = repo_id or f"{model}-completions"
    repository = plan_completions(run, count, model_id=model, say=say)
    remote = Remote(api, repo_id, say, kind="dataset")
    with plain_errors(repo_id):
        state = remote.look()
        refuse_foreign(state, repo_id)
        state = state or remote.make(private=not public)
        done = remote.commit(repository, message=f"Completions of {model}")
    url = f"{api.endpoint}/datasets/{repo_id}"
    return Published(repo_id, url, done.oid, done.oid != state.head, state.private, repository.sizes)


def _sample(
    folder: str, data: Any, config: EntropyMinConfig, *, limit: int, chat_template: bool, seed: int
) -> list[dict[str, Any]]:
    from em_hf.models import load_model
    from em_hf.sampling import SamplingConfig, sample

    model, tokenizer = load_model(folder)
    runs = []
    for em_inf in (False, True):
        how = SamplingConfig(
            max_new_tokens=limit,
            entropy_min=config if em_inf else None,
            seed=seed,
            batch_size=BATCH_SIZE,
            chat_template=chat_template,
            sort_by_length=False,
        )
        runs.append((em_inf, [found for (found,) in sample(model, tokenizer, data.prompts, how)]))
    rows: list[dict[str, Any]] = []
    for i, prompt in enumerate(data.prompts):
        for em_inf, found in runs:
            row: dict[str, Any] = {"prompt": prompt, "completion": found[i].text, "em_inf": em_inf}
            row["entropy"] = [round(value, 6) for value in found[i].entropies.tolist()]
            if data.answers is not None:
                row["correct"] = same_answer(data.answers[i], extract_answer(found[i].text))
            rows.append(row)
    return rows
