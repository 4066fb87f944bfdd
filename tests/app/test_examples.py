"""Settings in the address: what is right is taken, what is not is left out, and it comes back as it went."""

import json
from pathlib import Path
from urllib.parse import urlencode

from em_hf.app.examples import examples, from_address, opening, settings_for
from em_hf.app.models import Models
from hypothesis import given
from hypothesis import strategies as st

from em_hf.compare.side_by_side import collect, decode_steps
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import encode_prompts, load_model
from em_hf.pocket import em_inf_settings

NAMES = ["pocket-reasoner", "endless"]


def test_an_address_with_every_setting_is_read_whole() -> None:
    settings = {
        "prompt": "Tom & Mia: 3 + 4 = ? <b>é</b>",
        "model": "endless",
        "seed": 7,
        "max_new_tokens": 60,
        "temperature": 0.7,
        "threshold": 0.25,
        "n_grad_steps": 9,
        "entropy_min": False,
        "answer": "7",
    }
    query = urlencode({name: json.dumps(v) if isinstance(v, bool) else v for name, v in settings.items()})
    assert from_address("?" + query, NAMES) == settings


def test_an_address_with_a_prompt_never_leaves_another_prompts_answer() -> None:
    assert from_address("?prompt=hello", NAMES) == {"prompt": "hello", "answer": ""}
    assert from_address("?prompt=hello&answer=" + "9" * 300, NAMES) == {"prompt": "hello", "answer": ""}
    assert from_address("?answer=7", NAMES) == {}


def test_wrong_and_unknown_values_are_left_out() -> None:
    search = "?model=/etc/passwd&seed=-1&max_new_tokens=1e9&temperature=nan&threshold=inf&n_grad_steps=2.5"
    assert from_address(search + "&entropy_min=yes&prompt=&unknown=1", NAMES) == {}
    assert from_address("", NAMES) == {}
    assert from_address("?" + "&".join(f"a{i}=1" for i in range(1000)), NAMES) == {}
    assert from_address("?prompt=" + "x" * 30_000, NAMES) == {}


@given(st.text())
def test_no_address_raises(search: str) -> None:
    assert isinstance(from_address(search, NAMES), dict)


def test_the_page_opens_on_a_prompt_where_the_rows_differ_and_em_inf_alone_is_right() -> None:
    begin = opening(Models(["pocket-reasoner"]))
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    rows = [None, EntropyMinConfig(**settings_for("pocket-reasoner"))]
    inputs = encode_prompts(tokenizer, [begin.prompt])
    both = collect(list(decode_steps(model, tokenizer, inputs, rows, seed=begin.seed)), seed=begin.seed)
    assert both.diverges_at is not None
    assert f"#### {begin.answer}" in both.em.text and f"#### {begin.answer}" not in both.plain.text


def test_a_model_begins_with_the_settings_stored_with_it_and_others_with_the_defaults(tmp_path: Path) -> None:
    from transformers import GenerationConfig

    GenerationConfig(entropy_min_config={"threshold": 0.7, "n_grad_steps": 4}).save_pretrained(tmp_path / "stored")
    GenerationConfig().save_pretrained(tmp_path / "plain")
    GenerationConfig(entropy_min_config={"unknown": 1}).save_pretrained(tmp_path / "newer")
    assert settings_for(str(tmp_path / "stored")) == {"threshold": 0.7, "n_grad_steps": 4}
    default = {"threshold": EntropyMinConfig().threshold, "n_grad_steps": EntropyMinConfig().n_grad_steps}
    assert settings_for(str(tmp_path / "plain")) == settings_for(str(tmp_path / "newer")) == default
    stored = {name: em_inf_settings()[name] for name in default}
    assert settings_for("pocket-reasoner") == settings_for("pocket-misled") == stored


def test_every_example_names_a_model_that_is_served_and_open_questions_are_for_real_models() -> None:
    pocket = examples(Models(["pocket-reasoner"]))
    assert {one.model for one in pocket} == {"pocket-reasoner"} and all(one.answer for one in pocket)
    both = examples(Models(["pocket-reasoner", "some/model"]))
    assert {one.model for one in both if one.answer is None} == {"some/model"}
    assert {one.model for one in both} == {"pocket-reasoner", "some/model"}
