"""EM-INF as one file for `custom_generate/`, made from `em_hf.generation`, for people who do not have em_hf.

The modules are put one after the other, without their imports of each other and without what the entry never reaches.
Nothing is imported or run here: the file is made from source text, and a push needs no torch.
"""

import ast
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from em_hf import __version__

PATH = "custom_generate/generate.py"
REQUIREMENTS_PATH = "custom_generate/requirements.txt"
# transformers reads one plain `name>=version` a line, and no more than that.
REQUIREMENTS = "torch>=2.6\ntransformers>=5.19\n"

# In an order in which each needs only those before it.
_MODULES = (
    "em_hf.entropy",
    "em_hf.generation.config",
    "em_hf.generation.trace",
    "em_hf.generation.coupling",
    "em_hf.generation.minimize",
    "em_hf.generation.processors",
    "em_hf.generation.mixin",
    "em_hf.hub.entry",
)
_ENTRY = "generate"

_HEADER = f'''"""EM-INF: entropy minimization while a transformers model decodes, in one file.

Made from em_hf {__version__}, which has it as `em_hf.generation`; Apache License 2.0. It needs torch and transformers:

    model.generate(**inputs, custom_generate=REPOSITORY, trust_remote_code=True, entropy_min=True, do_sample=True)

or, on the model of this repository:

    model = AutoModelForCausalLM.from_pretrained(REPOSITORY, trust_remote_code=True)
    model.generate(**inputs, entropy_min=True, do_sample=True)

`entropy_min` is True (the settings stored with the model, else the defaults), False, a dict of settings, or a list of
these with one entry a prompt. Paper: https://arxiv.org/abs/2505.15134
"""'''


@dataclass
class _Piece:
    """One top-level statement: its text, what it binds, and the names it uses."""

    text: str
    binds: set[str]
    uses: set[str]


@dataclass
class _Parts:
    pieces: list[_Piece] = field(default_factory=list)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (module, name there or "")


def recipe() -> str:
    """The text of `custom_generate/generate.py`.

    Raises:
        ValueError: two modules bind one name, or a part that is kept imports em_hf in its body; either is to be mended
            in `em_hf.generation`.
    """
    parts = _Parts()
    for module in _MODULES:
        _take(parts, module)
    owner: dict[str, _Piece] = {}
    for piece in parts.pieces:
        for name in piece.binds:
            if name in owner:
                raise ValueError(f"the name {name} is bound twice among {', '.join(_MODULES)}: rename one of them")
            owner[name] = piece
    kept = _reachable(owner)
    pieces = [piece for piece in parts.pieces if any(piece is one for one in kept)]
    used = set().union(*(piece.uses for piece in pieces))
    text = "\n\n\n".join([f"{_HEADER}\n\n{_import_lines(parts.imports, used)}", *(piece.text for piece in pieces)])
    return f"{text}\n"


def _take(parts: _Parts, module: str) -> None:
    """Read a module's source into `parts`."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    lines, end_before = source.splitlines(), 0
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _take_import(parts, node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # the module's docstring
            parts.pieces.append(_piece(node, lines, end_before, module))
        end_before = node.end_lineno or 0


def _take_import(parts: _Parts, node: ast.Import | ast.ImportFrom) -> None:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            if not (node.module or "").startswith("em_hf"):
                parts.imports[alias.asname or alias.name] = (node.module or "", alias.name)
        else:
            parts.imports[alias.asname or alias.name] = (alias.name, "")


def _piece(node: ast.stmt, lines: list[str], end_before: int, module: str) -> _Piece:
    """A statement with the comment that stands right above it."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    while first > end_before and lines[first - 1].startswith("#"):
        first -= 1
    inner = [one for one in ast.walk(node) if isinstance(one, ast.ImportFrom | ast.Import)]
    uses = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    for one in ast.walk(node):  # names in string annotations, as in `-> "EntropyMinConfig"`
        for noted in (getattr(one, "annotation", None), getattr(one, "returns", None)):
            if isinstance(noted, ast.Constant) and isinstance(noted.value, str):
                uses |= {name.id for name in ast.walk(ast.parse(noted.value)) if isinstance(name, ast.Name)}
    if any((getattr(one, "module", None) or one.names[0].name).startswith("em_hf") for one in inner):
        uses.add(f"import of em_hf inside {module}")
    return _Piece("\n".join(lines[first : node.end_lineno]), _bound(node), uses)


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}


def _reachable(owner: dict[str, _Piece]) -> list[_Piece]:
    """The pieces that the entry needs, itself among them."""
    kept: list[_Piece] = []
    names = [_ENTRY]
    while names:
        name = names.pop()
        if name.startswith("import of em_hf"):
            raise ValueError(f"custom_generate must not need em_hf, but there is an {name}")
        piece = owner.get(name)
        if piece is not None and not any(piece is one for one in kept):
            kept.append(piece)
            names.extend(piece.uses)
    return kept


def _import_lines(imports: dict[str, tuple[str, str]], used: set[str]) -> str:
    """Import statements for the names that are used: the standard library first, then torch and transformers."""
    plain, named = set(), dict[str, list[str]]()
    for name, (module, original) in imports.items():
        if name not in used and name.split(".")[0] not in used:
            continue
        if not original:
            plain.add(f"import {module}" + (f" as {name}" if name != module else ""))
        else:
            named.setdefault(module, []).append(original + (f" as {name}" if name != original else ""))
    lines = [*plain, *(f"from {module} import {', '.join(sorted(names))}" for module, names in named.items())]
    third = [line for line in lines if line.split()[1].split(".")[0] in ("torch", "transformers")]
    groups = [set(lines) - set(third), set(third)]
    in_order = (sorted(group, key=lambda line: (line.startswith("from"), line)) for group in groups)
    return "\n\n".join("\n".join(group) for group in in_order)
