"""The pocket reasoner's tokenizer: byte-level BPE learned from its problems, every digit a token of its own."""

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from em_hf.pocket.problems import LEVELS, Level, drawn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, PAD = "<|end|>", "<|pad|>"
CONTEXT = 1024  # tokens
VOCABULARY = 1024  # tokens
TEXTS = 20_000  # problems that the merges are learned from

# A word, or one digit, or other signs, each with the space before it; a full stop with the line break after it.
# A question mark does not take its line break along, so that a prompt has the same tokens alone and in a whole text.
_PIECES = r"\.\n| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """Return a tokenizer that encodes any text and gives it back exactly.

    Its vocabulary: the end and padding tokens, the 256 bytes, the ten digits with and without a space before them, and
    the most frequent words and parts of words of the training problems. `<|end|>` also serves as the beginning of text,
    and nothing is added to a text.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_training_texts(TEXTS), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def _training_texts(n: int) -> Iterator[str]:
    level = Level(LEVELS["plain"].lengths, LEVELS["plain"].largest, 0.15)
    for story in islice(drawn("train", Random("tokenizer"), level), n):
        yield f"{story.prompt}\n{story.solution()}"
