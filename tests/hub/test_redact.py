"""What must stay on this machine is found, cut down or refused; what only looks like it is left alone."""

import pytest

from em_hf.hub import redact


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/me/runs/first", "first"),
        ("/home/me/my runs/first/", "first"),
        ("~/runs/first", "first"),
        ("C:\\Users\\me\\first", "first"),
        ("C:/Users/me/first", "first"),
        ("file:///home/me/x.jsonl", "x.jsonl"),
        ("read from /home/me/x.jsonl, twice", "read from x.jsonl, twice"),
        ("--output=/home/me/first", "--output=first"),
        ("runs/first", "runs/first"),
        ("../models/mine", "../models/mine"),
        ("./a/b", "./a/b"),
        ("lab/model", "lab/model"),
        ("https://huggingface.co/lab/model", "https://huggingface.co/lab/model"),
        ("7 / 2 and 1/2 and/or", "7 / 2 and 1/2 and/or"),
        ("2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z"),
        ("", ""),
        ("/", "/"),
    ],
)
def test_an_absolute_path_is_cut_down_to_its_last_name_and_nothing_else_is(text: str, clean: str) -> None:
    assert redact.without_paths(text) == clean


def test_paths_are_cut_in_nested_values_and_keys() -> None:
    value = {"a": ["/x/y", {"/p/q": ("/r/s", 3, None, True)}], "n": 1.5}
    assert redact.without_paths(value) == {"a": ["y", {"q": ["s", 3, None, True]}], "n": 1.5}


def test_a_command_line_keeps_its_words_and_loses_its_paths() -> None:
    command = "em-hf train --model '/my models/a b' --dataset=/data/x.jsonl --steps 3 --output runs/x"
    assert redact.command_without_paths(command) == (
        "em-hf train --model 'a b' --dataset=x.jsonl --steps 3 --output runs/x"
    )


def test_absolute_paths_are_found_where_they_stand() -> None:
    value = {"a": {"b": ["/usr/share/x", "no/path"]}, "token": "/think", "text": "see /usr/share\nand more"}
    assert redact.absolute_paths(value) == [("a.b[0]", "/usr/share/x")]


# Made up of letters, never issued by anyone.
FAKE = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"


def test_a_token_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match=r"run\.json holds what looks like a Hub access token") as raised:
        redact.refuse_tokens("run.json", f"em-hf train --token {FAKE}")
    assert FAKE not in str(raised.value)


def test_the_users_own_token_is_refused_in_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "unusual-token-1")
    with pytest.raises(ValueError, match="access token"):
        redact.refuse_tokens("em_hf.json", '"unusual-token-1"')


@pytest.mark.parametrize("text", ["hf_token", "hf_hub_download", "https://hf.co/x", "shf_" + "a" * 30])
def test_words_that_only_begin_like_a_token_pass(text: str) -> None:
    redact.refuse_tokens("README.md", text)
