"""The pocket reasoner's tokenizer: its words and digits as single tokens, anything else byte by byte."""

from itertools import islice
from typing import TYPE_CHECKING

from em_hf.pocket.problems import stories

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, PAD = "<|end|>", "<|pad|>"
CONTEXT = 1024  # tokens

# A word, or one digit, or other signs, each with the space before it; a full stop with the line break after it.
# A question mark does not take its line break along, so that a prompt has the same tokens alone and in a whole text.
_PIECES = r"\.\n| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """A tokenizer that encodes any text and gives it back exactly.

    Its vocabulary: the end and padding tokens, the 256 bytes, the ten digits with a space before them, and every piece
    of the training problems. `<|end|>` also serves as the beginning of text, and nothing is added to a text.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    cut = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = {piece for text in _training_texts(30000) for piece, _ in cut.pre_tokenize_str(text)}
    pieces |= {piece for digit in range(10) for piece, _ in cut.pre_tokenize_str(f" {digit}")}
    single = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [END, PAD, *single, *sorted(pieces - set(single))]
    # Without merges a piece is looked up whole (ignore_merges) or falls apart into its bytes.
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [], ignore_merges=True))
    core.pre_tokenizer = cut
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def _training_texts(n: int) -> list[str]:
    return [f"{story.prompt}\n{story.solution()}" for story in islice(stories("train", seed=0), n)]
