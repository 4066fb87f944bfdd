"""`em-hf generate` and `em-hf env` as a user runs them, and wrong input as one line."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from em_hf.pocket import problems

RUN = "import sys; from em_hf.cli.main import main; main()"


def em_hf(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=cwd, capture_output=True, text=True)


def test_without_options_a_test_problem_is_decoded_twice_on_stdout() -> None:
    done = em_hf("generate")
    assert done.returncode == 0, done.stderr
    assert any(f"Prompt: {row['prompt']}\n" in done.stdout for row in problems("test", 8, 0))
    assert "Plain:  " in done.stdout and "EM-INF: " in done.stdout and "nats per token before EM-INF" in done.stdout
    assert re.search(r"Plain drew .+ \(.*%\); EM-INF left it .*% and drew .+\.\n", done.stdout), done.stdout
    assert "\x1b" not in done.stdout, "no colours in a pipe"
    assert "temperature 1, top_k 0, top_p 1, seed 0" in done.stderr


def test_json_has_both_runs_token_by_token_and_is_all_there_is_on_stdout() -> None:
    settings = ["--seed", "5", "--threshold", "0.05", "--n-grad-steps", "20", "--max-new-tokens", "40", "--json"]
    done = em_hf("generate", "Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?", *settings)
    result = json.loads(done.stdout)
    assert result["entropy_min"]["n_grad_steps"] == 20 and result["seed"] == 5
    for run in (result["plain"], result["em"]):
        lengths = {len(run[name]) for name in ("tokens", "entropy_before", "entropy_after", "adjusted")}
        assert len(lengths) == 1 and 0 < lengths.pop() <= 40
    assert not any(result["plain"]["adjusted"]) and any(result["em"]["adjusted"])
    differ = [i for i, (a, b) in enumerate(zip(result["plain"]["tokens"], result["em"]["tokens"])) if a != b]
    assert result["diverges_at"] == (differ[0] if differ else None)


def test_the_threshold_of_infinity_in_effect_gives_two_equal_runs() -> None:
    result = json.loads(em_hf("generate", "--threshold", "99", "--json").stdout)
    assert result["plain"]["tokens"] == result["em"]["tokens"] and result["diverges_at"] is None
    # two rows of one matrix product: equal but for its rounding
    assert result["plain"]["entropy_before"] == pytest.approx(result["em"]["entropy_after"], abs=1e-5)


def test_settings_come_from_a_file_and_flags_win(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("n-grad-steps: 7\nmax_new_tokens: 3\n")
    done = em_hf("generate", "--config", "settings.yaml", "--max-new-tokens", "2", "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert result["entropy_min"]["n_grad_steps"] == 7 and result["sampling"]["max_new_tokens"] == 2
    assert "settings.yaml" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--threshold", "-1"], 2, "--threshold is -1, but must be at least 0"),
        (["--threshold", "inf"], 2, "--threshold is inf, but must be a finite number"),
        (["--n-grad-steps", "1000"], 2, "0 to 100"),
        (["--n_grad_steps", "1.5"], 2, "--n-grad-steps is 1.5, but must be a whole number"),
        (["--learning-rate", "2"], 2, "--learning-rate is 2.0, but must be in (0, 1] for the adam optimizer"),
        ([""], 2, "PROMPT is empty"),
        (["prompt", "--file", "typo.yaml"], 2, "not both"),
        (["--file", "bytes"], 1, "bytes is not UTF-8 text"),
        (["--method", "beam"], 2, "logit-optimization"),
        (["--temperature", "0"], 2, "temperature"),
        (["--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--config", "typo.yaml"], 2, "did you mean 'threshold'"),
        (["--config", "list.yaml"], 2, "option: value"),
        (["--config", "typo.yaml", "--nothing"], 2, "--nothing"),
        (["--model", "./nowhere"], 1, "no model folder at ./nowhere"),
        (["--model", "nobody/nothing"], 1, "Hub is out of reach"),
        (["--model", "encoder"], 1, "no causal language modeling head"),
        (["--device", "abacus"], 1, "abacus"),
        ([" apples" * 2000], 1, "shorten the prompt"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_an_exit_code(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("treshold: 1\n")
    (tmp_path / "list.yaml").write_text("- threshold\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "t5", "architectures": ["T5EncoderModel"]}')
    done = em_hf("generate", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert sum(line.startswith("Error:") for line in done.stderr.splitlines()) == 1


@pytest.mark.parametrize("way", ["-", "--file"])
def test_the_prompt_comes_from_standard_input_or_a_file(way: str, tmp_path: Path) -> None:
    text = "Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?"
    (tmp_path / "prompt.txt").write_text(text + "\n", encoding="utf-8")
    words = ["--file", "prompt.txt"] if way == "--file" else ["-"]
    command = [sys.executable, "-c", RUN, "generate", *words, "--max-new-tokens", "2", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, input=text + "\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompt"] == text


@pytest.mark.parametrize(("sent", "message"), [(b"\xff\xfe", "not UTF-8"), (b"", "empty"), (b"a\0b", "null character")])
def test_standard_input_that_is_no_prompt_is_one_line(sent: bytes, message: str) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, "generate", "-"], capture_output=True, input=sent)
    errors = done.stderr.decode()
    assert done.returncode in (1, 2) and message in errors and "Traceback" not in errors and done.stdout == b""


def test_an_argument_that_is_no_utf8_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", RUN, "generate", b"caf\xe9"], capture_output=True)
    assert done.returncode == 2 and b"argument 2 is not UTF-8 text" in done.stderr


def test_env_prints_versions_as_text_and_json() -> None:
    assert "transformers" in em_hf("env").stdout
    facts = json.loads(em_hf("env", "--json").stdout)
    assert {"em-hf", "python", "torch", "device"} <= set(facts)


def test_a_trace_has_a_line_per_token_and_is_only_printed_when_asked_for() -> None:
    asked = ["generate", "Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?"]
    asked += ["--max-new-tokens", "6", "--threshold", "0.01"]
    without, done = em_hf(*asked), em_hf(*asked, "--trace")
    assert "after" in done.stdout and done.stdout.startswith(without.stdout.rstrip("\n"))
    table = done.stdout[len(without.stdout) :].strip("\n").splitlines()
    assert len(table) == 7 and [int(line.lstrip(">").split()[0]) for line in table[1:]] == list(range(6))


def test_samples_are_counted_by_their_final_answers_with_and_without_em_inf() -> None:
    done = em_hf("generate", "--samples", "20", "--json", "--threshold", "0.05", "--n-grad-steps", "10")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    tallies = found["samples"]["plain"], found["samples"]["em"]
    assert all(len(tally["texts"]) == 20 == len(tally["right"]) for tally in tallies)
    assert tallies[0]["accuracy"] == sum(tallies[0]["right"]) / 20
    table = em_hf("generate", "--samples", "20", "--threshold", "0.05", "--n-grad-steps", "10").stdout
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.startswith("|")]
    row = next(row for row in rows if row[1] == f"{found['answer']} *")
    counts = [int(cell.split()[0]) for cell in row[2:4]]
    assert counts == [sum(tally["right"]) for tally in tallies] and "the right answer" in table


def on_a_terminal(columns: int, **environment: str) -> str:
    """What `em-hf generate` writes to a terminal of that width."""
    command = [sys.executable, "-c", RUN, "generate", "--max-new-tokens", "40"]
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    variables |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50", **environment}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=variables)
    os.close(theirs)
    read = b""
    try:
        while block := os.read(ours, 65536):
            read += block
    except OSError:  # how a terminal ends on Linux
        pass
    assert process.wait() == 0
    os.close(ours)
    return read.decode()


def test_on_a_wide_terminal_both_texts_grow_side_by_side_in_colour() -> None:
    shown = on_a_terminal(120)
    assert re.search(r"Plain.{30,}EM-INF", shown), "the titles stand in one line"
    assert shown.count("Plain") > 3, "it was drawn while it grew"
    assert re.search(r"\x1b\[[0-9;]*3[136]m", shown) and "Entropy of each token" in shown
    assert "EM-INF left it" in shown


def test_no_color_is_respected_and_a_narrow_terminal_has_one_text_below_the_other() -> None:
    shown = on_a_terminal(80, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[136]m", shown) and "Entropy of each token" not in shown
    titles = [line for line in shown.splitlines() if "Plain" in line and "EM-INF" in line and "drew" not in line]
    assert titles == [] and "EM-INF left it" in shown
