"""A user's own problems as an lm-eval task: a file, or a dataset on the Hub, read as `em-hf train` reads it."""

from pathlib import Path
from typing import Any

from em_hf.data import Prompts
from em_hf.evaluation.answering import chat_text
from em_hf.evaluation.grading import all_samples, maths
from em_hf.settings import at_level
from em_hf.tables import kind_of

MAX_NEW_TOKENS = 256


def own_task(problems: Prompts, validation: Prompts | None = None) -> dict[str, Any]:
    r"""Return the settings of a task that gives a model these prompts as they are and compares its final answers.

    The final answer is the content of the last `\boxed{}`, else what follows the last `####`, as in training and
    diagnosis. Few-shot examples show it after `####`, which small models follow best.

    Args:
        problems: problems with answers.
        validation: held-out problems to tune strategies on.

    Raises:
        ValueError: the problems have no answers.
    """
    for data in (problems, validation):
        if data is not None and data.answers is None:
            raise ValueError(f"{data.name} has no answers: name their column with --answer-column")

    def load(**_: Any) -> Any:
        from datasets import Dataset, DatasetDict

        splits = {"test": problems, **({"validation": validation} if validation is not None else {})}
        return DatasetDict({split: Dataset.from_list(_rows(data)) for split, data in splits.items()})

    return {
        "task": at_level(task_name(problems.name), problems.level),
        "custom_dataset": load,
        "output_type": "generate_until",
        "test_split": "test",
        **({"validation_split": "validation"} if validation is not None else {}),
        # Named, so that lm-eval leaves the problem that is asked out of its own examples.
        "fewshot_split": "validation" if validation is not None else "test",
        "doc_to_text": "{{problem}}",
        "doc_to_target": "#### {{answer}}",
        "target_delimiter": "\n",
        "fewshot_delimiter": "\n\n",
        "generation_kwargs": {"until": [], "max_gen_toks": MAX_NEW_TOKENS},
        "filter_list": [{"name": "all", "filter": [{"function": "custom", "filter_fn": all_samples}]}],
        "process_results": maths,
        "metric_list": [{"metric": "pass@1", "aggregation": "mean", "higher_is_better": True}],
        "num_fewshot": 0,
        "metadata": {
            "version": 1,
            "stop_after_examples": "\n\n",
            "prompt_column": problems.prompt_column,
            "answer_column": problems.answer_column,
        },
    }


def task_name(dataset: str) -> str:
    """Return a dataset's task name: the file name without its suffix, or the Hub id with a hyphen for the slash."""
    path = Path(dataset)
    name = path.stem if kind_of(path) else dataset
    return name.replace("/", "-").replace(" ", "-")


def _rows(data: Prompts) -> list[dict[str, Any]]:
    pairs = zip(data.prompts, data.answers or [], strict=True)
    return [{"problem": chat_text(prompt), "answer": answer} for prompt, answer in pairs]
