"""Throw wrong inputs at every command: `python -m tests.campaigns.inputs --n 10000`.

Options of every type with words that are none, settings files of wrong shapes, broken datasets, run folders and models,
in this process through click's own runner. What is demanded of each: exit code 0, 1 or 2; if not 0, one line only that
begins with `Error: `, is not a mere exception's name, and nothing on stdout; never a traceback; and after a failure the
working folder holds what it held before. Accepted inputs stop before the heavy part: no model is trained or served.
Seeded: a case is made from (seed, number) alone, and `--only NUMBER` repeats it.
"""

import argparse
import atexit
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import click
from click.testing import CliRunner

from tests.campaigns import write_figures

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "old_run"
COMMANDS = ("train", "train", "eval", "generate", "diagnose", "lab", "app", "push", "completion")
WORDS = [
    *(
        "",
        " ",
        "0",
        "-1",
        "1",
        "2",
        "3.5",
        "1e999",
        "-0.0",
        "inf",
        "-inf",
        "nan",
        "NaN",
        "1_0",
        "0x10",
        "9" * 30,
        "9" * 5000,
    ),
    *("true", "no", "null", "None", "[]", "{}", "[1]", '{"a": 1}', "{", "[" * 3000, '{"n_grad_steps": 1e400}'),
    *(
        "a,b",
        ",",
        ",,",
        "1,nan",
        "0.1,0.2",
        "é",
        "日本",
        "🍎",
        "\u202e",
        "\x1b[31m",
        "a\nb",
        "a\tb",
        "x" * 10_000,
        "%s",
        "{0}",
    ),
    *(
        ".",
        "..",
        "/",
        "~",
        "~nobody",
        "~nobody/x",
        "a/b/c/d",
        "../../etc",
        "/dev/null",
        "C:\\x",
        "file:///x",
        "http://x",
    ),
    *("em-ft", "greedy", "pocket", "pocket-reasoner", "gpt2", "cpu", "cuda:99", "mps", "float32", "bash", "sgd"),
    *("--", "-", "--help-me", "'", '"', "$(x)", "; ls", "\udce9", "a\0b"),
]
BYTES = [
    b"",
    b"\xff\xfe",
    b"\0" * 50,
    b"PK\x03\x04",
    b"\x80\x04.",
    b"[" * 50_000,
    b'{"a":' * 5_000,
    b"\xef\xbb\xbf",
    b"\n" * 9,
]


class Case:
    """One input: the words of a command line, the files in its folder, and what kind of fault it tries."""

    def __init__(self, kind: str, words: list[str], stdin: bytes | None = None) -> None:
        self.kind, self.words, self.stdin = kind, words, stdin


def any_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a JSON or YAML value of any shape."""
    leaves: list[Callable[[], Any]] = [
        lambda: rng.choice(WORDS[:60]),
        lambda: rng.choice([0, 1, -1, 2**31, 2**70, True, False, None, 0.5, float("inf"), float("nan"), -1e308]),
    ]
    if depth < 3 and rng.random() < 0.4:
        if rng.random() < 0.5:
            return [any_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {str(rng.choice(WORDS[:40])): any_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(leaves)()


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Return a file's content cut, overwritten, of another shape or of none."""
    way = rng.randrange(6)
    if way == 0:
        return data[: rng.randrange(max(1, len(data)))]
    if way == 1:
        return rng.choice(BYTES)
    if way == 2:
        place = rng.randrange(max(1, len(data)))
        return data[:place] + rng.randbytes(rng.randrange(1, 20)) + data[place + rng.randrange(20) :]
    if way == 3:
        return json.dumps(any_value(rng)).encode()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data[::-1]
    for _ in range(rng.randrange(1, 4)):
        spoil(rng, value)
    return json.dumps(value).encode()


def spoil(rng: random.Random, value: Any) -> None:
    """Replace or remove something within a JSON value."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.4:
            if rng.random() < 0.3:
                del value[key]
            else:
                value[key] = any_value(rng)
            return
        value = inner


def options_of(name: str) -> list[click.Option]:
    from em_hf.cli.main import cli

    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    skipped = ("help", "help_all", "debug", "install", "list_methods", "list_recipes", "list")
    return [p for p in command.params if isinstance(p, click.Option) and p.name not in skipped]


def with_option(rng: random.Random) -> Case:
    name = rng.choice(COMMANDS)
    words = [name]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        option = rng.choice(options_of(name))
        spelling = rng.choice([*option.opts, *option.secondary_opts])
        if rng.random() < 0.1:
            spelling = spelling.replace("-", "_").replace("__", "--", 1)
        if rng.random() < 0.05:
            place = rng.randrange(2, len(spelling))
            spelling = spelling[:place] + rng.choice("abcxyz-") + spelling[place + 1 :]
        words += [spelling] if option.is_flag else [spelling, rng.choice(WORDS)]
    if name in ("generate", "push", "train") and rng.random() < 0.15:
        words.append(rng.choice(WORDS))
    return Case("option", words)


def with_config(rng: random.Random, folder: Path) -> Case:
    import yaml

    name = rng.choice(["train", "train", "eval", "generate", "diagnose", "lab"])
    file = folder / "settings.yaml"
    if rng.random() < 0.25:
        file.write_bytes(damaged(rng, b"steps: 3\nlora: true\nmodel: pocket-reasoner\n"))
    else:
        keys = [str(p.name) for p in options_of(name)] + ["stepz", "no_guard", "Model", "1", ""]
        values = {rng.choice(keys): any_value(rng) for _ in range(rng.randrange(1, 4))}
        try:
            text = yaml.safe_dump(values) if rng.random() < 0.7 else json.dumps(values)
            file.write_text(text, encoding="utf-8", errors="surrogatepass")
        except (yaml.YAMLError, UnicodeError):
            file.write_text("steps: [1]\n")
    return Case("settings file", [name, "--config", "settings.yaml"])


def with_dataset(rng: random.Random, folder: Path) -> Case:
    rows = [{"prompt": f"{n} + 1 =", "answer": str(n + 1)} for n in range(6)]
    suffix = rng.choice([".jsonl", ".json", ".csv", ".txt", ".parquet", ".tsv", ".xyz", ""])
    whole = {
        ".json": json.dumps(rows),
        ".csv": "prompt,answer\n1 + 1 =,2\n2 + 1 =,3\n",
        ".txt": "1 + 1 =\n2 + 1 =\n",
    }.get(suffix, "\n".join(map(json.dumps, rows)))
    file = folder / f"data{suffix}"
    file.write_bytes(damaged(rng, whole.encode()))
    words = [rng.choice(["train", "train", "train", "diagnose"]), "--dataset", file.name]
    if rng.random() < 0.3:
        words += [rng.choice(["--prompt-column", "--answer-column", "--split"]), rng.choice(WORDS[:50])]
    return Case("dataset", words)


def with_run(rng: random.Random, folder: Path) -> Case:
    run = folder / "run"
    shutil.copytree(FIXTURE, run, ignore=shutil.ignore_patterns("eval") if rng.random() < 0.5 else None)
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        (run / name).write_text("{}")
    (run / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    facts = json.loads((run / "run.json").read_text())
    if rng.random() < 0.5:
        facts["status"] = rng.choice(["interrupted", "failed", "running"])
        (run / "run.json").write_text(json.dumps(facts))
    for _ in range(rng.randrange(1, 3)):
        file = rng.choice([path for path in sorted(run.rglob("*")) if path.is_file()])
        if rng.random() < 0.1:
            file.unlink()
        else:
            file.write_bytes(damaged(rng, file.read_bytes()))
    words = rng.choice([["train", "--resume", "run"], ["push", "run", "--to", "made"], ["push", "run", "--to", "made"]])
    return Case("run folder", [*words, *(["--dry-run"] if rng.random() < 0.3 else [])])


@cache
def whole_model() -> Path:
    from tests.hub.made import make_model

    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_model(Path(folder) / "model")


def with_model(rng: random.Random, folder: Path) -> Case:
    shutil.copytree(whole_model(), folder / "model")
    names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
    file = folder / "model" / rng.choice(names)
    if file.is_file():
        file.write_bytes(damaged(rng, file.read_bytes()))
    return Case("model folder", ["generate", "ab", "--model", "./model", "--max-new-tokens", "1", "--device", "cpu"])


def with_stdin(rng: random.Random) -> Case:
    sent = rng.choice([*BYTES, b"a\0b", b"  \n", "é".encode("latin-1"), rng.randbytes(rng.randrange(200))])
    return Case("standard input", ["generate", "-"], sent)


# How often each kind is tried, out of a hundred.
KINDS = {"option": 50, "config": 22, "dataset": 14, "run": 8, "stdin": 4, "model": 2}


def make_case(seed: int, number: int, folder: Path, kinds: Sequence[str] = tuple(KINDS)) -> Case:
    rng = random.Random(f"{seed}-{number}")
    kind = rng.choices(kinds, [KINDS[name] for name in kinds])[0]
    if kind == "option":
        return with_option(rng)
    if kind == "stdin":
        return with_stdin(rng)
    return {"config": with_config, "dataset": with_dataset, "run": with_run, "model": with_model}[kind](rng, folder)


def accepted(*args: Any, **kwargs: Any) -> None:
    """Stand in for the heavy part of a command: the input was taken for a right one."""
    raise click.exceptions.Exit(0)


def read_data(settings: Any, *args: Any, **kwargs: Any) -> None:
    """Stand in for a training run: read its dataset as the run would, and go no further."""
    from em_hf.data import local_file
    from em_hf.settings import POCKET_DATASETS
    from em_hf.training.prepare import load_data

    if settings.dataset not in POCKET_DATASETS and local_file(settings.dataset):
        load_data(settings)


@contextmanager
def light_commands() -> Iterator[None]:
    """Within: commands end where the heavy part begins."""
    from importlib import import_module

    import em_hf.data

    modules = {name: import_module(f"em_hf.cli.{name}") for name in {*COMMANDS}}

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(modules["train"], "_run", read_data))
        stack.enter_context(mock.patch.object(modules["train"], "_launch", accepted))
        stack.enter_context(mock.patch.object(modules["train"], "show_plan", accepted))
        stack.enter_context(mock.patch.object(modules["eval"], "_evaluate", accepted))
        for name in ("app", "lab", "diagnose", "train", "eval"):
            stack.enter_context(mock.patch.object(modules[name], "load_libraries", accepted))
        stack.enter_context(mock.patch.object(modules["generate"], "load_libraries", only_the_model_folder))
        stack.enter_context(mock.patch.object(em_hf.data, "from_hub", accepted))
        yield


def only_the_model_folder(source: str) -> None:
    """Let `em-hf generate` go on to load the campaign's own damaged model, and no other."""
    if source != "./model":
        accepted()


def tree(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def fault(case: Case, result: Any, before: dict[str, int], after: dict[str, int]) -> str | None:
    """Return what is wrong with how a command took a case; None where nothing is."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"an exception came out: {type(result.exception).__name__}: {str(result.exception)[:200]}"
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    errors = result.stderr
    if "Traceback" in errors:
        return "a traceback was printed"
    if result.exit_code == 0:
        return None
    lines = [line for line in errors.splitlines() if line.startswith("Error: ")]
    if len(lines) != 1 or not errors.rstrip("\n").splitlines()[-1].startswith("Error: "):
        return f"{len(lines)} error lines: {errors[-300:]!r}"
    if "--debug shows where" in lines[0]:
        return f"unexplained: {lines[0][:300]}"
    if len(lines[0]) > 1500:
        return f"an error line of {len(lines[0])} characters"
    if result.stdout:
        return f"something on stdout: {result.stdout[:100]!r}"
    if before != after:
        return f"files changed: {sorted(set(after.items()) ^ set(before.items()))[:5]}"
    return None


def try_case(seed: int, number: int, kinds: Sequence[str] = tuple(KINDS)) -> tuple[Case, Any, str | None]:
    """Run one case in a folder of its own; the case, click's result and what is wrong with it."""
    from em_hf.cli.main import cli

    home = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = make_case(seed, number, folder, kinds)
        before = tree(folder)
        os.chdir(folder)
        try:
            result = CliRunner().invoke(cli, case.words, input=case.stdin)
        finally:
            os.chdir(home)
        return case, result, fault(case, result, before, tree(folder))


def run(
    n: int,
    seed: int,
    kinds: Sequence[str] = tuple(KINDS),
    only: int | None = None,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Try `n` cases of these kinds, `jobs` processes at a time, and return the counts and the faults."""
    started = time.monotonic()
    if jobs == 1:
        parts = [run_part(range(n) if only is None else [only], seed, kinds, only is not None, say)]
    else:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            begun = [pool.submit(run_part, range(first, n, jobs), seed, kinds) for first in range(jobs)]
            parts = [part.result() for part in begun]
    tried, codes, faults = Counter[str](), Counter[str](), []
    for part in parts:
        tried, codes, faults = tried + part[0], codes + part[1], faults + part[2]
    return {
        "inputs": sum(tried.values()),
        "seed": seed,
        "kinds": dict(sorted(tried.items())),
        "exit codes": dict(sorted(codes.items())),
        "faults": len(faults),
        "seconds": round(time.monotonic() - started),
        "examples of faults": faults[:50],
    }


def to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_part(
    numbers: Sequence[int],
    seed: int,
    kinds: Sequence[str],
    show: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> tuple[Counter[str], Counter[str], list[dict[str, Any]]]:
    """Try the cases of these numbers; how many of each kind, exit codes, and the faults."""
    warnings.filterwarnings("ignore")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "critical"}
    tried, codes, faults, started = Counter[str](), Counter[str](), [], time.monotonic()
    with light_commands():
        for done, number in enumerate(numbers, 1):
            case, result, wrong = try_case(seed, number, kinds)
            tried[case.kind] += 1
            codes[str(result.exit_code)] += 1
            if wrong is not None:
                words = [word if len(word) < 100 else f"{word[:100]}…" for word in case.words]
                faults.append({"number": number, "kind": case.kind, "words": words, "fault": wrong})
                say(ascii(faults[-1]))
            if show:
                say(f"{case.words!r}\nexit code {result.exit_code}\n{result.stdout}{result.stderr}")
            if done % 500 == 0:
                say(f"{done} of {len(numbers)}: {len(faults)} faults, {time.monotonic() - started:.0f} s")
    return tried, codes, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="inputs to try (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs (default: 0)")
    parser.add_argument("--only", type=int, help="try this input alone and show what is printed")
    parser.add_argument("--output", type=Path, help="write the counts to this JSON file")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds to try (default: all; model needs PyTorch)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    options = parser.parse_args()
    found = run(options.n, options.seed, options.kinds.split(","), options.only, options.jobs, say=to_stderr)
    write_figures(options.output, "inputs", found["inputs"], found["faults"], found)
    print(json.dumps({key: value for key, value in found.items() if key != "examples of faults"}))
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
