"""The examples that users start from: every cell of the notebooks runs, and the scripts call what exists."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import nbformat
import pytest
from em_hf.cli.main import COMMANDS, cli
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
# Run in the notebook's own kernel after its last cell.
CHECKS = {
    "em_inf_on_your_model": """
        assert [row.name for row in rows] == ["sampled", "EM-INF", "greedy"]
        assert rows[0].accuracy <= rows[1].accuracy <= 1
        assert (trace.after[1][adjusted] < trace.before[1][adjusted]).all() and adjusted.any()
        assert again.generation_config.entropy_min_config["n_grad_steps"] == 10
    """,
    "em_ft_and_pass_at_k": """
        assert trainer.state.global_step == STEPS == len(losses)
        # pass@1 is the share of right samples, pass@16 of 16 the share of problems with any right sample.
        first, last = ([pass_at_k(SAMPLES, c, k) for c in after] for k in (1, 16))
        assert abs(sum(first) - sum(after) / SAMPLES) < 1e-9 and last == [float(c > 0) for c in after]
        assert len(before) == len(after) == PROBLEMS and entropy_after != entropy_before
    """,
    "measure_before_you_believe": """
        assert found["pocket-reasoner"].verdict == "likely" and found["pocket-misled"].verdict != "likely"
        mean = {name: {way: sum(v) / len(v) for way, v in ways.items()} for name, ways in measured.items()}
        assert mean["pocket-reasoner"]["EM-INF"] > mean["pocket-reasoner"]["sampled"]
        assert mean["pocket-misled"]["EM-INF"] <= mean["pocket-misled"]["sampled"]
    """,
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_HF_PROBLEMS", "40" if path.stem == "measure_before_you_believe" else "16")
    monkeypatch.setenv("EM_HF_STEPS", "2")
    notebook = nbformat.read(path, as_version=4)
    check = "\n".join(line.removeprefix(" " * 8) for line in CHECKS[path.stem].splitlines())
    notebook.cells.append(nbformat.v4.new_code_cell(check))
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_itself_and_holds_no_error_or_path(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert len(code) >= 4 and all(output.output_type != "error" for output in outputs)
    printed = "".join(output.get("text", "") for output in outputs)
    assert not re.search(r"/(home|root|tmp|work)/", printed)
    links = re.findall(r"examples/([\w-]+)\.ipynb\)", notebook.cells[0].source)
    assert len(links) == 2 and set(links) == {path.stem}
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", "".join(cell.source for cell in notebook.cells)):
        assert (EXAMPLES / target).exists(), target


def test_the_cluster_script_is_valid_and_calls_commands_that_exist() -> None:
    path = EXAMPLES / "slurm_em_ft.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    called = [
        line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip().startswith("em-hf")
    ]
    assert {line.split()[1] for line in called} == {"diagnose", "train", "eval", "push"}
    for line in called:
        name, *arguments = shlex.split(line.replace("$RUN", "run").replace("$MODEL", "org/model"))[1:]
        assert name in COMMANDS
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        command.make_context(name, arguments)
