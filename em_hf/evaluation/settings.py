"""The settings of an evaluation, except for the strategies."""

from dataclasses import dataclass
from typing import Literal

from em_hf.settings import DataSettings, ModelSettings, like, setting


@dataclass(frozen=True)
class EvalSettings(ModelSettings):
    """What is evaluated, and how, except for the strategies."""

    tasks: tuple[str, ...] = setting(("pocket",), help="Benchmarks: names of ours or of lm-eval's.", group="data")
    level: Literal["plain", "hard"] = like(DataSettings, "level")
    limit: int | None = setting(
        None, help="Problems of each task, from the first on.", group="data", low=1, unset="all"
    )
    samples: int = setting(
        1,
        help="Answers to each problem, whose grades are averaged.",
        group="sampling",
        low=1,
        flag="--samples --repeats",
    )
    num_fewshot: int | None = setting(
        None, help="Worked examples before each problem.", group="data", low=0, high=1000, unset="the task's"
    )
    system_instruction: str | None = setting(None, help="What the model is told before every problem.", group="data")
    max_new_tokens: int | None = setting(
        None, help="Longest answer, in tokens.", group="sampling", low=1, unset="the task's"
    )
    batch_size: int = setting(
        64, help="Rows decoded together; other batches draw other random numbers.", group="scale", low=1
    )
    chat_template: bool = setting(True, help="Put prompts into the tokenizer's chat template.", group="data")
    backend: Literal["transformers", "vllm", "openai"] = setting(
        "transformers",
        help="What decodes; vllm in an environment of its own, openai: the server at --base-url.",
        group="scale",
    )
    base_url: str | None = setting(
        None,
        help="Address of a server with OpenAI's chat completions, such as http://localhost:8000/v1; its key is in "
        "OPENAI_API_KEY.",
        group="scale",
        metavar="URL",
    )
