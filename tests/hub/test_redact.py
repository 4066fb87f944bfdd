"""What must stay on this machine is found, cut down or refused; what only looks like it is left alone."""

from pathlib import Path

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


def test_absolute_paths_are_refused_where_they_stand() -> None:
    with pytest.raises(ValueError, match=r"config\.json holds the absolute path /usr/share/x \(a\.b\[0\]\)"):
        redact.refuse_private("config.json", {"a": {"b": ["/usr/share/x", "no/path"]}})
    redact.refuse_private("config.json", {"token": "/think", "end": "</think>", "math": "1/2 and/or", "x": "a/b/c"})
    redact.refuse_private("run.json", {"a": "/home/me/x"}, paths=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/home/me/x", "/home/me/x"),
        ("read from /home/me/x y", "/home/me/x"),
        ("~/runs/x", "~/runs/x"),
        ("in C:\\Users\\me", "C:\\Users\\me"),
        ("file:///scratch/a/b", "file:///scratch/a/b"),
        ("#!/usr/bin/env python", None),
        (r"\.\n|\s+(?!\S)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}", None),
        ("https://huggingface.co/lab/model", None),
        ("/think", None),
        ("<|im_start|>/no_think<|im_end|>", None),
    ],
)
def test_a_path_of_this_machine_is_found_within_text(text: str, path: str | None) -> None:
    assert redact.path_in(text) == path


# Made up of letters and digits, never issued by anyone.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGH"
MIXED = "a8f3kd93kdl2m4nf8sk2"


@pytest.mark.parametrize(
    "text",
    [
        f"hf_{LETTERS}",
        f"hf_oauth_{LETTERS}",
        f"hf_jwt_eyJ{LETTERS}",
        f"api_org_{LETTERS}",
        f"sk-{LETTERS}",
        f"sk-proj-{LETTERS}",
        "sk-" + "a" * 40,
        f"ghp_{LETTERS}",
        f"github_pat_{LETTERS}",
        f"glpat-{LETTERS}",
        "AKIAABCDEFGHIJKLMNOP",
        "AIza" + LETTERS + "x",
        "xoxb-123456789012-abcdef",
        f"dop_v1_{LETTERS}",
        f"ya29.{LETTERS}",
        f"SG.{LETTERS}.{LETTERS}",
        f"https://discord.com/api/webhooks/1234567890/{LETTERS}",
        "1234567890:AA" + "xY3-_" * 6 + "abc",
        "wandb login 0123456789abcdef9876543210fedcba01234567",
        "secret_key = 'Zx9!kfj2#mmQpLs8'",
        f"gsk_{LETTERS}",
        f"eyJ{LETTERS}.eyJ{LETTERS}.{LETTERS}",
        "-----BEGIN RSA PRIVATE KEY-----",
        "https://user:pass@host/x",
        "postgresql://me:pw@db/x",
        f"https://{MIXED}@host/repo.git",
        f"--token {MIXED}",
        f"--hub-token '{MIXED}'",
        f"token={MIXED}",
        f"WANDB_API_KEY={'0123456789abcdef' * 2}01234567",
        f"?access_token={MIXED}",
        f"Authorization: Bearer {MIXED}",
        f"api-key: {MIXED}",
        f"AccountName=me;AccountKey={MIXED}==",
        f"https://me.blob.example/x?sv=2024&sig={MIXED}",
        f"https://bucket.example/x?X-Amz-Signature={'0123456789abcdef' * 4}",
        "token=abcdefghijklmnopqrstuvwxyz",
        "password=hunter2",
        "--password hunter2",
        "password: hunter2",
        f"1//0{LETTERS}",
        "key-" + "0123456789abcdef" * 2,
        "machine example.org login me password hunter2",
        f"Cookie: session={MIXED}",
    ],
)
def test_every_kind_of_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"run\.json holds what looks like .* \(command\)") as raised:
        redact.refuse_private("run.json", {"command": f"em-hf train {text}"})
    for shown in (LETTERS, MIXED, "hunter2", "pass@"):
        assert shown not in str(raised.value)
    with pytest.raises(ValueError, match="line 2"):
        redact.refuse_private_text("chat_template.jinja", f"one\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "hf_token",
        "hf_hub_download",
        "https://hf.co/x",
        "shf_" + "a" * 30,
        "task-based-things-that-are-long",
        "a risk-adjusted-and-hyphenated-word",
        "tokenizer = AutoTokenizer.from_pretrained",
        "eos_token: </s>",
        "bos_token='<|begin_of_text|>'",
        "token = tokenizer.eos_token_id_and_more",
        "https://huggingface.co/settings/tokens",
        "https://user:***@host",
        "http://host:8000/v1",
        "password: str",
        "password: required",
        "secret=None",
        "token=$HF_TOKEN_OF_SOMEBODY",
        "--max-new-tokens 128 --reward-tokens last-third",
        "pad_token_id=0",
        "def f(signature: inspect.Signature)",
        "the token: everybody-knows-this-one",
        "0123456789abcdef" * 4,
    ],
)
def test_what_only_looks_like_a_secret_passes(text: str) -> None:
    redact.refuse_private("run.json", {"command": f"em-hf train {text}"})
    redact.refuse_private_text("README.md", text)


@pytest.mark.parametrize(
    ("entry", "refused"),
    [
        ({"hub_token": MIXED}, True),
        ({"apiKey": MIXED}, True),
        ({"auth": "dXNlcjpwYXNzd29yZDEy"}, True),
        ({"db": {"password": "hunter2"}}, True),
        ({MIXED + "hf_" + LETTERS: 1, "hf_" + LETTERS: 2}, True),
        ({"eos_token": "<|endoftext|>"}, False),
        ({"pad_token": "[PAD]", "additional_special_tokens": ["<|reserved_special_token_0|>"]}, False),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ({"fingerprint": "9f2c61d0a7b94e53", "base_revision": "0123456789abcdef" * 2}, False),
    ],
)
def test_a_value_is_judged_by_the_name_of_its_field(entry: dict[str, object], refused: bool) -> None:
    if not refused:
        return redact.refuse_private("x.json", entry)
    with pytest.raises(ValueError, match="holds what looks like"):
        redact.refuse_private("x.json", entry)


def test_the_users_own_token_is_refused_in_any_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "unusual-token-1")
    with pytest.raises(ValueError, match="access token"):
        redact.refuse_private_text("em_hf.json", '"unusual-token-1"')


@pytest.mark.parametrize("name", ["vocab.txt", "merges.txt", "tokenizer.model"])
def test_a_vocabulary_may_hold_what_only_looks_like_a_path_and_never_a_token(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("/home/user\n/usr/bin\ntoken=abcdefghijklmnopqrstuvwxyz\n")
    redact.refuse_private_file(name, tmp_path / name)
    (tmp_path / name).write_text(f"the\nhf_{LETTERS}\n")
    with pytest.raises(ValueError, match=rf"{name} holds what looks like a Hub access token \(line 2\)"):
        redact.refuse_private_file(name, tmp_path / name)
