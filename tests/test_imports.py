"""Who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A part may import the parts of the lines above its own, and itself.
LAYERS = [
    {"messages"},
    {"markdown"},
    {"entropy", "answers", "stats", "flops", "methods", "settings", "runs", "tables"},
    {"generation", "data", "pocket", "models"},
    {"sampling"},
    {"compare", "hub"},
    {"training", "evaluation"},
    {"lab"},
    {"cli", "app"},
]
# Within a line: the loader of models knows the pocket reasoner, the data its problems; generation knows neither.
# `em-hf app` starts the app. A run's record says what its method is.
BESIDE = {("runs", "methods"), ("generation", "models"), ("models", "pocket"), ("data", "pocket"), ("cli", "app")}


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if relative.parts[0] in ("cli", "app") else relative.with_suffix("").parts[1]


def imported(path: Path) -> set[str]:
    """The parts of em_hf that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "em_hf" else [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("em_hf.")}
    return found - {"__version__"}


FILES = [p for folder in ("em_hf", "cli", "app") for p in sorted((ROOT / folder).rglob("*.py"))]
FILES = [p for p in FILES if p != ROOT / "em_hf" / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_part_imports_only_what_stands_below_it(path: Path) -> None:
    part = part_of(path)
    level = next(i for i, layer in enumerate(LAYERS) if part in layer)
    for other in imported(path) - {part, "model_cards"}:
        below = any(other in layer for layer in LAYERS[:level])
        assert below or (part, other) in BESIDE, f"{part} imports {other}"


def test_the_recipes_files_import_only_torch_and_the_standard_library() -> None:
    for name in ("config", "minimize"):
        tree = ast.parse((ROOT / "em_hf" / "generation" / f"{name}.py").read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        outside = {m for m in modules if m and m.split(".")[0] not in sys.stdlib_module_names}
        assert outside <= {"torch", "em_hf.generation.config"}


HEAVY = ("torch", "transformers", "trl", "gradio", "datasets", "peft", "numpy")


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_importing_em_hf_imports_nothing_heavy_until_a_name_is_used() -> None:
    assert loaded_by("import em_hf; dir(em_hf); em_hf.__version__; em_hf.EntropyMinConfig()") == set()
    assert "transformers" not in loaded_by("from em_hf import minimize_entropy, token_entropy")
    assert "trl" not in loaded_by("from em_hf import EntropyCallback, EntropyCollapseCallback, entropy_loss")


def test_every_public_name_can_be_imported_and_a_wrong_one_is_an_attribute_error() -> None:
    import em_hf

    for name in em_hf.__all__:
        assert getattr(em_hf, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        em_hf.nothing  # noqa: B018


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["train", "--list-methods"],
        ["train", "--dry-run"],
        ["train", "--stepz", "3"],
        ["train", "--steps", "0"],
        ["train", "--model", "somewhere/else"],
        ["train", "--entropy-min", "{"],
        ["train", "--gpu", "l4"],
        ["push", "--help"],
        ["push"],
        ["generate", "--help"],
        ["generate", "--threshold", "high"],
        ["eval", "--help"],
        ["eval", "--dry-run"],
        ["eval", "--strategy", "oracle"],
        ["eval", "--compare", "greedy,oracle"],
        ["eval", "--threshold", "-1"],
        ["diagnose", "--help"],
        ["diagnose", "--thresholds", "low"],
        ["diagnose", "--n-grad-steps", "1000"],
        ["lab", "--help"],
        ["lab", "--dry-run"],
        ["lab", "--jobs", "0"],
        ["lab", "--dry-run", "--quick", "--json"],
        ["app", "--help"],
        ["app", "--port", "0"],
        ["app", "--run", "nowhere"],
        ["nothing"],
        ["env", "--nothing"],
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_import_nothing_heavy(arguments: list[str]) -> None:
    run = f"import sys; sys.argv = ['em-hf', *{arguments!r}]\n"
    run += "from em_hf.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    assert loaded_by(run) == set()


def test_shell_completion_imports_nothing_heavy_and_knows_the_options() -> None:
    run = (
        "import os, sys; sys.argv = ['em-hf']\n"
        "os.environ |= {'_EM_HF_COMPLETE': 'bash_complete', 'COMP_WORDS': 'em-hf train --num', 'COMP_CWORD': '2'}\n"
        "from em_hf.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert loaded_by(run) == set()
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert "--num-generations" in done.stdout
