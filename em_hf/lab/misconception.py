"""What `em-hf diagnose` says, before any training, of a model on one kind of problem."""

from typing import Any

from em_hf.evaluation.confidence import sample_answers
from em_hf.evaluation.diagnose import diagnose
from em_hf.generation.config import EntropyMinConfig
from em_hf.lab.measure import LENGTH, rows_of
from em_hf.lab.plan import EM_INF, Diagnosing

THRESHOLDS = (0.1, 0.3)


def diagnosed(model: Any, tokenizer: Any, job: Diagnosing) -> dict[str, Any]:
    """The diagnosis, as JSON has it, from eight answers to each problem."""
    rows = rows_of(job.data, job.problems)
    found = diagnose(
        sample_answers(
            model,
            tokenizer,
            [row["prompt"] for row in rows],
            [row["answer"] for row in rows],
            configs={value: EntropyMinConfig.from_dict({**EM_INF, "threshold": value}) for value in THRESHOLDS},
            max_new_tokens=LENGTH,
            batch_size=256,
        )
    )
    return found.to_dict()
