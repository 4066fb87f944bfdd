"""The command line as a whole: errors as one line, near names, exit codes, completion, and what is checked first."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from em_hf.cli import checks, common
from em_hf.cli.completion import MARK, completion_script, install_script
from em_hf.cli.main import COMMANDS, cli
from em_hf.cli.options import Option


def run(*words: str, **given: Any) -> Result:
    return CliRunner().invoke(cli, list(words), **given)


def error_of(result: Result) -> str:
    lines = result.stderr.splitlines()
    assert lines and lines[-1].startswith("Error: ") and "Traceback" not in result.stderr, result.stderr
    assert sum(line.startswith("Error: ") for line in lines) == 1 and result.stdout == ""
    return lines[-1]


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["trian"], "did you mean 'train'?"),
        (["evall"], "did you mean 'eval'?"),
        (["quite-else"], "em-hf --help lists them"),
        (["train", "--num-generation", "2"], "--num-generations"),
        (["eval", "--strategy", "self_consistancy"], "did you mean 'self-consistency'?"),
        (["generate", "--optimizer", "adm"], "did you mean 'adam'?"),
    ],
)
def test_a_misspelt_word_gets_the_nearest_one(words: list[str], near: str) -> None:
    result = run(*words)
    assert result.exit_code == 2 and near in error_of(result)


def test_a_misspelt_model_gets_the_nearest_name_of_ours_or_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text("{}")
    with pytest.raises(OSError, match=r"did you mean 'pocket-reasoner'\?"):
        checks.check_model("pocket-reasonr")
    with pytest.raises(OSError, match=r"there is no model folder at .*my-modle; did you mean 'my-model'\?"):
        checks.check_model(str(tmp_path / "my-modle"))
    with pytest.raises(ValueError, match="must be a Hub id"):
        checks.check_model("two words")
    with pytest.raises(OSError, match="there is no model folder"):
        checks.check_model("~nobody-of-that-name/model")
    for right in ("pocket-misled", "gpt2", "Qwen/Qwen2.5-0.5B", str(tmp_path / "my-model")):
        checks.check_model(right)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `em-hf env` raise."""

    def make(error: BaseException) -> None:
        @click.command("env")
        def command() -> None:
            raise error

        monkeypatch.setattr("em_hf.cli.env.command", command)

    return make


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("steps is 0,\nbut must be more"), 1, "Error: steps is 0, but must be more"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "No such file or directory: 'x'"),
        (RuntimeError("Could not determine home directory."), 1, "RuntimeError: Could not determine home directory."),
        (RecursionError(), 1, "nested too deeply"),
        (EOFError("Ran out of input"), 1, "a file ends too early: Ran out of input"),
        (MemoryError(), 1, "out of memory: use a smaller --batch-size"),
        (KeyError("loss"), 1, "KeyError: 'loss'; --debug shows where"),
        (ValueError(), 1, "ValueError: no message"),
        (ValueError("x" * 100_000), 1, "xxx"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_whatever_goes_wrong_is_one_line(failing: Any, error: BaseException, code: int, says: str) -> None:
    failing(error)
    result = run("env")
    assert result.exit_code == code and says in error_of(result) and len(result.stderr) < 1200


@pytest.mark.parametrize("word", ["a\nb", "x" * 100_000], ids=["two lines", "long"])
def test_wrong_usage_is_one_line_too(word: str) -> None:
    result = run("train", word)
    assert result.exit_code == 2 and len(result.stderr) < 1200
    assert result.stderr.strip().splitlines()[-1].startswith("Error: Got unexpected extra argument")


@pytest.mark.parametrize("name", ["train", "generate", "eval", "diagnose"])
@pytest.mark.parametrize(("value", "refused"), [("1", True), ("true", True), ("Yes", True), ("0", False), ("", False)])
def test_no_environment_variable_allows_a_repositorys_code(
    name: str, value: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"EM_HF_{name.upper()}_TRUST_REMOTE_CODE", value)
    result = run(name) if refused else run(name, "--seed", "no")
    assert result.exit_code == 2
    assert ("none may allow a repository's code" in error_of(result)) is refused
    monkeypatch.setenv("EM_HF_TRUST_REMOTE_CODE", value)
    monkeypatch.delenv(f"EM_HF_{name.upper()}_TRUST_REMOTE_CODE")
    assert "seed" in error_of(run(name, "--seed", "no")), "a variable of no command stands for nothing"


def test_ctrl_c_is_130_and_the_end_of_a_file_is_not_taken_for_it(failing: Any) -> None:
    failing(KeyboardInterrupt())
    result = run("env")
    assert result.exit_code == 130 and result.stderr.strip().endswith("Interrupted.")
    failing(EOFError())
    assert run("env").exit_code == 1


def test_debug_keeps_the_traceback(failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    error = KeyError("loss")
    failing(error)
    assert run("--debug", "env").exception is error
    monkeypatch.setenv("EM_HF_DEBUG", "1")
    assert run("env").exception is error


def test_every_command_has_debug_and_help_in_groups() -> None:
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0 and "--debug" in result.stdout and "Help:" in result.stdout, name
        assert not re.search(r"^ +\[[A-Z]+\]$", result.stdout.split("Help:")[1], re.M), "an argument among the options"
        command = cli.get_command(click.Context(cli), name)
        example = ((command and command.epilog) or "").strip("\b\n")
        assert f"\n  {example}\n" in result.stdout if example else name in ("push", "env"), name
        every = run(name, "--help-all")
        assert every.exit_code == (0 if "--help-all" in result.stdout else 2)


def test_every_option_that_takes_a_value_is_made_from_a_setting() -> None:
    """So that its help, its range and its errors are the setting's own."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        for param in command.params:
            if isinstance(param, click.Option) and not param.is_flag and not param.multiple:
                assert getattr(param, "setting", None) is not None or param.name == "config", (name, param.name)
                assert param.help and param.help.endswith("."), (name, param.name)


def numbers(name: str) -> list[str]:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    settings = {p.opts[0]: p.setting for p in command.params if isinstance(p, Option) and p.setting is not None}
    return [option for option, one in settings.items() if one.kind in (int, float) and not one.many]


@pytest.mark.parametrize(("name", "option"), [(n, o) for n in COMMANDS for o in numbers(n)])
def test_no_numeric_option_takes_infinity_or_nan(name: str, option: str) -> None:
    for word in ("inf", "-inf", "nan", "Infinity", "1e999", "0x10", "", " "):
        result = run(name, option, word)
        assert result.exit_code == 2 and "but must be" in error_of(result), (option, word)


def test_an_argument_that_is_no_utf8_is_named() -> None:
    result = run("generate", "caf\udce9")
    assert result.exit_code == 2 and "argument 2 is not UTF-8 text: 'caf\\udce9'" in error_of(result)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--dataset", "nofile.jsonl"],
        ["train", "--dataset", "empty.jsonl"],
        ["train", "--model", "folder", "--dataset", "prompts.jsonl"],
        ["train", "--vllm", "colocate"],
        ["train", "--device", "toaster"],
        ["train", "--config", "nofile.yaml"],
        ["generate", "--model", "./nowhere"],
        ["generate", "--model", "file"],
        ["generate", "--model", "damaged"],
        ["generate", "--model", "nowhere.gguf"],
        ["generate", "--model", "file.gguf"],
        ["eval", "--model", "file.gguf"],
        ["diagnose", "--model", "file.gguf"],
        ["train", "--model", "file.gguf", "--dataset", "prompts.jsonl"],
        ["generate", ""],
        ["eval", "--tasks", ""],
        ["eval", "--tasks", "no-such-task-anywhere"],
        ["eval", "--tasks", "humaneval"],
        ["eval", "--backend", "vllm"],
        ["eval", "--dataset", "empty.jsonl"],
        ["eval", "--model", "./nowhere"],
        ["diagnose", "--dataset", "nofile.jsonl"],
        ["diagnose", "--dataset", "prompts.jsonl", "--answer-column", "right"],
        ["push", "nowhere"],
        ["app", "--host", "no.such.host.invalid"],
        ["app", "--port", "BUSY"],
        ["lab", "--output", "file"],
    ],
    ids=" ".join,
)
def test_what_can_be_known_early_is_said_before_torch_is_imported(words: list[str], tmp_path: Path) -> None:
    import socket

    for name in ("file", "file.gguf", "empty.jsonl"):
        (tmp_path / name).write_text("")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "2 + 3", "answer": "5"}\n')
    (tmp_path / "folder").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        words = [str(busy.getsockname()[1]) if word == "BUSY" else word for word in words]
        code = (
            f"import sys; sys.argv = ['em-hf', *{words!r}]\n"
            "from em_hf.cli.main import main\n"
            "try: main()\nexcept SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() in (["1", "False"], ["2", "False"]), done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: "), done.stderr


def test_the_list_of_tasks_is_printed_without_torch() -> None:
    code = "import sys; sys.argv = ['em-hf', 'eval', '--list']\nfrom em_hf.cli.main import main\n"
    code += "try: main()\nexcept SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "gsm8k" in done.stdout and done.stdout.splitlines()[-1] == "0 False", done.stderr


def test_the_help_of_the_group_imports_no_command_and_names_them_all() -> None:
    code = "import sys; sys.argv = ['em-hf', '--help']\nfrom em_hf.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: print({'em_hf.cli.train', 'em_hf.cli.options', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *lines, imported = done.stdout.splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ") and line.strip()]
    assert imported == "set()" and [name for name in named if name in COMMANDS] == [*COMMANDS]


def test_every_task_of_ours_is_known_by_its_file_and_by_what_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As lm-eval reads the files."""
    from em_hf.evaluation.run import our_tasks

    monkeypatch.setattr(checks, "_in_lm_eval", lambda name: False)
    for name, config in our_tasks().items():
        checks.check_tasks([name], allow_code=True)
        if config.get("unsafe_code"):
            with pytest.raises(ValueError, match="--allow-code-execution"):
                checks.check_tasks([name], allow_code=False)
        else:
            checks.check_tasks([name], allow_code=False)
    with pytest.raises(ValueError, match=r"there is no task 'gsm9k'; did you mean 'gsm8k'\?"):
        checks.check_tasks(["gsm9k"], allow_code=False)


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = run("app")
    assert result.exit_code == 1 and "the app needs gradio: pip install 'em-hf[app]'" in error_of(result)


def test_where_the_hub_does_not_answer_only_the_cache_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without this a misspelt id waits through every library's retries, 40 seconds."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert not checks.hub_is_reachable()
    common.load_libraries("pocket-reasoner", None)
    assert os.environ["HF_HUB_OFFLINE"] == "0", "a model of ours needs no Hub"
    common.load_libraries("some/model")
    assert os.environ["HF_HUB_OFFLINE"] == "1" and huggingface_hub.constants.HF_HUB_OFFLINE
    assert "The Hub does not answer: using the local cache only." in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_once_where_the_shell_looks(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    start = {"bash": tmp_path / ".bashrc", "zsh": tmp_path / ".zshrc", "fish": None}[shell]
    if start is not None:
        start.write_text("alias ll='ls -l'")
    for _ in range(2):
        result = run("completion", "--install", "--shell", shell)
        assert result.exit_code == 0, result.stderr
    if start is not None:
        text = start.read_text()
        assert text.startswith("alias ll='ls -l'\n") and text.count(MARK) == 1
        (script,) = (tmp_path / ".local/share/em-hf").iterdir()
        assert str(script) in text
    else:
        script = tmp_path / ".config/fish/completions/em-hf.fish"
    assert "_EM_HF_COMPLETE" in script.read_text() and script.read_text() == completion_script(shell)
    assert install_script(shell, "x", tmp_path)[0] == script


def test_the_installed_script_completes_in_a_real_bash(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(completion_script("bash"))
    program = tmp_path / "em-hf"
    program.write_text(f"#!{sys.executable}\nfrom em_hf.cli.main import main\nmain()\n")
    program.chmod(0o755)
    code = f"source {script}; COMP_WORDS=(em-hf train --met); COMP_CWORD=2; _em_hf_completion em-hf --met; "
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=environment)
    assert "--method" in done.stdout, done.stderr
