"""`vllm serve` with em_hf installed, over HTTP with the openai client."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.served import served

ROOT = Path(__file__).parents[2]
PROMPT = "My favourite colour is"
MODEL = "smollm2"


@pytest.fixture(scope="module")
def client(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-m", "tests.vllm.serve", str(smollm2), "--served-model-name", MODEL]
    command += ["--dtype", "float32", "--max-model-len", "512"]
    command += ["--enforce-eager", "--max-num-seqs", "8", "--kv-cache-memory-bytes", str(2**29)]
    # A process of its own for the engine, as servers have it.
    with served(command, log, environment={"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}, cwd=ROOT) as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def complete(client: openai.OpenAI, value: Any = None, **settings: Any) -> str:
    extra = {} if value is None else {"vllm_xargs": {"entropy_min": value}}
    asked = {"temperature": 1.0, "max_tokens": 24, "seed": 0, "prompt": PROMPT, **settings}
    return client.completions.create(model=MODEL, extra_body=extra, **asked).choices[0].text


def test_one_switches_it_on_and_zero_off(client: openai.OpenAI) -> None:
    plain = complete(client)
    assert complete(client, 0) == plain
    assert complete(client, False) == plain
    assert complete(client, 1) != plain
    assert complete(client, True) == complete(client, 1)


def test_settings_go_as_a_json_object_in_a_string(client: openai.OpenAI) -> None:
    assert complete(client, '{"threshold": 0.3}') == complete(client, 1)
    # With no step left to take nothing changes; with the reach of many steps the draw becomes the greedy one.
    assert complete(client, '{"n_grad_steps": 0}') == complete(client)
    sure = complete(client, '{"threshold": 0.0, "n_grad_steps": 100, "learning_rate": 1.0, "kl_weight": 0}')
    assert sure == complete(client, temperature=0)
    assert sure != complete(client)


def test_chat_completions_take_it_too(client: openai.OpenAI) -> None:
    def chat(value: int) -> str | None:
        reply = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Name a colour and say why."}],
            max_tokens=24,
            seed=1,
            extra_body={"vllm_xargs": {"entropy_min": value}},
        )
        return reply.choices[0].message.content

    assert chat(1) != chat(0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('{"threshold": -1}', "threshold is -1, but must be a number of nats, at least 0"),
        ('{"stepz": 3}', "no field 'stepz'"),
        ("{", "not JSON"),
        (7, "entropy_min is 7"),
    ],
)
def test_wrong_settings_are_http_400_and_name_the_field(client: openai.OpenAI, value: object, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        complete(client, value)
    assert refused.value.status_code == 400


def test_requests_with_and_without_it_run_side_by_side(client: openai.OpenAI) -> None:
    """What each request's settings must give is known: the sure ones the greedy text, the plain ones their seed's."""
    sure = '{"threshold": 0.0, "n_grad_steps": 100, "learning_rate": 1.0, "kl_weight": 0}'
    asked = [(sure, {"seed": i}) if i % 2 else (None, {"seed": i}) for i in range(12)]
    alone = [complete(client, value, **settings) for value, settings in asked[:2]]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: complete(client, one[0], **one[1]), asked))
    assert all(text == alone[1] for text in found[1::2])
    assert len(set(found[0::2])) > 3
