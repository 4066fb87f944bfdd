"""The allow-list, and that each model on it is loaded once."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import em_hf.app.models
import pytest
from em_hf.app.main import read_models, serve
from em_hf.app.models import Models, default_sources, loaded

from tests.conftest import missing


def test_a_name_that_is_not_on_the_list_is_refused_and_folders_show_by_their_last_part(tmp_path: Path) -> None:
    folder = tmp_path / "secret" / "mine"
    folder.mkdir(parents=True)
    models = Models(["pocket-reasoner", str(folder), "owner/model"])
    assert models.names == ["pocket-reasoner", "mine", "owner/model"]
    assert models.source("mine") == str(folder)
    for name in (str(folder), "gpt2", "../mine", "/etc/passwd", "", "owner/model@main", "x" * 10_000):
        with pytest.raises(ValueError, match="but this app has pocket-reasoner, mine, owner/model") as error:
            models.source(name)
        assert "secret" not in str(error.value).replace(name, "") and len(str(error.value)) < 200


def test_an_empty_list_and_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "same").mkdir(parents=True)
    with pytest.raises(ValueError, match="shown as same"):
        Models([str(tmp_path / "a" / "same"), str(tmp_path / "b" / "same")])
    with pytest.raises(ValueError, match="at least one"):
        Models([])
    assert Models(["pocket-reasoner"] * 2).names == ["pocket-reasoner"]


def test_visitors_who_come_at_once_share_one_load(endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = em_hf.app.models.load_model
    monkeypatch.setattr(em_hf.app.models, "_loaded", {})
    monkeypatch.setattr(em_hf.app.models, "load_model", lambda name: calls.append(name) or real(name))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(loaded, [str(endless)] * 8))
    assert calls == [str(endless)] and all(one is found[0] for one in found)


def test_without_the_hub_the_pocket_reasoner_is_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert default_sources() == ["pocket-reasoner"]
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path / "config.json"))
    assert default_sources() == ["pocket-reasoner", "HuggingFaceTB/SmolLM2-135M-Instruct"]


def test_a_space_names_its_models_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    assert read_models(path) == []
    path.write_text('["pocket-reasoner", "me/mine"]')
    assert read_models(path) == ["pocket-reasoner", "me/mine"]
    for wrong in ('{"models": []}', "[1]", "pocket"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"models\.json"):
            read_models(path)


def test_a_gguf_file_is_a_model_like_another(smollm2_gguf: Path, tmp_path: Path) -> None:
    from em_hf.app.decoding import comparison
    from em_hf.app.examples import settings_for
    from em_hf.app.request import DecodeRequest
    from em_hf.app.snippets import python_program

    path = tmp_path / "small.gguf"
    path.symlink_to(smollm2_gguf)
    models = Models([str(path)])
    assert models.names == ["small.gguf"]
    assert settings_for(models.source("small.gguf")) == {"threshold": 0.3, "n_grad_steps": 3}
    request = DecodeRequest("Name a colour.", "small.gguf", max_new_tokens=4, n_grad_steps=60)
    found = comparison([models.source("small.gguf")], request)
    assert len(found["plain"]["tokens"]) == 4 and any(found["em"]["adjusted"])
    program = python_program(request, 4, request.config())
    compile(program, "program", "exec")
    assert "load_gguf_model('small.gguf')" in program and "import load_gguf_model" in program


def test_a_visitor_does_not_learn_where_a_model_that_does_not_load_lies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from em_hf.app.ui import FIELDS, live_rows

    broken = tmp_path / "mine"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    values = {"prompt": "a", "model": "mine", "seed": 0, "max_new_tokens": 1, "temperature": 1.0, "threshold": 0.3}
    values |= {"n_grad_steps": 3, "entropy_min": True}
    (said,) = live_rows(Models([str(broken)]), *(values[name] for name in FIELDS))
    assert "mine cannot be loaded; the server's log has the reason" in said and str(tmp_path) not in said
    assert str(broken) in caplog.text and "JSON" in caplog.text


@pytest.mark.parametrize(("content", "said"), [(b"nothing", "is not a GGUF file"), (None, "cannot be read")])
def test_the_app_does_not_start_on_a_broken_gguf_file(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    if find_spec("llama_cpp") is None:
        missing("llama-cpp-python")
    with pytest.raises(ValueError, match=said) as error:
        serve([str(path)])
    assert "\n" not in str(error.value)
