"""`custom_generate/generate.py`: one file, and what it decodes is what em_hf decodes, token for token."""

import ast
import json
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.dynamic_module_utils import get_imports
from transformers.generation.streamers import BaseStreamer

from em_hf import CoupledSampling, EntropyMinConfig, EntropyTrace, enable_entropy_min
from em_hf.hub import custom_generate
from em_hf.hub.repository import plan_repository
from em_hf.hub.runs import read_run
from tests.hub.conftest import TOKEN, Pusher, environment, repo_of
from tests.hub.made import record
from tests.hub.server import Hub

SAMPLE: dict[str, Any] = {"do_sample": True, "top_k": 0, "max_new_tokens": 12, "pad_token_id": 0}
PROMPTS = ["Tom has 5 apples", "Ann buys 12 pens and gives 4 away"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The recipe, imported from its file as transformers does."""
    path = tmp_path_factory.mktemp("recipe") / "generate.py"
    path.write_text(custom_generate.recipe())
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
    (tmp_path / "generate.py").write_text(custom_generate.recipe())
    imported = set(get_imports(tmp_path / "generate.py"))
    assert imported - set(sys.stdlib_module_names) == {"torch", "transformers"}
    inner = [
        node for node in ast.walk(ast.parse(custom_generate.recipe())) if isinstance(node, ast.ImportFrom | ast.Import)
    ]
    names = {getattr(node, "module", None) or node.names[0].name for node in inner}
    assert not any(name.startswith("em_hf") for name in names)


def test_making_it_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; from em_hf.hub.custom_generate import recipe; recipe(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


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
def test_it_decodes_as_em_hf_does(
    settings: Any, made: ModuleType, plain: Any, enabled: Any, inputs: dict[str, torch.Tensor]
) -> None:
    call = {**inputs, **SAMPLE, "return_dict_in_generate": True, "entropy_min": settings, "num_return_sequences": 2}
    ours = seeded(enabled.generate, **call)
    theirs = seeded(made.generate, model=plain, **call)
    assert torch.equal(theirs.sequences, ours.sequences)
    for column in ("before", "after", "adjusted"):
        torch.testing.assert_close(
            getattr(theirs.entropy_trace, column), getattr(ours.entropy_trace, column), rtol=0, atol=0, equal_nan=True
        )
    assert ours.entropy_trace.adjusted.any(), "nothing was changed, so nothing was compared"
    off = seeded(plain.generate, **{**call, "entropy_min": None})
    assert not torch.equal(off.sequences, ours.sequences)


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


def test_a_trace_and_coupled_noise_may_be_passed(
    made: ModuleType, plain: Any, enabled: Any, inputs: dict[str, torch.Tensor]
) -> None:
    ours, theirs = EntropyTrace(), made.EntropyTrace()
    call = {**inputs, **SAMPLE, "entropy_min": [False, True]}
    a = enabled.generate(**call, entropy_trace=ours, coupled=CoupledSampling(3))
    b = made.generate(model=plain, **call, entropy_trace=theirs, coupled=made.CoupledSampling(3))
    assert torch.equal(a, b)
    assert len(theirs) == len(ours) == 12
    assert torch.equal(theirs.adjusted, ours.adjusted)


def test_the_model_has_its_own_class_again_afterwards(
    made: ModuleType, plain: Any, inputs: dict[str, torch.Tensor]
) -> None:
    own, attributes = type(plain), set(plain.__dict__)
    made.generate(model=plain, entropy_min=True, **inputs, **SAMPLE)
    assert type(plain) is own
    with pytest.raises(ValueError, match="n_grad_steps is 1000"):
        made.generate(model=plain, entropy_min={"n_grad_steps": 1000}, **inputs, **SAMPLE)
    assert type(plain) is own
    assert set(plain.__dict__) == attributes
    with pytest.raises(ValueError, match="model_kwargs"):
        plain.generate(entropy_min=True, **inputs, **SAMPLE)


class Held(BaseStreamer):
    """Stops its generation in the middle until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go, self.tokens = threading.Event(), threading.Event(), 0

    def put(self, value: torch.Tensor) -> None:
        self.tokens += 1
        if self.tokens == 4:
            self.reached.set()
            assert self.go.wait(60)

    def end(self) -> None:
        pass


def test_a_call_that_ends_within_another_does_not_switch_it_off(made: ModuleType, plain: Any, tokenizer: Any) -> None:
    own, trace, held = type(plain), made.EntropyTrace(), Held()
    one = tokenizer(PROMPTS[:1], return_tensors="pt")

    def long() -> None:
        call = {**SAMPLE, "entropy_min": {"threshold": 0.0}, "entropy_trace": trace, "streamer": held}
        made.generate(model=plain, **one, **call)

    thread = threading.Thread(target=long)
    thread.start()
    assert held.reached.wait(60)
    short = made.EntropyTrace()
    made.generate(model=plain, **one, **{**SAMPLE, "max_new_tokens": 3}, entropy_min=True, entropy_trace=short)
    assert type(plain) is not own, "the long call is still running"
    held.go.set()
    thread.join(60)
    assert (len(short), len(trace)) == (3, 12)
    assert trace.adjusted.all()
    assert type(plain) is own


def test_it_and_em_hf_may_be_in_one_model(
    enabled: Any, model: Path, inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """A user of em_hf who asks for a repository's code gets what that code gives."""
    folder = tmp_path / "repository"
    (folder / "custom_generate").mkdir(parents=True)
    (folder / custom_generate.PATH).write_text(custom_generate.recipe())
    (folder / "README.md").write_text("")
    call = {**inputs, **SAMPLE, "entropy_min": True}
    expected = seeded(enabled.generate, **call)
    asked = seeded(enabled.generate, **call, custom_generate=str(folder), trust_remote_code=True)
    assert torch.equal(asked, expected)


def test_a_repository_always_brings_it(model: Path, tmp_path: Path) -> None:
    import shutil

    files = plan_repository(read_run(record(Path(shutil.copytree(model, tmp_path / "run"))))).files
    assert files[custom_generate.PATH] == custom_generate.recipe().encode()
    assert files["custom_generate/requirements.txt"] == b"torch>=2.6\ntransformers>=5.19\n"
    assert b"- custom_generate\n" in bytes(files["README.md"])  # type: ignore[arg-type]


@pytest.fixture
def fake_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(custom_generate, "_MODULES", ("first_part", "second_part"))
    yield tmp_path


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("def step(): ...", "def step(): ...\ndef generate(): step()", "the name step is bound twice"),
        ("def step():\n    from em_hf.x import y", "def generate(): step()", "import of em_hf inside first_part"),
    ],
)
def test_modules_that_cannot_be_joined_are_named(first: str, second: str, says: str, fake_modules: Path) -> None:
    (fake_modules / "first_part.py").write_text(first)
    (fake_modules / "second_part.py").write_text(second)
    with pytest.raises(ValueError, match=says):
        custom_generate.recipe()


def test_what_the_entry_never_reaches_is_left_out_and_comments_stay(fake_modules: Path) -> None:
    (fake_modules / "first_part.py").write_text(
        "import json\nimport math\n\n# Why two.\nTWO = math.sqrt(4)\n\n\ndef unused():\n    return json.dumps(1)\n"
    )
    (fake_modules / "second_part.py").write_text("from first_part import TWO\n\n\ndef generate():\n    return TWO\n")
    text = custom_generate.recipe()
    assert "# Why two.\nTWO = math.sqrt(4)" in text
    assert "import math" in text
    assert "unused" not in text and "json" not in text


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
