"""Detection of lm-eval tasks that would run programs or scripts on this machine, without importing their code."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Modules, builtins and `os` functions through which a task's code can run other code.
_RUNNERS = {"subprocess", "multiprocessing", "pty", "runpy", "code_eval"}
_BUILTINS = {"exec", "compile"}
_OS_CALLS = ("system", "popen", "exec", "spawn", "posix_spawn", "fork")


def refuse_programs(names: tuple[str, ...], index: Mapping[str, Any]) -> None:
    """Refuse tasks that run model-written code outside our sandbox, or that would import from the current folder.

    A task is refused if it is marked `unsafe_code`, or if the Python files that its YAML names run programs or use
    Hugging Face's `code_eval`. The evaluate library loads a metric script from the current folder if there is one of
    that name; that is refused too.

    Args:
        names: names of tasks, groups and tags.
        index: lm-eval's `TaskManager.task_index`.

    Raises:
        ValueError: a task would do so; the message names the task and the reason.
    """
    for name, config in _configs(names, index, set()):
        why = _why(config)
        if why:
            raise ValueError(
                f"{name} {why}, outside em-hf's sandbox: use em-hf's own humaneval, mbpp, livecodebench or leetcode "
                "(--list shows all)"
            )
        for metric in _metric_scripts(config):
            if Path(metric).exists():
                raise ValueError(
                    f"{name} uses the metric {metric!r}, and the evaluate library would run {Path(metric)} of the "
                    "current folder in its place: start em-hf in another folder"
                )


def _configs(names: Any, index: Mapping[str, Any], seen: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each task's name and settings, including those in groups and tags; functions are paths, not imported."""
    for name in names:
        if isinstance(name, dict):
            yield str(name.get("task", name.get("group", "a task"))), name
            inner = name.get("task")
            yield from _configs(inner if isinstance(inner, list) else [inner] if inner else [], index, seen)
            continue
        entry = index.get(name)
        if entry is None or name in seen:
            continue
        seen.add(name)
        config = _config(entry)
        yield name, config
        yield from _configs(sorted(entry.tags or ()), index, seen)
        inner = config.get("task")
        yield from _configs(inner if isinstance(inner, list) else [], index, seen)


def _config(entry: Any) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    if entry.yaml_path is None:
        return dict(entry.cfg or {})
    return load_yaml(entry.yaml_path, resolve_func=False)


def _why(config: Mapping[str, Any]) -> str:
    if config.get("unsafe_code"):
        return "runs the programs that the model writes"
    for path in _files(config):
        if (found := _runs_code(path)) is not None:
            return f"runs programs ({path.name}, line {found})"
    return ""


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _files(config: Mapping[str, Any]) -> set[Path]:
    """Return the Python files that the settings name (`/folder/utils.function`) and the neighbours that they import."""
    waiting = []
    for text in _strings(config):
        path = Path(text.rpartition(".")[0] + ".py") if text.startswith("/") and "." in text else None
        if path is not None and path.is_file():
            waiting.append(path)
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _neighbours(path)
    return found


def _neighbours(path: Path) -> list[Path]:
    near = []
    for node in ast.walk(_parsed(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        near += [path.parent / f"{name.rpartition('.')[2]}.py" for name in names if name]
    return [one for one in near if one.is_file()]


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _runs_code(path: Path) -> int | None:
    """Return a line where a file runs other code, or None if it does not."""
    for node in ast.walk(_parsed(path)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        runs = any(module.split(".")[0] in _RUNNERS for module in modules)
        if isinstance(node, ast.Constant):
            runs = node.value == "code_eval"
        if isinstance(node, ast.Call):
            runs = isinstance(node.func, ast.Name) and node.func.id in _BUILTINS
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                runs = node.func.value.id == "os" and node.func.attr.startswith(_OS_CALLS)
        if runs:
            return node.lineno  # type: ignore[attr-defined]
    return None


def _metric_scripts(config: Mapping[str, Any]) -> set[str]:
    """Return the names of metrics that the evaluate library loads for a task."""
    from lm_eval.api.registry import metric_registry

    found = set()
    for metric in config.get("metric_list") or []:
        name = metric.get("metric") if isinstance(metric, Mapping) else None
        if isinstance(name, str) and (metric.get("hf_evaluate") or name not in metric_registry):
            found.add(name)
    for path in _files(config):
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                owner = node.func.value
                if isinstance(owner, ast.Name) and "evaluate" in owner.id and node.args:
                    name = node.args[0]
                    found |= {name.value} if isinstance(name, ast.Constant) and isinstance(name.value, str) else set()
    return found
