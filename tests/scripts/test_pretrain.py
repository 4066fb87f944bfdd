"""Pre-training: a loadable folder, the same weights for the same seed, and a model that learns."""

from itertools import islice, pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from em_hf.pocket import LEVELS, POCKET_REASONER, em_inf_settings, problems
from em_hf.pocket.problems import split_of
from em_hf.pocket.tokenizer import build_tokenizer
from scripts.pretrain import SLIPS_FROM, Plan, Row, batches, main, orthogonal, padded, pretrain, rate, sums
from tests.pocket.test_problems import equations, value


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket") / "made"
    pretrain(folder, steps=3, seed=0, batch=4, progress=False)
    return folder


def test_it_writes_a_folder_like_the_packaged_one(made: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    packaged = AutoModelForCausalLM.from_pretrained(POCKET_REASONER)
    assert {p.name for p in made.iterdir()} == {p.name for p in POCKET_REASONER.iterdir()}
    # The packaged vocabulary has some words that the stories no longer use.
    sizes = {"vocab_size": packaged.config.vocab_size}
    assert model.config.to_diff_dict() | sizes == packaged.config.to_diff_dict()
    stored = {"entropy_min_config": em_inf_settings()}  # chosen once the model is made
    assert model.generation_config.to_diff_dict() | stored == packaged.generation_config.to_diff_dict()
    prompt = tokenizer("Tom has 12 apples.", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=3, min_new_tokens=3).shape[1] == prompt.input_ids.shape[1] + 3


def test_the_same_seed_gives_the_same_weights_bit_for_bit(made: Path, tmp_path: Path) -> None:
    pretrain(tmp_path, steps=3, seed=0, batch=4, progress=False)
    one, other = weights(made), weights(tmp_path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_gives_other_weights(made: Path, tmp_path: Path) -> None:
    pretrain(tmp_path, steps=3, seed=1, batch=4, progress=False)
    one, other = weights(made), weights(tmp_path)
    assert not any(torch.equal(one[name], other[name]) for name in one if "proj" in name)


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(tmp_path / "whole", steps=4, seed=0, batch=4, saved_every=2, progress=False)
    stopped = tmp_path / "stopped"
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="stopped here"):
        pretrain(stopped, steps=4, seed=0, batch=4, saved_every=2, progress=False, stop_after=3)
    assert (stopped / "checkpoint.pt").is_file() and not (stopped / "config.json").exists()
    pretrain(stopped, steps=4, seed=0, batch=4, saved_every=2, progress=False)
    assert not (stopped / "checkpoint.pt").exists()
    one, other = weights(tmp_path / "whole"), weights(stopped)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_workers_take_the_step_of_one_with_both_their_problems() -> None:
    """The direction of a matrix is that of the mean gradient, whichever worker computes it."""
    torch.manual_seed(0)
    for shape in ((12, 12), (12, 30), (30, 12)):
        matrix = torch.randn(shape)
        found = torch.linalg.svdvals(orthogonal(matrix))
        assert 0.6 < found.min() and found.max() < 1.3
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        assert torch.nn.functional.cosine_similarity((u @ v).flatten(), orthogonal(matrix).flatten(), dim=0) > 0.95


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    rates = [rate(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01 and rates[99:300] == [1.0] * 201
    assert all(a > b for a, b in pairwise(rates[300:])) and rates[-1] < 0.002


def test_the_loss_is_on_the_solution_and_its_end_alone() -> None:
    tokenizer = build_tokenizer()
    plan = Plan(Path(), steps=1000, seed=0, workers=1, batch=8, progress=False)
    for rows in islice(batches(tokenizer, plan, 0), 16):
        ids, labels = padded(rows, tokenizer.pad_token_id)
        assert ids.shape == labels.shape and len(ids) == 8
        for row, label in zip(ids.tolist(), labels.tolist()):
            prompt, _, solution = tokenizer.decode(row).partition("\n")
            learnt = [i for i in label if i != -100]
            assert tokenizer.decode(learnt) == "\n" + solution.removesuffix(
                "<|pad|>" * row.count(tokenizer.pad_token_id)
            )
            assert learnt[-1] == tokenizer.eos_token_id
            assert "####" in solution and "####" not in prompt


def test_slips_come_in_the_last_part_of_the_training_only() -> None:
    tokenizer = build_tokenizer()
    plan = Plan(Path(), steps=160, seed=0, workers=1, batch=8, progress=False)

    def wrong(rows: list[Row]) -> int:
        texts = [tokenizer.decode(row.solution) for row in rows]
        return sum(any(value(a, sign, b) != c for a, sign, b, c in equations(text)) for text in texts)

    found = [wrong(rows) for rows in islice(batches(tokenizer, plan, 0), 160)]
    first = round(SLIPS_FROM * 160)
    assert sum(found[:first]) == 0
    assert 0.1 < sum(found[first:]) / (8 * (160 - first)) < 0.4


def test_workers_see_other_problems_of_the_training_split_alone() -> None:
    tokenizer = build_tokenizer()
    plan = Plan(Path(), steps=1000, seed=0, workers=2, batch=8, progress=False)
    one, other = (
        {tokenizer.decode(row.prompt) for rows in islice(batches(tokenizer, plan, rank), 32) for row in rows}
        for rank in (0, 1)
    )
    assert len(one & other) < 10  # bare sums may be the same
    held_out = {p["prompt"] for level in LEVELS for p in problems("test", 500, 0, level=level)}
    assert not held_out & (one | other)
    assert all(split_of(story.equations) == "train" for story in islice(sums(Random(0)), 500))


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        pretrain(tmp_path / "file" / "out", steps=10**9, progress=False)


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--seed", "-1"]])
def test_wrong_options_are_refused_before_anything_is_written(wrong: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert CliRunner().invoke(main, ["--output", str(folder), *wrong]).exit_code == 2
    assert not folder.exists()
