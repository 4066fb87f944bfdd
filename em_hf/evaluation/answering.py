"""What all our lm-eval models share, whatever the backend: strategies, turns, batches, seeds and saved answers."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from lm_eval.api.instance import Instance

from em_hf.evaluation.strategy import NEXT_TURN, Completion, Strategy, together
from em_hf.models import Prompt
from em_hf.sampling import seed_batch

# The key of one requested answer: the task, the problem's number in it, and the answer's number for that problem.
Key = tuple[str, int, int]
# Prefix of a problem that is a list of messages: lm-eval passes on every problem as text.
CHAT = "em-hf chat: "


def chat_text(prompt: Prompt) -> str:
    """Return a prompt as text for lm-eval: unchanged, or its messages as JSON."""
    return prompt if isinstance(prompt, str) else CHAT + json.dumps(list(prompt), ensure_ascii=False)


def read_chat(history: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return a conversation in which problems encoded by `chat_text` are messages again."""
    turns: list[dict[str, str]] = []
    for message in history:
        content = message["content"]
        turns += json.loads(content.removeprefix(CHAT)) if content.startswith(CHAT) else [dict(message)]
    return turns


class Answering:
    """A mixin for lm-eval models: `generate_until` with a strategy. The engine's class implements `complete`.

    Without a strategy, a request is decoded with its own generation arguments, which may include `entropy_min`. With
    one, the strategy sets how tokens are drawn, and the request sets the rest: stop strings and length. Batches are cut
    from the whole list of requests and each has its own seed, so the answers depend neither on what was answered before
    nor on what was read back.

    Attributes:
        completions: every answer of the last `generate_until`, by key.
        answered: answers known from an earlier run, which are not decoded again; only complete batches are reused.
        on_batch: called with each batch's new answers as they arrive.
        on_progress: called with the number of requests answered so far and the total.
    """

    batch_size: Any

    def begin(self, strategy: Strategy | None, seed: int) -> None:
        self.strategy = strategy
        self.seed = int(seed)
        self.completions: dict[Key, Completion] = {}
        self.answered: dict[Key, Completion] = {}
        self.on_batch: Callable[[dict[Key, Completion]], None] = lambda new: None
        self.on_progress: Callable[[int, int], None] = lambda done, total: None
        self._chats: dict[str, list[dict[str, str]]] = {}

    def complete(self, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """Return one completion per context, all in one batch, decoded with these arguments of `generate`."""
        raise NotImplementedError

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the answers to the requests, in the same order."""
        keys = _keys(requests)
        if any(CHAT in str(request.args[0]) for request in requests):
            raise ValueError(
                "prompts are lists of messages, which need a chat template: leave --no-chat-template out, or evaluate "
                "an instruction-tuned model"
            )
        self.completions = {}
        for start, places in self._batches(requests):
            wanted = [keys[place] for place in places]
            if all(key in self.answered for key in wanted):
                self.completions |= {key: self.answered[key] for key in wanted}
                self.on_progress(len(self.completions), len(keys))
                continue
            seed_batch(self.seed, start)
            started = time.perf_counter()
            found = self._in_turns([requests[place] for place in places])
            share = (time.perf_counter() - started) / len(places)
            new = {key: replace(one, seconds=share) for key, one in zip(wanted, found, strict=True)}
            self.completions |= new
            self.on_batch(new)
            self.on_progress(len(self.completions), len(keys))
        return [self.completions[key].text for key in keys]

    def _in_turns(self, requests: list[Instance]) -> list[Completion]:
        """Return the answers; for a problem asked in `turns`, the answers to all its questions in one text."""
        contexts, generation = [request.args[0] for request in requests], dict(requests[0].args[1])
        found = last = self._answer(contexts, generation)
        questions = [list(request.doc.get("turns") or []) for request in requests]
        for turn in range(max(map(len, questions))):
            going = [i for i, asked in enumerate(questions) if turn < len(asked)]
            for i in going:
                contexts[i] = self.follow_up(contexts[i], last[i].text, questions[i][turn])
            new = dict(zip(going, self._answer([contexts[i] for i in going], generation), strict=True))
            last = [new.get(i, one) for i, one in enumerate(last)]
            found = [
                together([one, new[i]], one.text + NEXT_TURN + new[i].text) if i in new else one
                for i, one in enumerate(found)
            ]
        return found

    def _answer(self, contexts: list[str], generation: dict[str, Any]) -> list[Completion]:
        if self.strategy is None:
            return self.complete(contexts, generation)
        return self.strategy.run(self, contexts, generation)

    def _batches(self, requests: list[Instance]) -> Iterator[tuple[int, list[int]]]:
        """Yield each batch's start and its requests' positions, prompts of similar length together, longest first.

        Requests with different generation arguments never share a batch. If a strategy draws several samples at once,
        all of them count towards the batch size.
        """
        at_once = max(1, int(self.batch_size) // (self.strategy.answers if self.strategy else 1))
        arguments = [repr(request.args[1]) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (arguments[i], -len(requests[i].args[0])))
        done = 0
        for _, group in groupby(order, key=lambda i: arguments[i]):
            places = list(group)
            for first in range(0, len(places), at_once):
                yield done + first, places[first : first + at_once]
            done += len(places)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Apply the parent's template and remember the conversation, so that `follow_up` can continue it.

        If the last message is the assistant's, it is the beginning of the answer.
        """
        turns = read_chat(chat_history)
        begun = turns[-1]["role"] == "assistant"
        text = super().apply_chat_template(turns, add_generation_prompt and not begun)  # type: ignore[misc]
        self._chats[text] = turns
        return text

    def follow_up(self, context: str, answer: str, instruction: str) -> str:
        """Return the conversation after `answer` and the user's `instruction`, as plain text if it has no template."""
        if context not in self._chats:
            return f"{context}{answer}\n\n{instruction}\n"
        turns = [{"role": "assistant", "content": answer}, {"role": "user", "content": instruction}]
        return self.apply_chat_template([*self._chats[context], *turns])


def _keys(requests: Sequence[Instance]) -> list[Key]:
    """Return the key of each request; lm-eval repeats the same request for several answers."""
    seen: dict[tuple[str, int], int] = {}
    keys = []
    for request in requests:
        problem = (str(request.task_name), int(request.doc_id or 0))
        seen[problem] = seen.get(problem, -1) + 1
        keys.append((*problem, seen[problem]))
    return keys
