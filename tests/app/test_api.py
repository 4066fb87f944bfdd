"""The served app as programs use it: /compare, many visitors at once, visitors who leave, and hostile input."""

import gc
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from gradio_client import Client

from em_hf.compare.side_by_side import compare_decoding
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import encode_prompts, load_model
from em_hf.pocket import em_inf_settings, problems
from tests.app.conftest import PROMPT, Served

FIELDS = ("prompt", "model", "seed", "max_new_tokens", "temperature", "threshold", "n_grad_steps", "entropy_min")


@pytest.fixture(scope="module")
def client(served: Served) -> Client:
    return Client(served.url, verbose=False)


def alone(prompt: str, seed: int, config: EntropyMinConfig | None = None) -> dict[str, Any]:
    """The same comparison without the app; by default with the settings stored with the model."""
    model, tokenizer = load_model("pocket-reasoner")
    inputs = encode_prompts(tokenizer, [prompt])
    return compare_decoding(
        model, tokenizer, inputs, config or EntropyMinConfig(**em_inf_settings()), seed=seed
    ).to_dict()


def test_compare_is_typed_and_gives_what_the_library_gives(client: Client) -> None:
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(described) == ["/compare"]
    parameters = {p["parameter_name"]: p for p in described["/compare"]["parameters"]}
    assert tuple(parameters) == FIELDS
    defaults = {name: p["parameter_default"] for name, p in parameters.items() if p["parameter_has_default"]}
    assert defaults == {
        "model": "pocket-reasoner",
        "seed": 0,
        "max_new_tokens": 128,
        "temperature": 1.0,
        "threshold": None,
        "n_grad_steps": None,
        "entropy_min": True,
    }
    assert client.predict(PROMPT, api_name="/compare") == alone(PROMPT, 0)
    config = EntropyMinConfig(threshold=0.05, n_grad_steps=4)
    changed = client.predict(PROMPT, seed=4, threshold=0.05, n_grad_steps=4, api_name="/compare")
    assert changed == alone(PROMPT, 4, config) and changed["diverges_at"] is not None


def test_switched_off_both_sides_are_the_same(client: Client) -> None:
    both = client.predict(PROMPT, seed=4, entropy_min=False, api_name="/compare")
    assert both["plain"]["tokens"] == both["em"]["tokens"] and both["diverges_at"] is None
    assert not any(both["em"]["adjusted"])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": "x" * 1_000_000}, "1,000,000 characters"),
        # The client would upload the file first, which is refused.
        ({"prompt": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}}, "403 Forbidden"),
        ({"model": "/etc/passwd"}, "this app has"),
        ({"model": "../../etc"}, "this app has"),
        ({"model": "openai/gpt2"}, "this app has"),
        ({"model": None}, "this app has"),
        ({"model": ["pocket-reasoner"]}, "this app has"),
        ({"prompt": None}, "prompt is None"),
        ({"seed": None}, "seed is None"),
        ({"temperature": None}, "temperature is None"),
        ({"seed": -1}, "seed"),
        ({"seed": "/etc/passwd"}, "seed"),
        ({"max_new_tokens": 10**9}, "max_new_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"threshold": "0.3; rm -rf /"}, "threshold"),
        ({"n_grad_steps": 10**6}, "n_grad_steps"),
        ({"entropy_min": "maybe"}, "entropy_min"),
    ],
    ids=str,
)
def test_hostile_input_is_a_clear_error_and_the_server_lives(client: Client, values: dict[str, Any], says: str) -> None:
    with pytest.raises(Exception, match=says) as error:
        client.predict(**{"prompt": "x", **values}, api_name="/compare")
    assert "root:" not in str(error.value) and "Traceback" not in str(error.value)
    assert client.predict("7 + 4", max_new_tokens=2, api_name="/compare")["seed"] == 0


def test_markup_and_control_characters_are_text_like_any_other(client: Client) -> None:
    prompt = "<script>alert(1)</script>\x00\x07\x1b[31m\u202e {{7*7}} ${1+1} %s"
    assert client.predict(prompt, api_name="/compare") == alone(prompt, 0)


def test_no_file_of_the_server_can_be_fetched(served: Served) -> None:
    for path in ("/etc/passwd", str(served.endless / "config.json"), "app/../../etc/passwd"):
        answer = httpx.get(f"{served.url}gradio_api/file={path}")
        assert answer.status_code >= 400 and "root:" not in answer.text and "llama" not in answer.text


@pytest.mark.parametrize("visitors", [2, 20])
def test_visitors_at_once_each_get_their_own_tokens(served: Served, visitors: int) -> None:
    prompts = [problem["prompt"] for problem in problems("test", visitors, 7)]
    expected = [alone(prompt, seed) for seed, prompt in enumerate(prompts)]

    def visit(seed: int) -> tuple[dict[str, Any], list[str]]:
        visitor = Client(served.url, verbose=False)
        job = visitor.submit(prompts[seed], "pocket-reasoner", seed, 128, 1.0, 0.3, 3, True, "", api_name="/live")
        answer = visitor.predict(prompts[seed], seed=seed, api_name="/compare")
        job.result()
        return answer, job.outputs()

    with ThreadPoolExecutor(visitors) as pool:
        found = list(pool.map(visit, range(visitors)))
    for (answer, outputs), right in zip(found, expected):
        assert answer == right
        messages = [json.loads(text) for text in outputs]
        assert messages[0]["kind"] == "start" and messages[-1]["kind"] == "done"
        assert len({m["run"] for m in messages}) == 1
        tokens = [step[2][1] for step in messages[-1]["steps"] if step[2]]
        assert tokens == right["plain"]["tokens"]
    runs = [json.loads(outputs[0])["run"] for _, outputs in found]
    assert len(set(runs)) == visitors


def decoding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "em-hf-decode"]


def wait_until(holds: Any, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def join_queue(served: Served, session: str, api_name: str = "live") -> None:
    fn = next(f for f in served.demo.fns.values() if f.api_name == api_name)
    data = ["hello", "endless", 0, 1024, 1.0, 0.3, 3, True, ""]
    body = {"data": data, "fn_index": fn._id, "session_hash": session}
    httpx.post(f"{served.url}gradio_api/queue/join", json=body).raise_for_status()


def test_a_visitor_who_leaves_stops_costing(served: Served, slow_steps: list[float]) -> None:
    join_queue(served, "leaver")
    with httpx.stream("GET", f"{served.url}gradio_api/queue/data?session_hash=leaver", timeout=30) as answer:
        for line in answer.iter_lines():
            if "process_generating" in line and len(slow_steps) > 3:
                break
    assert wait_until(lambda: not decoding())
    assert 3 < len(slow_steps) < 1000
    # and the place in the queue is free
    assert Client(served.url, verbose=False).predict("7 + 4", max_new_tokens=2, api_name="/compare")["seed"] == 0


def test_a_cancelled_decode_ends_and_frees_its_place(served: Served, slow_steps: list[float]) -> None:
    visitor = Client(served.url, verbose=False)
    job = visitor.submit("hello", "endless", 0, 1024, 1.0, 0.3, 3, True, "", api_name="/live")
    assert wait_until(lambda: len(slow_steps) > 3)
    job.cancel()
    assert wait_until(lambda: not decoding())
    assert len(slow_steps) < 1000
    assert visitor.predict("7 + 4", max_new_tokens=2, api_name="/compare")["seed"] == 0


def test_the_queue_has_an_end(served: Served, slow_steps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("em_hf.app.fence.UNHEARD_SECONDS", 600.0)  # none of them listens
    sessions = [f"crowd-{i}" for i in range(80)]
    refused = 0
    for session in sessions:
        try:
            join_queue(served, session)
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == 503
            refused += 1
    assert refused >= 80 - 64 - 2  # one or two are being served
    assert clear(served, sessions)


def clear(served: Served, sessions: list[str]) -> bool:
    """Open each visitor's stream and leave at once, as a closed page does."""
    for session in sessions:
        try:
            with httpx.stream("GET", f"{served.url}gradio_api/queue/data?session_hash={session}", timeout=5) as answer:
                next(answer.iter_lines(), None)
        except httpx.HTTPError:
            continue
    return wait_until(lambda: not decoding(), 120)


def test_memory_returns_after_a_hundred_runs(client: Client) -> None:
    def runs(n: int) -> None:
        for seed in range(n):
            job = client.submit(PROMPT, "pocket-reasoner", seed, 32, 1.0, 0.1, 10, True, "", api_name="/live")
            job.result()

    process = psutil.Process()
    runs(40)  # what is made once is made
    gc.collect()
    before = process.memory_info().rss
    runs(100)
    gc.collect()
    grown = (process.memory_info().rss - before) / 2**20
    # One run's messages and steps hold about half a megabyte: kept, they would be fifty.
    assert grown < 25, f"{grown:.0f} MiB"
    assert not decoding()
