"""The lm-eval model for any server with OpenAI's chat completions: vLLM, SGLang, `transformers serve` and the like."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import requests
import torch
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from em_hf.evaluation.answering import Answering, read_chat
from em_hf.evaluation.strategy import Completion, Strategy
from em_hf.messages import one_line, shown
from em_hf.sampling import NEUTRAL

MAX_NEW_TOKENS = 256
# Arguments that OpenAI's API does not have, each at the value that has no effect.
UNKNOWN = {"top_k": 0, "min_p": None, "top_n_sigma": None, "confidence": False, "entropy_min": False, **NEUTRAL}


class ServerLM(Answering, LM):
    """A client for completions from a server; `generate_until` with a strategy, see `Answering`. No likelihoods.

    A server reports neither entropies nor its parameter count: completions have no entropy and rows no FLOPs. What it
    applies besides temperature, top_p, stop strings and length (such as the model's own top_k) is not controlled here.

    Args:
        base_url: URL of the API, such as http://localhost:8000/v1.
        model: the model's name on the server.
        batch_size: concurrent requests.
        strategy: how a prompt is answered; may be set later.
        seed: seed of all draws, as far as the server honours it.
        api_key: if None, the environment variable OPENAI_API_KEY.

    Raises:
        ValueError: `base_url` is not an HTTP address.
    """

    # lm-eval asks whether prompts go through a chat template: the server has its own.
    tokenizer = SimpleNamespace(chat_template="the server's")
    tokenizer_name = "the server's"
    think_end_token = None

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        batch_size: int = 16,
        strategy: Strategy | None = None,
        seed: int = 0,
        api_key: str | None = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {base_url!r}, but must be an address such as http://localhost:8000/v1")
        super().__init__()
        self.model_name, self.batch_size, self.base_url = model, batch_size, base_url
        self.headers = {"Authorization": f"Bearer {api_key or os.environ.get('OPENAI_API_KEY') or 'none'}"}
        self.begin(strategy, seed)

    def check(self, strategies: Sequence[Strategy]) -> None:
        """Raise ValueError if a strategy needs an argument that the API lacks, before any request is sent."""
        for strategy in strategies:
            try:
                sampling({**strategy.generation(), "max_gen_toks": 1})
            except ValueError as error:
                raise ValueError(f"strategy {strategy.name}: {error}") from error

    @property
    def parameters(self) -> None:
        """The parameter count, unknown for a server's model."""
        return None

    def chat_template(self, chat_template: bool | str = False) -> str:
        return ""

    def complete(self, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
        """Return one completion per context, `batch_size` requests at a time.

        Raises:
            ValueError: the strategy needs something that the API does not have, such as EM-INF.
            OSError: the server cannot be reached or gives no completion.
        """
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(generation, MAX_NEW_TOKENS))
        until = handle_stop_sequences(kwargs.pop("until"), eos=None)
        drawn = sampling(kwargs)
        seeds = torch.randint(2**31, (len(contexts),)).tolist()
        with ThreadPoolExecutor(self.batch_size) as pool:
            jobs = [pool.submit(self._ask, one, until, drawn, seed) for one, seed in zip(contexts, seeds, strict=True)]
            return [job.result() for job in jobs]

    def _ask(self, context: str, until: list[str], drawn: dict[str, Any], seed: int) -> Completion:
        messages = self._chats.get(context) or [{"role": "user", "content": context}]
        body = {"messages": messages, "model": self.model_name, "seed": seed, **drawn}
        if stop := [word for word in until if word]:
            body["stop"] = stop
        try:  # not through huggingface_hub, whose client reaches no server where HF_HUB_OFFLINE is set
            url = f"{self.base_url.rstrip('/')}/chat/completions"
            answer = requests.post(url, json=body, headers=self.headers, timeout=600)
            if not answer.ok:
                raise OSError(f"{answer.status_code} {answer.reason}: {answer.text[:300]}")
            found = answer.json()
            text, usage = found["choices"][0]["message"]["content"] or "", found["usage"]
            counts = int(usage["completion_tokens"]), int(usage["prompt_tokens"])
        except (OSError, ValueError, LookupError, TypeError) as error:  # requests' errors are OSErrors
            words = f"{type(error).__name__} {error}" if isinstance(error, LookupError) else str(error)
            raise OSError(f"the server at {self.base_url} gave no completion: {one_line(words)}") from error
        return Completion(postprocess_generated_text(text, until, None), *counts, None)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return the conversation as JSON, the key under which `complete` finds the messages again."""
        turns = read_chat(chat_history)
        text = json.dumps(turns)
        self._chats[text] = turns
        return text

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise ValueError("a chat server gives no likelihoods: evaluate this task with --backend transformers")

    loglikelihood_rolling = loglikelihood


def sampling(generation: dict[str, Any]) -> dict[str, Any]:
    """Translate transformers' `generate` arguments into OpenAI's.

    Raises:
        ValueError: an argument has no equivalent in the API and a value that would have an effect.
    """
    rest = dict(generation)
    temperature = rest.pop("temperature", 1.0)
    sampled = rest.pop("do_sample", temperature > 0)
    taken = {"temperature": temperature if sampled else 0.0, "top_p": rest.pop("top_p", 1.0) if sampled else 1.0}
    taken["max_tokens"] = rest.pop("max_gen_toks")
    rest.pop("top_p", None)
    for name, value in rest.items():
        if name not in UNKNOWN or value not in (UNKNOWN[name], None):
            raise ValueError(
                f"{name} is {shown(value)}, for which a server's API has no name: leave the strategy out, or evaluate "
                "with --backend transformers or vllm"
            )
    return taken
