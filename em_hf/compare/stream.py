"""`generate` as a generator: it yields an item for every step as it happens, and closing it stops the decoding."""

from collections.abc import Callable, Generator
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

Item = TypeVar("Item")


class PieceStream:
    """Incremental detokenizer: the text that each token id adds, special tokens by name, without decoding all again.

    A token alone may be part of a character or lose its leading space, so it is decoded after the tokens before it; a
    split character is shown once its last part has arrived, and until then its tokens add nothing.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._ids: list[int] = []  # the tokens of the previous character, as context, then those since
        self._context = 0
        self._shown = 0  # characters of their text already returned

    def push(self, token_id: int, *, last: bool = False) -> str:
        """Return the text that this token adds. `last`: no other follows, so an incomplete character is shown as is."""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        whole = text if last else text.rstrip("\ufffd")
        piece, self._shown = whole[self._shown :], max(self._shown, len(whole))
        if whole == text:
            self._ids, self._context = self._ids[self._context :], len(self._ids) - self._context
            self._shown = len(self._decode(self._ids))
        return piece

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


class _Stop(StoppingCriteria):
    def __init__(self, event: Event) -> None:
        self.event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device)


class _Tell(BaseStreamer):
    """A streamer that passes on the tokens `[rows]` of each step; its first call has the prompt."""

    def __init__(self, tell: Callable[[Tensor], None]) -> None:
        self.tell = tell
        self.prompt_seen = False

    def put(self, value: Tensor) -> None:
        if self.prompt_seen:
            self.tell(value)
        self.prompt_seen = True

    def end(self) -> None:
        pass


def stream_generate(model: Any, item: Callable[[Tensor], Item], **kwargs: Any) -> Generator[Item, None, None]:
    """Run `model.generate(**kwargs)` in a thread and yield `item(tokens)` for each step's new tokens `[rows]`.

    `item` is called between two steps, so it may read what logits processors recorded in the previous step. Closing or
    dropping the generator ends the decoding after the current step, and returns when it has ended. An error in
    `generate` or `item` is raised here.
    """
    items: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    stop = Event()

    def work() -> None:
        try:
            model.generate(
                **kwargs,
                streamer=_Tell(lambda tokens: items.put(("item", item(tokens)))),
                stopping_criteria=StoppingCriteriaList([_Stop(stop)]),
            )
        except BaseException as error:  # any error goes to the caller: nothing else waits for this thread
            items.put(("error", error))
        else:
            items.put(("end", None))

    thread = Thread(target=work, daemon=True, name="em-hf-decode")
    thread.start()
    try:
        while True:
            kind, value = items.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stop.set()
        thread.join()
