"""`transformers serve` with EM-INF, for real: servers on a loopback port, asked with the openai client."""

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from em_hf.generation import serve
from em_hf.pocket import POCKET_REASONER
from tests.served import served

# Nothing the pocket reasoner has learned to answer: its samples differ.
PROMPT = "Tell me about the sea and the ships on it."
# So many steps of this size leave nothing but the most probable token: the draw becomes the greedy one.
SURE = {"threshold": 0.0, "n_grad_steps": 100, "learning_rate": 1.0, "kl_weight": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket reasoner with a chat template that is the message alone."""
    folder = tmp_path_factory.mktemp("models") / "pocket"
    shutil.copytree(POCKET_REASONER, folder)
    (folder / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}")
    return folder


@pytest.fixture(scope="module")
def greedy(folder: Path) -> str:
    from em_hf.models import load_model

    model, tokenizer = load_model(str(folder))
    inputs = tokenizer(PROMPT, return_tensors="pt")
    out = model.generate(**inputs, do_sample=False, max_new_tokens=24)
    return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.fixture(
    scope="module", params=[[], ["--continuous-batching", "--cb-num-blocks", "64"]], ids=["one-by-one", "batching"]
)
def client(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[openai.OpenAI]:
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-m", "em_hf.generation.serve", str(folder), "--device", "cpu", *request.param]
    with served(command, log, environment={"HF_HUB_OFFLINE": "1"}) as url:
        yield openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


def complete(client: openai.OpenAI, folder: Path, stream: bool = False, **extra: Any) -> str:
    found: Any = client.completions.create(
        model=str(folder), prompt=PROMPT, max_tokens=24, temperature=1.0, stream=stream, extra_body=extra
    )
    return "".join(piece.choices[0].text for piece in found) if stream else found.choices[0].text


def test_each_request_has_its_own_settings(client: openai.OpenAI, folder: Path, greedy: str) -> None:
    asked = [SURE, False, SURE, {"n_grad_steps": 0}, SURE, None]
    with ThreadPoolExecutor(len(asked)) as pool:
        texts = list(pool.map(lambda one: complete(client, folder, entropy_min=one), asked))
    assert texts[0] == texts[2] == texts[4] == greedy
    assert any(text != greedy for text in [*texts[1::2], *(complete(client, folder) for _ in range(20))])


def test_streams_and_chats_take_it_too(client: openai.OpenAI, folder: Path, greedy: str) -> None:
    assert complete(client, folder, stream=True, entropy_min=SURE) == greedy
    chat = client.chat.completions.create(
        model=str(folder),
        messages=[{"role": "user", "content": PROMPT}],
        max_tokens=24,
        extra_body={"entropy_min": SURE},
    )
    assert chat.choices[0].message.content == greedy
    answer = client.responses.create(
        model=str(folder), input=PROMPT, max_output_tokens=24, stream=False, extra_body={"entropy_min": SURE}
    )
    assert answer.output_text == greedy


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"entropy_min": {"treshold": 1}}, "has no field 'treshold'"),
        ({"entropy_min": {"threshold": -1}}, "threshold is -1"),
        ({"entropy_min": "yes"}, "entropy_min is 'yes'"),
        ({"entropy_min": 2}, "entropy_min is 2"),
        ({"generation_config": '{"entropy_min": true}'}, "put it beside it"),
        ({"generation_config": '{"entropy_min_config": {}}'}, "put it beside it"),
    ],
)
def test_what_is_wrong_is_http_400_with_one_line(
    client: openai.OpenAI, folder: Path, extra: dict[str, Any], said: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, folder, **extra)
    assert isinstance(refused.value.body, dict)
    assert said in refused.value.body["detail"] and "\n" not in refused.value.body["detail"]


def test_beams_are_refused_where_there_are_any(
    client: openai.OpenAI, folder: Path, greedy: str, request: pytest.FixtureRequest
) -> None:
    """With continuous batching the server decodes as its first request asked, and a later one's beams are dropped."""
    beams = {"generation_config": '{"num_beams": 2}', "entropy_min": SURE}
    if "one-by-one" in request.node.name:
        with pytest.raises(openai.BadRequestError) as refused:
            complete(client, folder, **beams)
        assert "num_beams" in refused.value.body["detail"]  # type: ignore[index]
    else:
        assert complete(client, folder, **beams) == greedy


def test_a_server_without_em_hf_refuses_the_field() -> None:
    """What the docs promise of plain `transformers serve`: nothing is decoded without EM-INF by mistake."""
    from fastapi import HTTPException
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.completion import CompletionHandler

    for handler in (CompletionHandler, ChatCompletionHandler):
        with pytest.raises(HTTPException, match="entropy_min") as refused:
            handler(None, None)._validate_request({"model": "m", "entropy_min": True})
        assert refused.value.status_code == 422


def test_outside_its_block_transformers_server_is_its_own() -> None:
    from transformers.cli.serving import completion, model_manager

    before = completion.CompletionHandler, model_manager.ModelManager
    with serve.serving():
        assert issubclass(completion.CompletionHandler, before[0]) and completion.CompletionHandler is not before[0]
    assert (completion.CompletionHandler, model_manager.ModelManager) == before


def test_a_server_that_cannot_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert serve.main([str(tmp_path / "nothing"), "--port", "1"]) == 1
    assert capsys.readouterr().err.startswith("Error: ")
    monkeypatch.setattr(serve, "is_serve_available", lambda: False)
    assert serve.main(["model"]) == 1
    assert "pip install 'em-hf[serve]'" in capsys.readouterr().err
    monkeypatch.setattr(serve, "is_serve_available", lambda: True)
    monkeypatch.setattr(serve, "_CLASSES", (("completion", "HandlerOfAnotherVersion"),))
    assert serve.main(["model"]) == 1
    said = capsys.readouterr().err
    assert "knows the server of transformers 5.23" in said and said.count("\n") == 1
