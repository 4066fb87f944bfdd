"""`em-hf train`: what it prints where, what it writes, and one line for everything that can go wrong."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from em_hf.cli.progress import beside_greedy

from em_hf.models import load_model
from em_hf.pocket import problems
from em_hf.runs import ResultRow, to_json
from em_hf.settings import settings_of
from em_hf.training.settings import RunSettings
from tests.command import em_hf as run_here

SHORT = ["--steps", "2", "--batch-size", "2", "--eval-problems", "0"]


@pytest.fixture
def em_hf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        done = run_here(*map(str, words))
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def error_of(err: str) -> str:
    """The one line that says what went wrong."""
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and err.splitlines()[-1] == lines[0], err
    return lines[0]


def test_without_a_dataset_it_trains_the_pocket_reasoner_and_prints_the_table(em_hf: Callable, tmp_path: Path) -> None:
    code, out, err = em_hf("train", "--steps", "3", "--batch-size", "4", "--eval-problems", "6", "--eval-samples", "2")
    assert code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("em-ft-pocket-reasoner-")
    lines = out.splitlines()
    assert "accuracy" in lines[0] and "nats/token" in lines[0]
    results = json.loads((run / "results.json").read_text())
    names = ["base (greedy)", "base", "EM-INF", "EM-FT (greedy)", "EM-FT", "EM-FT + EM-INF"]
    assert [row["name"] for row in results["rows"]] == names
    for line, row in zip(lines[1:7], results["rows"], strict=True):
        assert line.startswith(row["name"])
        assert f"{100 * row['accuracy']:.1f}%" in line and f"{row['entropy']:.3f}" in line
    assert lines[7].startswith("6 held-out prompts, 2 samples per prompt, temperature 1, top_k 0, top_p 1")
    assert "Greedy decoding of the untouched model is right" in out
    assert f"Run: {run.relative_to(tmp_path)}" in out
    # the rest, with a line for each of so few steps, goes to stderr
    assert "step 1/3  loss" in err and "step 3/3  loss" in err
    explained = err.index("entropy: of the model's own distributions, in nats per token")
    assert explained < err.index("step 1/3"), "what the numbers mean comes once, before the first step"
    assert err.count("of the model's own distributions") == 1
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG") and "training.png" in err
    following = err.rpartition("Next: ")[2].strip()
    assert following.startswith(f"em-hf push {run.relative_to(tmp_path)} --to ")
    assert em_hf(*shlex.split(following)[1:])[0] == 0, "the next command works as it is printed"
    load_model(str(run), device="cpu")
    recorded = json.loads((run / "run.json").read_text())
    assert recorded["command"].startswith("em-hf train --steps 3")
    # unlabeled prompts of the training split, in their order
    prompts = [problem["prompt"] for problem in problems("train", 12, 0)]
    assert recorded["dataset"] | {"fingerprint": ""} == {
        "name": "pocket",
        "level": "plain",
        "split": "train",
        "prompt_column": "prompt",
        "answer_column": None,
        "n": len(prompts),
        "fingerprint": "",
    }


@pytest.mark.parametrize(
    ("greedy", "base", "best", "expected"),
    [
        (
            0.99,
            0.67,
            0.95,
            "right 99.0% of the time, and nothing sampled here clearly beats it. What EM buys is better sampling,",
        ),
        (0.60, 0.40, 0.80, "right 60.0% of the time; EM-FT beats it, with 80.0%."),
        (0.60, 0.50, 0.45, "nor did EM help sampling (from 50.0% to 45.0% at best)."),
    ],
)
def test_the_table_ends_with_what_em_buys_beside_greedy_decoding(
    greedy: float, base: float, best: float, expected: str
) -> None:
    accuracies = {"base (greedy)": greedy, "base": base, "EM-INF": best - 0.1, "EM-FT (greedy)": 1.0, "EM-FT": best}
    rows = [to_json(ResultRow(name, accuracy=a, low=a - 0.05, high=a + 0.05)) for name, a in accuracies.items()]
    said = beside_greedy(rows)
    assert said.startswith("Greedy decoding of the untouched model is") and expected in said
    assert beside_greedy(rows[1:]) == "" == beside_greedy(rows[:1]), "without greedy rows, as older runs have none"


def test_a_run_on_hard_problems_says_so_in_its_record_and_on_its_card(em_hf: Callable, tmp_path: Path) -> None:
    from em_hf.pocket import problems

    words = ["--steps", "1", "--batch-size", "2", "--eval-problems", "3", "--eval-samples", "1", "--output", "run"]
    code, _, err = em_hf("train", "--level", "hard", *words)
    assert code == 0, err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["settings"]["level"] == facts["dataset"]["level"] == "hard" and "--level hard" in facts["command"]
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    measured = {row["prompt"] for row in problems("test", 3, 0, level="hard")}
    assert {row["prompt"] for row in rows} <= measured
    assert em_hf("push", "run", "--to", "repository")[0] == 0
    card = (tmp_path / "repository" / "README.md").read_text()
    assert "On 3 held-out hard problems, sampled" in card and "name: pocket-hard, held-out problems" in card
    assert "- Prompts: `pocket` (2 prompts, split `train`, level `hard`, column `prompt`" in card


def test_json_prints_the_results_and_nothing_else_on_stdout(em_hf: Callable, tmp_path: Path) -> None:
    code, out, _ = em_hf("train", *SHORT[:4], "--eval-problems", "3", "--eval-samples", "1", "--output", "r", "--json")
    assert code == 0
    printed = json.loads(out)
    assert printed.pop("run") == "r"
    assert printed == json.loads((tmp_path / "r" / "results.json").read_text())


def test_settings_come_from_the_file_and_flags_win_over_it(em_hf: Callable, tmp_path: Path) -> None:
    file = {"steps": 7, "batch-size": 3, "lora": True, "entropy_min": {"n_grad_steps": 5}, "no-chat-template": True}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(file))
    code, out, _ = em_hf("train", "--config", "settings.yaml", "--steps", "4", "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert (plan["steps"], plan["batch_size"], plan["lora"], plan["chat_template"]) == (4, 3, True, False)
    assert plan["entropy_min"]["n_grad_steps"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]


def test_prompts_beyond_the_limit_may_be_empty(em_hf: Callable, tmp_path: Path) -> None:
    rows = [{"prompt": text} for text in ("Tom has 2 nuts.", "Tom has 3 nuts.", "")]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["train", "--dataset", "mine.jsonl", "--plan", "--json"]
    assert em_hf(*asked, "--limit", "2")[0] == 0
    code, _, err = em_hf(*asked, "--limit", "3")
    assert code == 1 and "mine.jsonl, row 3 has an empty prompt" in error_of(err)


def test_a_dry_run_prints_the_plan_and_writes_nothing(em_hf: Callable, tmp_path: Path) -> None:
    code, out, _ = em_hf("train", "--dry-run", "--learning-rate", "0.5")
    assert code == 0
    assert {"method: em-ft", "model: pocket-reasoner", "learning_rate: 0.5"} <= set(out.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_the_methods_are_listed_with_a_line_each(em_hf: Callable) -> None:
    code, out, _ = em_hf("train", "--list-methods")
    assert code == 0 and out.startswith("em-ft ") and "(needs answers)" in out
    assert len(out.splitlines()) == 12


def test_an_overwritten_run_is_replaced_and_a_folder_of_others_is_not(em_hf: Callable, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    code, _, err = em_hf("train", *SHORT, "--output", "run")
    assert code == 1 and "already holds a run; give --overwrite" in error_of(err)
    assert em_hf("train", *SHORT, "--output", "run", "--overwrite")[0] == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    code, _, err = em_hf("train", *SHORT, "--output", "mine", "--overwrite")
    assert code == 1 and "mine exists and is not a run of em-hf; give another --output" in error_of(err)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stps", "3"], "No such option '--stps'"),
        (["--steps", "few"], "--steps is 'few', but must be a whole number, at least 1"),
        (["--steps", "0"], "--steps is 0, but must be at least 1"),
        (["--steps", "inf"], "--steps is inf, but must be a whole number, at least 1"),
        (["--learning-rate", "nan"], "--learning-rate is nan, but must be a finite number, above 0"),
        (["--max_grad_norm", "1e999"], "--max-grad-norm is 1e999, but must be a finite number"),
        (["--seed", str(2**32)], "must be from 0 to 4,294,967,295"),
        (["--method", "em-rx"], "--method is 'em-rx', but must be one of em-ft"),
        (["--method", "em-rl-sequense"], "did you mean 'em-rl-sequence'?"),
        (["--recipe", "papr-em-ft"], "did you mean 'paper-em-ft'?"),
        (["--loss-reduction", "mean"], "--loss-reduction is 'mean', but must be one of sum, token-mean"),
        (["--reward-tokens", "last-third"], "--reward-tokens has no effect with method em-ft"),
        (["--method", "rloo", "--loss-reduction", "sum"], "--loss-reduction has no effect with method rloo"),
        (["--method", "sft", "--num-generations", "2"], "--num-generations has no effect with method sft"),
        (["--lora-rank", "4"], "--lora-rank has no effect without --lora"),
        (["--no-guard", "--probe-every", "3"], "--probe-every has no effect with --no-guard"),
        (["--eval-problems", "0", "--eval-samples", "3"], "--eval-samples has no effect with --eval-problems 0"),
        (["--dtype", "float8"], "--dtype is 'float8', but must be one of auto, float32"),
        (["--entropy-min", "{"], "--entropy-min is '{', but must be a JSON object"),
        (["--entropy-min", "[1]"], "must be a JSON object"),
        (["--entropy-min", '{"warmth": 1}'], "EntropyMinConfig has no field 'warmth'"),
        (["--entropy-min", '{"n_grad_steps": 101}'], "n_grad_steps"),
        (["--model", "some/model"], "dataset is missing: some/model brings no prompts of its own; give --dataset"),
        (["--config", "no.yaml"], "--config is 'no.yaml', but must be a file that exists"),
        (["--num-processes", "0"], "--num-processes is 0, but must be from 1 to 1,024"),
        (["--resume", "run", "--steps", "9"], "--steps does not go with --resume"),
        (
            ["--resume", "run", "--level", "hard"],
            "--level does not go with --resume, which keeps the settings of the run",
        ),
        (
            ["--level", "hard", "--dataset", "mine.jsonl"],
            "level is hard, but mine.jsonl has no levels (only pocket does)",
        ),
        (
            ["--level", "hard", "--model", "pocket-misled", "--dataset", "pocket-fewer"],
            "but pocket-fewer has no levels",
        ),
        (["--level", "harder"], "--level is 'harder', but must be one of plain, hard; did you mean 'hard'?"),
        (["--resume", "run", "--no-chat-template"], "--no-chat-template does not go with --resume"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    em_hf: Callable, tmp_path: Path, words: list[str], message: str
) -> None:
    code, out, err = em_hf("train", *words)
    assert (code, out) == (2, "") and message in error_of(err)
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_plans_and_lists_import_no_heavy_library(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    commands = [["--dataset", "no.jsonl"], ["--device", "x"], ["--model", "./no"], ["--output", "taken"]]
    commands += [["--steps", "0"], ["--model", "a/b"], ["--entropy-min", '{"x": 1}'], ["--list-methods"], ["--dry-run"]]
    code = (
        "import json, sys\n"
        "from em_hf.cli.main import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['em-hf', 'train', *words]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    assert not {'torch', 'transformers', 'datasets', 'trl', 'peft'} & set(sys.modules), words\n"
    )
    command = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


YAML_FAULTS = [
    ("lora: 1", "lora in bad.yaml is 1, but must be true or false"),
    ("steps: [1]", "steps in bad.yaml is [1], but must be a whole number, at least 1"),
    ("limit: .inf", "limit in bad.yaml is inf, but must be a whole number, at least 1"),
    ("learning-rate: .nan", "learning-rate in bad.yaml is nan, but must be a finite number, above 0"),
    ("steps: 2.0", "steps in bad.yaml is 2.0, but must be a whole number"),
    ("steps: true", "steps in bad.yaml is True, but must be a whole number"),
    ("steps:", "steps in bad.yaml is None, but must be a whole number"),
    ("model: 12", "model in bad.yaml is 12, but must be text; put it in quotes"),
    ("guard: 'no'", "guard in bad.yaml is 'no', but must be true or false"),
    ("entropy_min: [1]", "entropy_min in bad.yaml is [1], but must be a JSON object"),
    ("output: [a]", "output in bad.yaml is ['a'], but must be a path"),
    ("stesp: 3", "bad.yaml has the unknown key 'stesp'; did you mean 'steps'?"),
    ("steps: 3\nsteps: 4", "'steps' is given twice"),
    ("a: &x [1]\nb: *x", "no aliases here"),
    ("- steps", "must hold 'option: value' lines, not list"),
    ("[" * 100_000, "bad.yaml is nested too deeply"),
    ("steps: [", "bad.yaml is not YAML"),
]


@pytest.mark.parametrize(("text", "message"), YAML_FAULTS, ids=lambda value: value[:20])
def test_a_wrong_file_of_settings_gets_the_same_line_as_a_wrong_option(
    em_hf: Callable, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    code, out, err = em_hf("train", "--config", "bad.yaml", "--dry-run")
    assert (code, out) == (2, "") and message in error_of(err)


def test_numbers_as_yaml_leaves_them_and_underscores_are_read(em_hf: Callable, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("learning_rate: 1e-3\nno_guard: true\nloss-reduction: token-mean\n")
    code, out, _ = em_hf("train", "--config", "settings.yaml", "--max_completion_length", "7", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0 and plan["learning_rate"] == 0.001 and plan["guard"] is False
    assert plan["loss_reduction"] == "token_mean" and plan["max_completion_length"] == 7


def test_help_shows_ten_options_in_groups_and_help_all_every_setting(em_hf: Callable) -> None:
    code, out, _ = em_hf("train", "--help")
    shown = [line.split()[0] for line in out.splitlines() if line.startswith("  --")]
    assert code == 0 and len(shown) - len(["--debug", "--help-all"]) == 10, shown
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Model:", "Data:", "Method:", "Optimization:", "Output:", "Help:"]
    assert "more options: em-hf train --help-all" in out and "pocket models: 64" in " ".join(out.split())
    code, out, _ = em_hf("train", "--help-all")
    for name in settings_of(RunSettings):
        assert f"--{name.replace('_', '-')}" in out, name
    assert code == 0 and out.count("[default: ") + out.count("default:") > 40


def test_with_lora_on_a_local_base_the_next_command_merges_and_works(em_hf: Callable, tmp_path: Path) -> None:
    code, _, err = em_hf("train", *SHORT, "--lora", "--output", "my run")
    assert code == 0
    following = shlex.split(err.rpartition("Next: ")[2].strip())
    assert following == ["em-hf", "push", "my run", "--to", "my run-repository", "--merge"]
    assert em_hf(*following[1:])[0] == 0
    load_model(str(tmp_path / "my run-repository"), device="cpu")


def long_prompt(folder: Path) -> list[str]:
    (folder / "long.txt").write_text("1 " * 3000)
    return ["--dataset", "long.txt", "--batch-size", "1"]


def rows(text: str, *more: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / "rows.jsonl").write_text(text)
        return ["--dataset", "rows.jsonl", *more]

    return write


def given(*words: str) -> Callable[[Path], list[str]]:
    return lambda folder: list(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (given("--dataset", "nowhere.jsonl"), "there is no file nowhere.jsonl"),
        (rows(""), "rows.jsonl is empty"),
        (rows('{"text": "a", "id": 3}'), "rows.jsonl has none of the prompt columns prompt, question, problem, input"),
        (rows('{"prompt": "a"}', "--prompt-column", "text"), "prompt_column is 'text', but rows.jsonl has the columns"),
        (rows('{"prompt": "a"'), "rows.jsonl, line 1 is not JSON"),
        (long_prompt, "tokens, but the model's context leaves room for"),
        (given("--max-completion-length", "99999"), "give --max-completion-length less"),
        (given("--model", "./nowhere", "--dataset", "pocket"), "there is no model folder at ./nowhere"),
        (given("--model", "no/such", "--dataset", "pocket"), "no/such is not in the local cache and the Hub is out of"),
        (given("--device", "toaster"), "device is 'toaster', but must be cpu, cuda, cuda:N"),
        (given("--model", "pocket-reasonr"), "did you mean 'pocket-reasoner'?"),
        (given("--dataset", "~nobody-of-that-name/x"), "there is no file '~nobody-of-that-name/x'"),
        (rows('{"prompt": ' + "[" * 100_000), "rows.jsonl is nested too deeply"),
        (given("--split", "tset"), "tset"),
        (given("--resume", "nowhere"), "there is no run folder at nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1_and_leaves_nothing(
    em_hf: Callable, tmp_path: Path, words: Callable[[Path], list[str]], message: str
) -> None:
    asked = words(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out, err = em_hf("train", *asked, *([] if "--resume" in asked else ["--output", "run"]))
    assert (code, out) == (1, "") and message in error_of(err)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("library", "words"), [("peft", ["--lora"]), ("datasets", ["--dataset", "openai/gsm8k", "--model", "a/b"])]
)
def test_a_missing_extra_is_named(
    em_hf: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, words: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    code, _, err = em_hf("train", *words, "--output", "run")
    assert code == 1 and "pip install 'em-hf[train]'" in error_of(err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "run.json is not JSON"),
        ('{"status": "finished"}', "run is finished: there is nothing to resume; train on with --model run"),
        ('{"status": "running", "settings": {"warmth": 1}, "em_hf": "9.9"}', "unknown settings warmth"),
        ('{"status": "running"}', "the run has no settings"),
    ],
)
def test_a_run_that_cannot_go_on_is_told_why(em_hf: Callable, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(content)
    code, _, err = em_hf("train", "--resume", "run")
    assert code in (1, 2) and message in error_of(err)
    assert (tmp_path / "run" / "run.json").read_text() == content


def test_ctrl_c_exits_with_130_and_the_command_that_goes_on(tmp_path: Path) -> None:
    """A real process and a real signal, sent when the first step was reported."""
    command = [sys.executable, "-c", "from em_hf.cli.main import main; main()", "train"]
    words = ["--steps", "30", "--batch-size", "4", "--eval-problems", "0", "--output", "my Run"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*command, *words], cwd=tmp_path, text=True, **pipes)  # type: ignore[call-overload]
    assert process.stderr is not None
    told: list[str] = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("step  1/30"):
            os.kill(process.pid, signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, ""), "".join(told) + err
    assert "of 30. Continue with: em-hf train --resume 'my Run'" in err and err.splitlines()[-1] == "Interrupted."
    facts: dict[str, Any] = json.loads((tmp_path / "my Run" / "run.json").read_text())
    assert facts["status"] == "interrupted" and 1 <= facts["steps_done"] < 30
    names = {path.name for path in (tmp_path / "my Run").iterdir()}
    assert names == {"run.json", "log.jsonl", "probe.jsonl", "checkpoints"}  # no model that looks finished


def test_several_processes_train_as_one_command_and_go_on_only_as_they_began(tmp_path: Path) -> None:
    """The command starts its own processes; every one has the same folder, one writes, and the log counts all."""
    command = [sys.executable, "-m", "em_hf.cli", "train"]
    short = ["--steps", "2", "--batch-size", "4", "--eval-problems", "4", "--eval-samples", "1", "--device", "cpu"]
    done = subprocess.run(
        [*command, *short, "--num-processes", "2", "--output", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("EM-FT + EM-INF") == 1  # one of them prints
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["processes"], facts["steps_done"]) == ("finished", 2, 2)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(log) == 2
    # Eight samples a step over both processes: tokens are a multiple of the mean length by eight.
    assert all(line["tokens"] == pytest.approx(8 * line["completion_length"]) for line in log)
    facts["status"] = "interrupted"
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    alone = subprocess.run([*command, "--resume", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert alone.returncode == 1 and "begun in 2 processes" in alone.stderr and "--num-processes 2" in alone.stderr


@pytest.mark.parametrize("name", ["fsdp2", "deepspeed-zero3"])
def test_a_config_of_accelerate_that_comes_along_goes_by_its_name(em_hf: Callable, name: str) -> None:
    assert em_hf("train", *SHORT, "--accelerate-config", name, "--dry-run")[0] == 0


def test_an_unknown_config_of_accelerate_names_those_that_come_along(em_hf: Callable) -> None:
    code, _, err = em_hf("train", *SHORT, "--accelerate-config", "fsdp9")
    assert code == 2 and "neither a file nor one of deepspeed-zero3, fsdp2" in err


def test_the_recipes_are_listed_with_the_source_of_their_values(em_hf: Callable) -> None:
    code, out, _ = em_hf("train", "--list-recipes")
    assert code == 0
    for name in ("paper-em-ft", "paper-em-rl-sequence", "paper-em-rl-token", "one-shot-em", "laptop-smollm2", "pocket"):
        assert f"[{name}]" in out
    assert "arXiv 2505.20282" in out and "Ours" in out


MEASURED = ["--eval-problems", "3", "--eval-samples", "1"]


@pytest.mark.parametrize("method", ["em-rl-sequence", "rloo", "sft"])
def test_other_methods_run_from_the_command_line(em_hf: Callable, tmp_path: Path, method: str) -> None:
    code, out, err = em_hf("train", *SHORT, "--method", method, *MEASURED, "--output", "run", "--json")
    assert code == 0, err
    title = {"em-rl-sequence": "EM-RL-sequence", "rloo": "RLOO", "sft": "SFT"}[method]
    names = ["base (greedy)", "base", "EM-INF", f"{title} (greedy)", title, f"{title} + EM-INF"]
    assert [row["name"] for row in json.loads(out)["rows"]] == names
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["labels"] == {"em-rl-sequence": None, "rloo": "answers", "sft": "solutions"}[method]
    # By the rule: sampled and trained (8PD), and the reference where there is a KL term; SFT only trains (6PD).
    rule = {"em-rl-sequence": 10, "rloo": 10, "sft": 6}[method]
    cost = facts["compute"]
    assert cost["flops"] == rule * cost["parameters"] * cost["tokens_trained"] > 0
    assert (cost["tokens_sampled"] > 0) == (method != "sft")


def test_a_tilde_that_the_shell_left_is_the_home_folder(
    em_hf: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, _ = em_hf("train", "--output=~/runs/first", "--dry-run")
    assert code == 0 and f"output: {tmp_path / 'runs' / 'first'}\n" in out
    code, _, err = em_hf("train", "--output=~nobody-of-that-name/run", "--dry-run")
    assert code == 2 and "--output is '~nobody-of-that-name/run', but must be a path that exists" in err
