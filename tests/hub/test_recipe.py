"""`custom_generate/generate.py`: one file, and what it decodes is what em_hf decodes, token for token."""

import ast
import json
import shutil
import subprocess
import sys
import venv
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.dynamic_module_utils import get_imports

from em_hf import CoupledSampling, EntropyMinConfig, EntropyTrace, enable_entropy_min
from em_hf.hub import write_repository
from em_hf.hub.card import RECIPE_FILE
from em_hf.hub.export import custom_generate_text
from tests.hub.conftest import TOKEN, Pusher, environment, repo_of
from tests.hub.made import record
from tests.hub.server import Hub

ROOT = Path(__file__).parents[2]
SAMPLE: dict[str, Any] = {"do_sample": True, "top_k": 0, "max_new_tokens": 12, "pad_token_id": 0}
PROMPTS = ["Tom has 5 apples", "Ann buys 12 pens and gives 4 away"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The recipe, imported from its file as transformers does."""
    path = tmp_path_factory.mktemp("recipe") / "generate.py"
    path.write_text(custom_generate_text())
    spec = spec_from_file_location("recipe_under_test", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    return AutoTokenizer.from_pretrained(model, padding_side="left")


@pytest.fixture
def inputs(tokenizer: Any) -> dict[str, torch.Tensor]:
    return dict(tokenizer(PROMPTS, return_tensors="pt", padding=True))


@pytest.fixture
def plain(model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model).eval()


@pytest.fixture
def enabled(model: Path) -> Any:
    return enable_entropy_min(AutoModelForCausalLM.from_pretrained(model).eval())


def seeded(call: Any, *args: Any, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return call(*args, **kwargs)


def test_it_imports_the_standard_library_torch_and_transformers_only(tmp_path: Path) -> None:
    (tmp_path / "generate.py").write_text(custom_generate_text())
    imported = set(get_imports(tmp_path / "generate.py"))
    assert imported - set(sys.stdlib_module_names) == {"torch", "transformers"}
    inner = [
        node for node in ast.walk(ast.parse(custom_generate_text())) if isinstance(node, ast.ImportFrom | ast.Import)
    ]
    names = {getattr(node, "module", None) or node.names[0].name for node in inner}
    assert not any(name.startswith("em_hf") for name in names)


def test_making_it_needs_no_torch() -> None:
    code = "import sys; from em_hf.hub.export import custom_generate_text as c; c(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_it_is_the_whole_of_config_and_minimize_and_a_short_entry() -> None:
    """A reader finds em_hf's files in it line for line, but for imports, docstrings of modules, and examples."""
    lines = set(custom_generate_text().splitlines())
    for part in ("generation/config.py", "generation/minimize.py", "hub/custom_generate.py"):
        source = (ROOT / "em_hf" / part).read_text()
        tree = ast.parse(source)
        left_out = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)]
        gone = {number for node in left_out for number in range(node.lineno, (node.end_lineno or 0) + 1)}
        for node in ast.walk(tree):  # an example is the last part of a docstring
            text = ast.get_docstring(node, clean=False) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
            if text and "Example:" in text:
                end = node.body[0].end_lineno or 0
                gone |= set(range(end - text[text.index("Example:") :].count("\n"), end))
        kept = {line for number, line in enumerate(source.splitlines(), 1) if number not in gone}
        assert kept <= lines, part
    assert len(custom_generate_text().splitlines()) <= 500


def test_no_name_is_bound_twice_in_it() -> None:
    """The modules share one namespace there."""
    names: Counter[str] = Counter()
    for node in ast.parse(custom_generate_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] += 1
        elif isinstance(node, ast.Assign):
            names.update({n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)})
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize(
    "settings",
    [
        True,
        {"n_grad_steps": 10, "kl_weight": 0.0},
        {"threshold": 2.5},
        {"learning_rate": 0.7, "n_grad_steps": 1},
        {"optimizer": "sgd", "learning_rate": 3.0, "n_grad_steps": 5},
        {"method": "adaptive_temperature"},
        {"method": "adaptive_temperature", "target_ratio": 0.2, "tmin": 0.1, "tmax": 0.9, "tol": 0.01, "max_iter": 7},
        [False, True],
        [{"n_grad_steps": 20}, {"method": "adaptive_temperature"}],
    ],
    ids=str,
)
@pytest.mark.parametrize("compiled", [False, True])
def test_it_decodes_as_em_hf_does(
    settings: Any,
    compiled: bool,
    made: ModuleType,
    plain: Any,
    enabled: Any,
    inputs: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit with em_hf's plain way, which is the same code; within rounding of its compiled one."""
    if not compiled:
        monkeypatch.setattr("em_hf.generation.minimize._has_backend", lambda device_type: False)
    call = {**inputs, **SAMPLE, "entropy_min": settings, "num_return_sequences": 2, "output_scores": True}
    call |= {"return_dict_in_generate": True}
    ours = seeded(enabled.generate, **call)
    theirs = seeded(made.generate, model=plain, **call)
    assert torch.equal(theirs.sequences, ours.sequences)
    for a, b in zip(theirs.scores, ours.scores, strict=True):
        assert torch.equal(a, b) or (compiled and (a.softmax(-1) - b.softmax(-1)).abs().max() < 1e-5)
    assert ours.entropy_trace.adjusted.any(), "nothing was changed, so nothing was compared"
    off = seeded(plain.generate, **{**call, "entropy_min": None})
    assert not torch.equal(off.sequences, ours.sequences)


def test_em_hfs_own_config_may_be_passed(made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]) -> None:
    call = {**inputs, **SAMPLE}
    given = seeded(made.generate, model=plain, entropy_min=EntropyMinConfig(n_grad_steps=9), **call)
    assert torch.equal(given, seeded(made.generate, model=plain, entropy_min={"n_grad_steps": 9}, **call))
    assert torch.equal(
        given, seeded(made.generate, model=plain, entropy_min=made.EntropyMinConfig(n_grad_steps=9), **call)
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"entropy_min": [True]}, "entropy_min has 1 entries for 2 prompts"),
        ({"entropy_min": [True, False, True]}, "entropy_min has 3 entries for 2 prompts"),
        ({"entropy_min": "on"}, "entropy_min is 'on', which is not JSON"),
        ({"entropy_min": {"n_grad_steps": 1000}}, "n_grad_steps is 1000"),
        ({"entropy_min": {"treshold": 1}}, "has no field 'treshold'"),
        ({"entropy_min": True, "num_beams": 2}, "not with beams"),
        ({"entropy_min": True, "prompt_lookup_num_tokens": 2}, "assisted decoding: leave prompt_lookup_num_tokens out"),
        ({"entropy_min": True, "cache_implementation": "paged"}, "paged cache"),
        ({"entropy_trace": EntropyTrace()}, "entropy_trace= needs em-hf"),
        ({"entropy_min": True, "coupled": CoupledSampling(3)}, "coupled= needs em-hf"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    call: dict[str, Any], says: str, made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        made.generate(model=plain, **inputs, **SAMPLE, **call)
    assert "\n" not in str(raised.value)


def test_off_is_off_with_beams_too(made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]) -> None:
    call = {**inputs, "num_beams": 2, "max_new_tokens": 4, "pad_token_id": 0}
    for off in (False, None, [False, False]):
        assert torch.equal(made.generate(model=plain, entropy_min=off, **call), plain.generate(**call))


def test_what_holds_for_the_call_may_come_from_any_config(
    made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]
) -> None:
    """Settings, beams and the number of sequences: from the argument, the given config or the model's own."""
    given = GenerationConfig(**SAMPLE, num_return_sequences=2)
    given.entropy_min_config = {"n_grad_steps": 40}
    ours = seeded(made.generate, model=plain, **inputs, generation_config=given, entropy_min=[True, False])
    call = {**inputs, **SAMPLE, "num_return_sequences": 2}
    assert torch.equal(ours, seeded(made.generate, model=plain, **call, entropy_min=[{"n_grad_steps": 40}, False]))
    plain.generation_config.num_beams = 2
    with pytest.raises(ValueError, match="not with beams"):
        made.generate(model=plain, **inputs, **SAMPLE, entropy_min=True)


def test_greedy_decoding_is_warned_of(made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]) -> None:
    call = {**inputs, "max_new_tokens": 4, "pad_token_id": 0, "do_sample": False}
    with pytest.warns(UserWarning, match="pass do_sample=True"):
        assert torch.equal(made.generate(model=plain, entropy_min=True, **call), plain.generate(**call))


def test_every_setting_is_known_to_it(made: ModuleType) -> None:
    values = EntropyMinConfig(threshold=0.7, optimizer="sgd", max_iter=9).to_dict()
    assert made.EntropyMinConfig.from_dict(values).to_dict() == values
    with pytest.raises(ValueError, match="EntropyMinConfig has no field 'treshold'"):
        made.EntropyMinConfig.from_dict({"treshold": 1})


def test_the_stored_settings_are_used(made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]) -> None:
    plain.generation_config.entropy_min_config = {"n_grad_steps": 40}
    stored = seeded(made.generate, model=plain, entropy_min=True, **inputs, **SAMPLE)
    given = seeded(made.generate, model=plain, entropy_min={"n_grad_steps": 40}, **inputs, **SAMPLE)
    default = seeded(made.generate, model=plain, entropy_min={}, **inputs, **SAMPLE)
    assert torch.equal(stored, given)
    assert not torch.equal(stored, default)


def test_without_entropy_min_it_is_transformers_own(
    made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]
) -> None:
    expected = seeded(plain.generate, **inputs, **SAMPLE)
    assert torch.equal(seeded(made.generate, model=plain, **inputs, **SAMPLE), expected)
    assert torch.equal(seeded(made.generate, model=plain, entropy_min=False, **inputs, **SAMPLE), expected)


def test_the_arguments_about_loading_are_not_handed_on(
    made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]
) -> None:
    loading = {"revision": "main", "token": None, "cache_dir": "x", "subfolder": "", "local_files_only": True}
    expected = seeded(made.generate, model=plain, entropy_min=True, **inputs, **SAMPLE)
    assert torch.equal(seeded(made.generate, model=plain, entropy_min=True, **loading, **inputs, **SAMPLE), expected)


def test_the_model_is_not_changed(made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]) -> None:
    own, attributes = type(plain), set(plain.__dict__)
    made.generate(model=plain, entropy_min=True, **inputs, **SAMPLE)
    assert type(plain) is own
    assert set(plain.__dict__) == attributes
    with pytest.raises(ValueError, match="model_kwargs"):
        plain.generate(entropy_min=True, **inputs, **SAMPLE)


def test_it_and_em_hf_may_be_in_one_model(
    enabled: Any, model: Path, inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """A user of em_hf who asks for a repository's code gets what that code gives."""
    folder = tmp_path / "repository"
    (folder / "custom_generate").mkdir(parents=True)
    (folder / RECIPE_FILE).write_text(custom_generate_text())
    (folder / "README.md").write_text("")
    call = {**inputs, **SAMPLE, "entropy_min": True}
    expected = seeded(enabled.generate, **call)
    asked = seeded(enabled.generate, **call, custom_generate=str(folder), trust_remote_code=True)
    assert torch.equal(asked, expected)


def test_a_repository_always_brings_it(model: Path, tmp_path: Path) -> None:
    write_repository(record(Path(shutil.copytree(model, tmp_path / "run"))), tmp_path / "out")
    assert (tmp_path / "out" / RECIPE_FILE).read_text() == custom_generate_text()
    requirements = (tmp_path / "out" / "custom_generate" / "requirements.txt").read_text()
    assert requirements == "torch>=2.6\ntransformers>=5.19\n"
    assert "- custom_generate\n" in (tmp_path / "out" / "README.md").read_text()


# What a stranger runs: no em_hf, an empty cache, the repository by its name.
STRANGER = """if True:
    import importlib.util, json, sys
    assert importlib.util.find_spec("em_hf") is None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.generation.streamers import BaseStreamer

    repo, sample, prompts = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(repo, padding_side="left")
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    one = tokenizer(prompts[:1], return_tensors="pt").input_ids
    loaded = AutoModelForCausalLM.from_pretrained(repo, trust_remote_code=True)
    other = AutoModelForCausalLM.from_pretrained(repo)
    by_name = dict(custom_generate=repo, trust_remote_code=True)

    class Count(BaseStreamer):
        tokens = 0
        def put(self, value): self.tokens += 1
        def end(self): pass

    def run(call, *args, **kwargs):
        torch.manual_seed(0)
        return call(*args, **kwargs, **sample).tolist()

    streamers = Count(), Count()
    print(json.dumps({
        "loaded": run(loaded.generate, **inputs, entropy_min=True),
        "loaded, positional": run(loaded.generate, one, entropy_min=True),
        "loaded, off": run(loaded.generate, **inputs),
        "loaded, streamed": run(loaded.generate, one, entropy_min=True, streamer=streamers[0]),
        "by name": run(other.generate, **inputs, **by_name, entropy_min=True),
        "by name, positional": run(other.generate, one, **by_name, entropy_min=True),
        "by name, revision and token": run(
            other.generate, **inputs, **by_name, entropy_min=True, revision="main", token=sys.argv[2]
        ),
        "by name, streamed": run(other.generate, one, **by_name, entropy_min=True, streamer=streamers[1]),
        "by name, settings": run(other.generate, **inputs, **by_name, entropy_min={"n_grad_steps": 30}),
        "streamed": [streamer.tokens for streamer in streamers],
    }))
"""


def test_a_stranger_without_em_hf_decodes_the_same(
    run: Path, hub: Hub, push: Pusher, enabled: Any, inputs: dict[str, torch.Tensor], tokenizer: Any, tmp_path: Path
) -> None:
    assert push(run).code == 0
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    packages = Path(torch.__file__).parents[1]
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(f"{packages}\n")  # the libraries, and not the .pth file that adds em_hf
    told = json.dumps([repo_of(run), SAMPLE, PROMPTS])
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", STRANGER, told, TOKEN],
        env={**environment(hub, tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout.splitlines()[-1])

    ours = enable_entropy_min(AutoModelForCausalLM.from_pretrained(run).eval())
    one = tokenizer(PROMPTS[:1], return_tensors="pt").input_ids
    batch = seeded(ours.generate, **inputs, **SAMPLE, entropy_min=True).tolist()
    alone = seeded(ours.generate, one, **SAMPLE, entropy_min=True).tolist()
    off = seeded(ours.generate, **inputs, **SAMPLE).tolist()
    assert batch != off
    assert got["loaded"] == got["by name"] == got["by name, revision and token"] == batch
    assert got["loaded, positional"] == got["by name, positional"] == alone
    assert got["loaded, streamed"] == got["by name, streamed"] == alone
    assert got["streamed"] == [13, 13], "the prompt and 12 tokens"
    assert got["loaded, off"] == off
    assert (
        got["by name, settings"] == seeded(ours.generate, **inputs, **SAMPLE, entropy_min={"n_grad_steps": 30}).tolist()
    )
