"""Which GPU a process takes, with the machine's GPUs counted by a stand-in."""

import os

import pytest
import torch

from em_hf.training.distributed import own_device


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four GPUs, no launcher, CUDA not started."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for name in ("WORLD_SIZE", "LOCAL_RANK", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back
    return monkeypatch


@pytest.mark.parametrize(("asked", "seen"), [(None, "0"), ("cuda", "0"), ("cuda:0", "0"), ("cuda:2", "2")])
def test_alone_a_process_sees_one_gpu_the_one_asked_for(gpus: pytest.MonkeyPatch, asked: str | None, seen: str) -> None:
    assert own_device(asked) == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_of_the_gpus_that_are_visible_it_takes_the_one_counted_among_them(gpus: pytest.MonkeyPatch) -> None:
    gpus.setenv("CUDA_VISIBLE_DEVICES", "7,5,3,1")
    assert own_device("cuda:1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "5"


@pytest.mark.parametrize("asked", ["cpu", "mps"])
def test_another_kind_of_device_is_left_as_it_is(gpus: pytest.MonkeyPatch, asked: str) -> None:
    assert own_device(asked) == asked and os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_under_a_launcher_each_process_takes_that_of_its_local_rank(gpus: pytest.MonkeyPatch) -> None:
    gpus.setenv("WORLD_SIZE", "8")
    gpus.setenv("LOCAL_RANK", "3")
    assert own_device(None) == "cuda:3" and own_device("cpu") == "cpu"


def test_a_gpu_that_is_not_there_is_named(gpus: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="device is cuda:4, but there are 4 GPUs: cuda:0 to cuda:3"):
        own_device("cuda:4")


def test_once_cuda_has_started_with_all_of_them_it_says_what_to_do(gpus: pytest.MonkeyPatch) -> None:
    gpus.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ValueError, match="--num-processes 4"):
        own_device(None)


def test_without_a_gpu_nothing_is_changed(gpus: pytest.MonkeyPatch) -> None:
    gpus.setattr(torch.cuda, "device_count", lambda: 0)
    assert own_device(None) is None
    gpus.setenv("WORLD_SIZE", "2")
    assert own_device(None) is None
