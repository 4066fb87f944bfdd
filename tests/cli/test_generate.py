"""`em-hf generate` and `em-hf env` as a user runs them, and wrong input as one line."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from em_hf.cli.main import cli

from em_hf.pocket import POCKET_REASONER, problems

RUN = "import sys; from em_hf.cli.main import main; main()"


def em_hf(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=cwd, capture_output=True, text=True)


def generate(*arguments: str) -> Result:
    """The same in this process, which has the libraries already."""
    done = CliRunner().invoke(cli, ["generate", *arguments], prog_name="em-hf")
    assert done.exit_code == 0, done.stderr
    return done


@pytest.mark.parametrize("seed", ["0", "1"])
def test_without_a_prompt_a_test_problem_is_decoded_on_which_the_two_differ(seed: str) -> None:
    done = generate("--seed", seed)
    row = next(row for row in problems("test", 64, 0) if f"Prompt: {row['prompt']}\n" in done.stdout)
    counts = r"plain decoding solves (\d+) and EM-INF (\d+) of 64 problems"
    said = re.search(f"With seed {seed} for each, {counts}", done.stderr)
    assert said and int(said[1]) < int(said[2]) <= 64
    assert "This is the first that only EM-INF solves." in done.stderr and "EM-INF answers" in done.stdout
    assert re.search(
        r"\nPlain:  .+\n\nEM-INF: .+\n\nPlain drew .+ \(.*%\); EM-INF left it .*% and drew .+\. ", done.stdout, re.S
    )
    for text in re.findall(r"#### (\S+)", done.stdout):
        assert f"{text}, which is {'right' if text == row['answer'] else 'wrong'}" in done.stdout
    assert "\x1b" not in done.stdout, "no colours in a pipe"
    assert f"temperature 1, top_k 0, top_p 1, seed {seed}" in done.stderr


def test_the_mean_entropies_are_those_of_the_tokens_before_and_after() -> None:
    asked = ["Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?", "--threshold", "0.01"]
    result, said = json.loads(generate(*asked, "--json").stdout), generate(*asked).stdout
    plain, em = result["plain"], result["em"]
    means = [
        sum(values) / len(values) for values in (plain["entropy_before"], em["entropy_before"], em["entropy_after"])
    ]
    assert f"{len(plain['tokens'])} tokens, {means[0]:.3f} nats per token\n" in said
    assert f"{len(em['tokens'])} tokens, {means[1]:.3f} nats per token before EM-INF, {means[2]:.3f} after" in said
    assert result["sentence"] in said and means[2] < means[1]


def test_json_has_both_runs_token_by_token_and_is_all_there_is_on_stdout() -> None:
    settings = ["--seed", "5", "--threshold", "0.05", "--n-grad-steps", "20", "--max-new-tokens", "40", "--json"]
    result = json.loads(
        generate("Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?", *settings).stdout
    )
    assert result["entropy_min"]["n_grad_steps"] == 20 and result["seed"] == 5
    for run in (result["plain"], result["em"]):
        lengths = {len(run[name]) for name in ("tokens", "entropy_before", "entropy_after", "adjusted")}
        assert len(lengths) == 1 and 0 < lengths.pop() <= 40
    assert not any(result["plain"]["adjusted"]) and any(result["em"]["adjusted"])
    differ = [i for i, (a, b) in enumerate(zip(result["plain"]["tokens"], result["em"]["tokens"])) if a != b]
    assert result["diverges_at"] == (differ[0] if differ else None)


def test_the_threshold_of_infinity_in_effect_gives_two_equal_runs() -> None:
    result = json.loads(generate("Tom has 3 apples and buys 4 more.", "--threshold", "99", "--json").stdout)
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
        (["--samples", "5", "--trace"], 2, "--trace prints the tokens of one pair, not of --samples"),
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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("way", ["-", "--file"])
def test_the_prompt_comes_from_standard_input_or_a_file(way: str, end: str, tmp_path: Path) -> None:
    lines = ["Tom has 12 apples.", "Tom buys 7 more apples.", "", "How many apples does Tom have?"]
    sent = "".join(line + end for line in lines).encode()
    (tmp_path / "prompt.txt").write_bytes(sent)
    words = ["--file", "prompt.txt"] if way == "--file" else ["-"]
    command = [sys.executable, "-c", RUN, "generate", *words, "--max-new-tokens", "2", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, input=sent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompt"] == "\n".join(lines)


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
    asked = ["Tom has 12 apples. Tom buys 7 more apples. How many apples does Tom have?"]
    asked += ["--max-new-tokens", "6", "--threshold", "0.01"]
    without, done = generate(*asked), generate(*asked, "--trace")
    assert "after" in done.stdout and done.stdout.startswith(without.stdout.rstrip("\n"))
    table = done.stdout[len(without.stdout) :].strip("\n").splitlines()
    assert len(table) == 7 and [int(line.lstrip(">").split()[0]) for line in table[1:]] == list(range(6))


def test_samples_are_counted_by_their_final_answers_with_and_without_em_inf() -> None:
    asked = ["--samples", "20", "--threshold", "0.05", "--n-grad-steps", "10"]
    found = json.loads(generate(*asked, "--json").stdout)
    tallies = found["samples"]["plain"], found["samples"]["em"]
    assert all(len(tally["texts"]) == 20 == len(tally["right"]) for tally in tallies)
    assert tallies[0]["accuracy"] == sum(tallies[0]["right"]) / 20
    table = generate(*asked).stdout
    row = next(line for line in table.splitlines() if line.startswith(f"{found['answer']} *"))
    counts = [int(cell) for cell in re.findall(r"(?<= )\d+", row)]
    assert counts == [sum(tally["right"]) for tally in tallies] and "the right answer" in table


def test_tokens_are_shown_on_a_terminal_while_they_are_drawn() -> None:
    command = [sys.executable, "-c", RUN, "generate", "--max-new-tokens", "40"]
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    variables |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"}
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
    assert read.decode().count("EM-INF") > 20, "the titles are drawn again with every token"


def test_it_says_where_the_defaults_hold_because_the_model_has_no_settings_of_em_inf(tmp_path: Path) -> None:
    shutil.copytree(POCKET_REASONER, tmp_path / "plain")
    config = tmp_path / "plain" / "generation_config.json"
    settings = json.loads(config.read_text())
    assert settings.pop("entropy_min_config")["n_grad_steps"] == 10
    config.write_text(json.dumps(settings))
    said = "No EM-INF settings are stored with the model"
    assert said in generate("Tom has 3 nuts.", "--model", str(tmp_path / "plain")).stderr
    assert said not in generate("Tom has 3 nuts.").stderr
