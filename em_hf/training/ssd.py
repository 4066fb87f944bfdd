"""SSD: fine-tuning on the model's own raw samples, drawn once, before training, at a training temperature.

A competitor and the null model of EM-FT (arXiv 2604.01193): no label, no reward, no filter. It learns only from
truncation and temperature: samples of the whole distribution at temperature 1 have no gradient in expectation.
"""

from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from em_hf.models import encode_prompts
from em_hf.sampling import SamplingConfig, sample
from em_hf.settings import MAX_SEED

PROMPTS_AT_A_TIME = 64

Pair = tuple[list[int], list[int]]


def build_trainer(settings: Any, model: Any, tokenizer: Any, data: Any, folder: Path, callbacks: list) -> Any:
    """Return the trainer of a run (see `em_hf.training.run`): TRL's SFTTrainer on samples of the current model.

    As many prompts are answered as the run's steps need. The samples depend on the seed
    and not on the number of processes, so that a resumed run trains on the same ones.
    """
    from em_hf.training.baselines import sft_trainer

    a_step = settings.batch_size * settings.gradient_accumulation_steps * PartialState().num_processes
    needed = -(-settings.steps * a_step // settings.num_generations)
    samples = raw_samples(model, tokenizer, data.prompts[:needed], settings)
    return sft_trainer(settings, model, tokenizer, samples, folder, callbacks)


def raw_samples(
    model: Any, tokenizer: Any, prompts: list[Any], settings: Any, at_a_time: int = PROMPTS_AT_A_TIME
) -> list[Pair]:
    """Return the (prompt, completion) tokens of all samples, in the order of the prompts, on all processes.

    Args:
        prompts: texts, or lists of messages.
        settings: those of the run, with the number of samples per prompt and how to draw them.
        at_a_time: prompts per chunk. Each chunk has a different seed, and the processes share the chunks.
    """
    state = PartialState()
    starts = range(0, len(prompts), at_a_time)
    mine: list[tuple[int, list[Pair]]] = []
    for start in starts[state.process_index :: state.num_processes]:
        chunk = prompts[start : start + at_a_time]
        config = SamplingConfig(
            samples=settings.num_generations,
            max_new_tokens=settings.max_completion_length,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=(settings.seed + start) % (MAX_SEED + 1),
            chat_template=settings.chat_template,
        )
        rows = []
        for prompt, completions in zip(chunk, sample(model, tokenizer, chunk, config), strict=True):
            ids = encode_prompts(tokenizer, [prompt], chat_template=settings.chat_template)["input_ids"][0].tolist()
            rows += [(ids, completion.token_ids) for completion in completions]
        mine.append((start, rows))
    return [row for _, rows in sorted(gather_object(mine)) for row in rows]
