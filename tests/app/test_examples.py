"""Settings in the address: what is right is taken, what is not is left out, and it comes back as it went."""

import json
from urllib.parse import urlencode

from em_hf.app.examples import from_address, opening, problems_with_answers, settings_for
from hypothesis import given
from hypothesis import strategies as st

from em_hf.compare.side_by_side import collect, decode_steps
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import encode_prompts, load_model
from em_hf.training.settings import recipe_settings

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
    }
    query = urlencode({name: json.dumps(v) if isinstance(v, bool) else v for name, v in settings.items()})
    assert from_address("?" + query, NAMES) == settings


def test_wrong_and_unknown_values_are_left_out() -> None:
    search = "?model=/etc/passwd&seed=-1&max_new_tokens=1e9&temperature=nan&threshold=inf&n_grad_steps=2.5"
    assert from_address(search + "&entropy_min=yes&prompt=&unknown=1", NAMES) == {}
    assert from_address("", NAMES) == {}
    assert from_address("?" + "&".join(f"a{i}=1" for i in range(1000)), NAMES) == {}
    assert from_address("?prompt=" + "x" * 30_000, NAMES) == {}


@given(st.text())
def test_no_address_raises(search: str) -> None:
    assert isinstance(from_address(search, NAMES), dict)


def test_the_page_opens_on_a_prompt_whose_rows_part_and_em_inf_is_right() -> None:
    prompt, seed = opening("pocket-reasoner")
    answer = dict(problems_with_answers())[prompt]
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    rows = [None, EntropyMinConfig(threshold=0.1, n_grad_steps=10)]
    both = collect(
        list(decode_steps(model, tokenizer, encode_prompts(tokenizer, [prompt]), rows, seed=seed)), seed=seed
    )
    assert both.diverges_at is not None
    assert f"#### {answer}" in both.em.text and f"#### {answer}" not in both.plain.text


def test_both_pocket_models_begin_with_the_settings_of_the_pocket_recipe() -> None:
    of_recipe = recipe_settings("pocket")["entropy_min"]
    assert settings_for("pocket-reasoner") == settings_for("pocket-misled") == of_recipe != settings_for("some/model")
    assert opening("pocket-misled") == opening("pocket-reasoner")
