"""Pre-training: a loadable folder, the same weights for the same seed, and a model that learns."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from em_hf.pocket import POCKET_REASONER, em_inf_settings
from em_hf.pocket.tokenizer import build_tokenizer
from scripts.pretrain import BATCH, _batches, main, pretrain


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pocket") / "made"
    pretrain(folder, steps=3, seed=0, progress=False)
    return folder


def test_it_writes_a_folder_like_the_packaged_one(made: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    packaged = AutoModelForCausalLM.from_pretrained(POCKET_REASONER)
    assert {p.name for p in made.iterdir()} == {p.name for p in POCKET_REASONER.iterdir()}
    assert model.config.to_diff_dict() == packaged.config.to_diff_dict()
    stored = {"entropy_min_config": em_inf_settings()}  # chosen once the model is made
    assert model.generation_config.to_diff_dict() | stored == packaged.generation_config.to_diff_dict()
    prompt = tokenizer("Tom has 12 apples.", return_tensors="pt")
    assert model.generate(**prompt, max_new_tokens=3, min_new_tokens=3).shape[1] == prompt.input_ids.shape[1] + 3


def test_the_same_seed_gives_the_same_weights_bit_for_bit(made: Path, tmp_path: Path) -> None:
    pretrain(tmp_path, steps=3, seed=0, progress=False)
    one, other = weights(made), weights(tmp_path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_gives_other_weights(made: Path, tmp_path: Path) -> None:
    pretrain(tmp_path, steps=3, seed=1, progress=False)
    one, other = weights(made), weights(tmp_path)
    assert not any(torch.equal(one[name], other[name]) for name in one if "proj" in name)


def test_the_command_shows_progress_and_ends_with_greedy_and_sampled_accuracy(made: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--output", str(tmp_path), "--steps", "3"])
    assert result.exit_code == 0, result.output
    assert "pretrain: 100%" in result.stderr
    # Three steps teach nothing: no answer is right yet.
    assert result.stdout.splitlines() == [
        "greedy: 0.0% of 500 validation problems right",
        "sampled at temperature 1: 0.0% of 500 validation problems right",
    ]
    assert all(torch.equal(tensor, weights(made)[name]) for name, tensor in weights(tmp_path).items())


def test_the_loss_is_on_the_solution_and_its_end_alone() -> None:
    tokenizer = build_tokenizer()
    for ids, labels in islice(_batches(tokenizer, seed=0), 16):
        assert ids.shape == labels.shape and len(ids) == BATCH
        for row, label in zip(ids.tolist(), labels.tolist()):
            prompt, _, solution = tokenizer.decode(row).partition("?")
            learnt = [i for i in label if i != -100]
            assert tokenizer.decode(learnt) == solution.removesuffix("<|pad|>" * row.count(tokenizer.pad_token_id))
            assert learnt[-1] == tokenizer.eos_token_id
            assert "####" in solution and "####" not in prompt


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        pretrain(tmp_path / "file" / "out", steps=10**9, progress=False)


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--seed", "-1"]])
def test_wrong_options_are_refused_before_anything_is_written(wrong: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert CliRunner().invoke(main, ["--output", str(folder), *wrong]).exit_code == 2
    assert not folder.exists()
