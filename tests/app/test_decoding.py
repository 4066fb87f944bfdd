"""The live messages: their pieces make the whole, and what is sent at a step does not grow with the length."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from em_hf.app.decoding import comparison
from em_hf.app.request import DecodeRequest
from em_hf.app.view import live, message

from em_hf.compare.side_by_side import compare_decoding
from em_hf.models import encode_prompts, load_model
from tests.app.conftest import PROMPT


def messages(sources: list[str], request: DecodeRequest) -> list[dict[str, Any]]:
    return [json.loads(text) for text in live(sources, request)]


def test_the_increments_make_the_whole_even_when_every_other_one_is_missed() -> None:
    found = messages(["pocket-reasoner"], DecodeRequest(prompt=PROMPT, threshold=0.1, n_grad_steps=10))
    assert [m["kind"] for m in found] == ["start", *["steps"] * (len(found) - 2), "done"]
    assert len({m["run"] for m in found}) == 1
    whole = found[-1]["steps"]
    for m in found[1:]:
        assert m["steps"] == whole[m["from"] : m["from"] + len(m["steps"])]
    ends = [m["from"] + len(m["steps"]) for m in found[1:-1]]
    starts = [m["from"] for m in found[1:-1]]
    assert all(start <= end for start, end in zip(starts[2:], ends))  # one missed in between leaves no gap


def test_a_step_costs_the_same_at_the_end_of_a_thousand_tokens_as_at_their_beginning(endless: Path) -> None:
    found = list(live([str(endless)], DecodeRequest(prompt=PROMPT, max_new_tokens=1000)))
    rates = []
    for text in found[1:-1]:
        rates.append(len(text) / len(json.loads(text)["steps"]))
    assert len(json.loads(found[-1])["steps"]) == 1000 and len(rates) > 4
    half = len(rates) // 2
    first, second = (sum(part) / len(part) for part in (rates[:half], rates[half:]))
    assert second < 1.2 * first  # the step's own number has more digits, the rest is the same


def test_the_api_gives_what_the_command_line_gives() -> None:
    model, tokenizer = load_model("pocket-reasoner")
    request = DecodeRequest(prompt=PROMPT, seed=4, threshold=0.1, n_grad_steps=10)
    whole = compare_decoding(model, tokenizer, encode_prompts(tokenizer, [PROMPT]), request.config(), seed=4)
    assert comparison(["pocket-reasoner"], request) == whole.to_dict()


def test_two_models_draw_the_same_noise_and_each_is_decoded_plain(run_folder: Path) -> None:
    request = DecodeRequest(prompt=PROMPT, entropy_min=False)
    both = messages(["pocket-reasoner", str(run_folder)], request)
    alone = comparison(["pocket-reasoner"], request), comparison([str(run_folder)], request)
    assert both[0]["names"] == ["pocket-reasoner", "first"] and both[0]["two_models"]
    for row in range(2):
        tokens = [step[2 + row][1] for step in both[-1]["steps"] if step[2 + row]]
        assert tokens == alone[row]["plain"]["tokens"]
    same = messages(["pocket-reasoner", "pocket-reasoner"], request)[-1]["steps"]
    assert all(step[2] == step[3] for step in same)


def test_no_message_holds_a_tag() -> None:
    text = message("error", message="<script>alert(1)</script>")
    assert "<" not in text and json.loads(text)["message"] == "<script>alert(1)</script>"


def test_a_prompt_that_fills_the_context_is_refused_and_one_that_leaves_room_for_some_gets_them() -> None:
    with pytest.raises(ValueError, match="shorten the prompt"):
        messages(["pocket-reasoner"], DecodeRequest(prompt="apples " * 2000))
    prompt = "7 " * 500
    taken = load_model("pocket-reasoner")[1](prompt, return_tensors="pt")["input_ids"].shape[1]
    found = messages(["pocket-reasoner"], DecodeRequest(prompt=prompt, max_new_tokens=1000))
    assert 0 < 1024 - taken < 1000 and len(found[-1]["steps"]) <= 1024 - taken
    assert f"max_new_tokens={1024 - taken}," in found[0]["python"]


@pytest.fixture
def fake_spaces(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A `spaces` that notes which functions ask for a GPU and for how long."""
    announced: list[Any] = []

    def gpu(duration: Any) -> Any:
        return lambda function: announced.append((function.__name__, duration)) or function

    module: Any = types.ModuleType("spaces")
    module.GPU = gpu
    monkeypatch.setitem(sys.modules, "spaces", module)
    return announced


def test_on_zero_gpu_models_are_loaded_before_the_first_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    import em_hf.app.models
    import em_hf.app.ui
    import em_hf.app.zero
    from em_hf.app.main import serve

    monkeypatch.setattr(em_hf.app.models, "_loaded", {})
    monkeypatch.setattr(em_hf.app.ui, "launch", lambda demo, **options: None)
    serve(["pocket-reasoner", "pocket-misled"])
    assert list(em_hf.app.models._loaded) == ["pocket-reasoner"]  # for the example on the page
    monkeypatch.setattr(em_hf.app.zero, "spaces", types.ModuleType("spaces"))
    serve(["pocket-reasoner", "pocket-misled"])
    assert list(em_hf.app.models._loaded) == ["pocket-reasoner", "pocket-misled"]


def test_on_zero_gpu_everything_that_uses_a_model_asks_for_it(fake_spaces: list[Any]) -> None:
    import importlib

    import em_hf.app.decoding
    import em_hf.app.zero

    try:
        importlib.reload(em_hf.app.zero)
        importlib.reload(em_hf.app.decoding)
        assert [name for name, _ in fake_spaces] == ["batches", "repeats"]
        for _, seconds in fake_spaces:
            short, long = (seconds(["m"], DecodeRequest(prompt="x", max_new_tokens=n)) for n in (1, 1024))
            assert 0 < short < long <= 120
    finally:
        del sys.modules["spaces"]
        importlib.reload(em_hf.app.zero)
        importlib.reload(em_hf.app.decoding)
