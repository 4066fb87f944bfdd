"""Rows of logits to measure on: from SmolLM2's own decoding, stretched to larger vocabularies, or flat."""

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks import common  # noqa: F401  (takes the Hub offline before anything is loaded)
from em_hf.models import load_model
from em_hf.sampling import Batch, SamplingConfig, sample
from tests.reference import entropy
from tests.smollm2 import smollm2_folder

QUESTIONS = [
    "A shop sells pens at 3 dollars each. How much do 7 pens and a notebook of 5 dollars cost together?",
    "Why is the sky blue? Explain it to a child.",
    "Write a short poem about the sea in winter.",
    "Name three differences between a frog and a toad.",
    "How do I cook rice so that it does not stick?",
    "What is a prime number? Give five examples.",
    "Tell me a story about a lighthouse keeper who finds a letter.",
    "Write a Python function that reverses a list.",
    "What were the main causes of the First World War?",
    "Suggest a plan for a rainy Sunday with two children.",
    "Anna has 12 apples, gives away a third and eats one. How many are left?",
    "How does a bicycle stay upright?",
    "Give me a recipe for a simple vegetable soup.",
    "What is the difference between weather and climate?",
    "Describe a market in a small town early in the morning.",
    "How can I learn to play the guitar on my own?",
]
OPENINGS = [
    "The history of the town begins with",
    "In this paper we study",
    "She closed the door and",
    "Question: A train travels 60 miles in an hour and a half. How fast is it?\nAnswer:",
    "def read_table(path):\n",
    "The most common mistakes in gardening are",
    "Once upon a time",
    "According to the report published on Monday,",
    "Ingredients:\n-",
    "Theorem 1. Let",
    "Dear Sir or Madam,",
    "Abstract:",
    "The river rises in",
    "User reviews:\n",
    "Chapter 2\n",
    "For many years scientists",
]


def smollm2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return SmolLM2-135M-Instruct in float32 on the CPU, and its tokenizer."""
    return load_model(str(smollm2_folder()), dtype="float32", device="cpu")


def decoded_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chat: bool, steps: int, seed: int = 0
) -> Tensor:
    """Return the next-token logits `[rows, V]` of sampling 16 prompts at temperature 1, up to `steps` tokens each.

    `chat`: questions in the chat template; otherwise bare openings of texts, continued as by a base model.
    """
    kept: list[Tensor] = []

    def keep(batch: Batch) -> None:
        assert batch.logits is not None
        kept.append(batch.logits[batch.mask])

    config = SamplingConfig(max_new_tokens=steps, seed=seed, chat_template=chat, sort_by_length=False)
    sample(model, tokenizer, QUESTIONS if chat else OPENINGS, config, keep_logits=True, on_batch=keep)
    return torch.cat(kept)


def stretched(rows: Tensor, vocabulary: int, seed: int = 0) -> Tensor:
    """Return rows `[N, V]` as a model with a larger vocabulary could have given them: `[N, vocabulary]`.

    A row's sorted logits are a curve over log rank; the curve is stretched with its ends fixed (rank 1 and the last
    rank), normal noise of 0.1 is added, and the entries are put in random order. In a real vocabulary likely tokens
    cluster at low ids; random order is the harder case for a method that works in blocks.
    """
    generator = torch.Generator().manual_seed(seed)
    size = rows.shape[1]
    rank = torch.arange(1, vocabulary + 1, dtype=torch.float64)
    place = rank.log().mul(torch.tensor(size).log() / torch.tensor(vocabulary).log()).exp() - 1
    low = place.long().clamp(max=size - 2)
    share = (place - low).clamp(0, 1).float()
    curve = rows.sort(1, descending=True).values
    out = torch.lerp(curve[:, low], curve[:, low + 1], share)
    out += 0.1 * torch.randn(out.shape, generator=generator)
    return torch.stack([row[torch.randperm(vocabulary, generator=generator)] for row in out])


def flat_rows(count: int, vocabulary: int, seed: int = 0) -> Tensor:
    """Return normal noise of 0.01, `[count, vocabulary]`: an entropy of log V."""
    return 0.01 * torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(seed))


def by_entropy(rows: Tensor, threshold: float = 0.3) -> dict[str, Tensor]:
    """Return the rows in three groups by their entropy in nats."""
    h = torch.stack([entropy(row) for row in rows])
    return {
        f"H < {threshold}": rows[h < threshold],
        f"{threshold} < H < 3": rows[(h >= threshold) & (h < 3)],
        "H >= 3": rows[h >= 3],
    }
