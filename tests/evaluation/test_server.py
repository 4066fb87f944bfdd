"""A server with OpenAI's API, as small as can be, under the strategies that need no entropies."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from em_hf.evaluation.run import EvalSettings, evaluate, load_tasks
from em_hf.evaluation.server import ServerLM, sampling
from em_hf.evaluation.strategies import make_strategies
from em_hf.evaluation.strategy import REFINE
from em_hf.pocket import problems


class Server(ThreadingHTTPServer):
    """Answers rightly at temperature 0, and by the request's seed otherwise: rightly for every second one."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers = {row["prompt"]: row["answer"] for row in problems("test", 8, 0)}
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if body["model"] != "tiny":
            self.send_error(404, "no such model")
            return
        right = self.server.answers[body["messages"][0]["content"]]
        answer = right if body["temperature"] == 0 or body["seed"] % 2 else "999"
        made = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "tiny",
            "system_fingerprint": "",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"So #### {answer}"}}
            ],
            "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16},
        }
        data = json.dumps(made).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def lm(server: Server, **options: Any) -> ServerLM:
    return ServerLM(f"http://127.0.0.1:{server.server_port}/v1", "tiny", **options)


def test_a_server_is_evaluated_under_strategies_that_need_no_entropies(server: Server) -> None:
    settings = EvalSettings("tiny", limit=8)
    strategies = make_strategies(["greedy", "sampling", "temperature=0.5", "self-consistency=5", "top-p=0.9"])
    rows = evaluate(lm(server), None, settings, strategies, tasks=load_tasks(settings))
    found = {row.strategy: row for row in rows}
    assert found["greedy"].values["pass@1"] == [1.0] * 8 and 0 < sum(found["sampling"].values["pass@1"]) < 8
    assert found["greedy"].values["tokens"] == [5.0] * 8 and found["self-consistency=5"].values["tokens"] == [25.0] * 8
    assert all("flops" not in row.values and "entropy" not in row.values for row in rows)
    sent = {(body["temperature"], body["top_p"]) for body in server.asked}
    assert sent == {(0.0, 1.0), (1.0, 1.0), (0.5, 1.0), (1.0, 0.9)}
    assert len(server.asked) == 8 * (1 + 1 + 1 + 5 + 1) and all(body["max_tokens"] == 128 for body in server.asked)


def test_refinement_is_a_conversation_and_a_seed_gives_the_same_again(server: Server) -> None:
    settings = EvalSettings("tiny", limit=4)
    strategies = make_strategies(["refinement=2"])
    values = [
        evaluate(lm(server, seed=3), None, settings, strategies, tasks=load_tasks(settings))[0].values["pass@1"]
        for _ in range(2)
    ]
    assert values[0] == values[1]
    turns = [body["messages"] for body in server.asked if len(body["messages"]) == 3]
    assert len(turns) == 8 and all(turn[2] == {"role": "user", "content": REFINE} for turn in turns)


@pytest.mark.parametrize(
    "name", ["em-inf", "adaptive-temperature", "min-p", "top-n-sigma", "weighted-self-consistency"]
)
def test_what_the_api_has_no_name_for_is_refused_before_anything_is_asked(server: Server, name: str) -> None:
    settings = EvalSettings("tiny", limit=2)
    with pytest.raises(ValueError, match="for which a server's API has no name"):
        evaluate(lm(server), None, settings, make_strategies([name]), tasks=load_tasks(settings))
    with pytest.raises(ValueError, match=f"strategy {name}: "):
        lm(server).check(make_strategies(["greedy", name]))
    assert server.asked == []


def test_a_server_that_is_not_there_or_refuses_is_one_line(server: Server) -> None:
    with pytest.raises(OSError, match=r"the server at http://127\.0\.0\.1:9 gave no completion"):
        ServerLM("http://127.0.0.1:9", "tiny").complete(["x"], {"do_sample": False, "max_gen_toks": 3, "until": []})
    wrong = ServerLM(f"http://127.0.0.1:{server.server_port}", "huge")
    with pytest.raises(OSError, match=r"gave no completion.*404") as error:
        wrong.complete(["x"], {"do_sample": False, "max_gen_toks": 3, "until": []})
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="base_url is 'localhost:8000', but must be an address"):
        ServerLM("localhost:8000", "tiny")


def test_generate_and_the_api_call_things_by_different_names() -> None:
    (greedy,) = make_strategies(["greedy"])
    assert sampling({**greedy.generation(), "max_gen_toks": 9}) == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 9}
    with pytest.raises(ValueError, match="top_k is 5"):
        sampling({"do_sample": True, "top_k": 5, "max_gen_toks": 9})
