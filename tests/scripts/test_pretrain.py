"""Pre-training: a loadable folder, the same weights for the same seed, going on after a stop, and what is learned."""

import re
from pathlib import Path
from random import Random

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from em_hf.pocket import tokenizer as tokenizer_module
from em_hf.pocket.problems import problems
from em_hf.pocket.tokenizer import build_tokenizer
from scripts import pretrain as module
from scripts.muon import orthogonal
from scripts.pretrain import Batches, learning_rate, main, pretrain, steps_before_decay, typed


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module", autouse=True)
def small() -> object:
    """Little data and few tokens at a time: what is tested is how it goes, not what it leads to."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "TOKENS", 256)
    patch.setattr(module, "POOL", 16)
    patch.setattr(tokenizer_module, "TEXTS", 300)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket") / "made"
    pretrain(folder, steps=6, seed=0, workers=1, progress=False)
    return folder


def test_it_writes_a_small_llama_that_generates(made: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    assert type(model) is LlamaForCausalLM and model.config.vocab_size % 64 == 0
    assert (made / "model.safetensors").stat().st_size < 12_000_000
    assert not list(made.glob("checkpoint-*"))
    prompt = tokenizer("Tom has 12 apples.", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=3, min_new_tokens=3).shape[1] == prompt.input_ids.shape[1] + 3


def test_the_same_seed_gives_the_same_weights_and_another_others(made: Path, tmp_path: Path) -> None:
    pretrain(tmp_path / "again", steps=6, seed=0, workers=1, progress=False)
    pretrain(tmp_path / "other", steps=6, seed=1, workers=1, progress=False)
    assert same(made, tmp_path / "again")
    one, other = weights(made), weights(tmp_path / "other")
    assert not any(torch.equal(one[name], other[name]) for name in one if "proj" in name)


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT", 2)

    def stop(step: int, *_: object) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path, steps=6, seed=0, workers=1, progress=False, on_step=stop)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-2-0.pt", "checkpoint-4-0.pt"]
    done: list[int] = []
    pretrain(tmp_path, steps=6, seed=0, workers=1, progress=False, on_step=lambda step, *_: done.append(step))
    assert done == [5, 6] and same(made, tmp_path)


def test_two_workers_end_with_one_model_of_both_their_data(made: Path, tmp_path: Path) -> None:
    pretrain(tmp_path, steps=2, seed=0, workers=2, progress=False)
    assert weights(tmp_path).keys() == weights(made).keys() and not same(made, tmp_path)


def test_the_loss_is_on_the_solution_and_its_end_alone() -> None:
    tokenizer = build_tokenizer()
    data = Batches(tokenizer, seed=0)
    for _ in range(16):
        ids, labels = data.next(slips=False)
        assert ids.shape == labels.shape
        for row, label in zip(ids.tolist(), labels.tolist()):
            learned = tokenizer.decode([i for i in label if i != -100])
            assert tokenizer.decode(row).replace("<|pad|>", "").endswith(learned)
            assert re.fullmatch(r"\n.*\n#### \d+<\|end\|>", learned, re.DOTALL) and "####" not in learned[:-20]


def test_slips_are_made_when_asked_for_and_only_then() -> None:
    tokenizer = build_tokenizer()

    def wrong(slips: bool) -> float:
        data, found, seen = Batches(tokenizer, seed=0), 0, 0
        for _ in range(60):
            for label in data.next(slips=slips)[1]:
                for a, sign, b, c in re.findall(
                    r"(\d+) ([-+×÷]) (\d+) = (\d+)", tokenizer.decode(label[label != -100])
                ):
                    right = {"+": int(a) + int(b), "-": int(a) - int(b), "×": int(a) * int(b), "÷": int(a) / int(b)}[
                        sign
                    ]
                    found, seen = found + (right != int(c)), seen + 1
        return found / seen

    assert wrong(slips=False) == 0
    assert 0.09 < wrong(slips=True) < 0.19


def test_the_training_problems_are_none_of_the_other_splits() -> None:
    tokenizer = build_tokenizer()
    data = Batches(tokenizer, seed=0)
    held_out = {row["prompt"] for split in ("validation", "test") for row in problems(split, 2000, 0)}
    for _ in range(40):
        for row in data.next(slips=False)[0]:
            assert tokenizer.decode(row, skip_special_tokens=True).split("\n")[0] not in held_out


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    rates = [learning_rate(step, 1000) for step in range(1001)]
    assert rates[0] < 0.05 and rates[100] == rates[400] == 1.0 and rates[1000] == 0.0
    assert steps_before_decay(1000) == 500 and rates[750] == pytest.approx(0.5)


def test_prompts_are_typed_as_people_do_now_and_then() -> None:
    rng = Random(0)
    made = [typed("Tom has 3 nuts. How many?", rng) for _ in range(2000)]
    assert 1700 < made.count("Tom has 3 nuts. How many?") < 1950
    assert {"tom has 3 nuts. how many?", "Tom has 3 nuts. How many"} <= set(made)


def test_muons_direction_has_the_vectors_of_the_gradient_and_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((8, 8), (8, 20), (20, 8)):
        matrix = torch.randn(shape)
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        made = left.T @ orthogonal(matrix, steps=8) @ right.T
        values = made.diagonal()
        assert ((values > 0.6) & (values < 1.3)).all()
        assert (made - torch.diag(values)).abs().max() < 0.05


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        pretrain(tmp_path / "file" / "out", steps=10**9, progress=False)


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--seed", "-1"]])
def test_wrong_options_are_refused_before_anything_is_written(wrong: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert CliRunner().invoke(main, ["--output", str(folder), *wrong]).exit_code == 2
    assert not folder.exists()
