"""Server mode from the client's side: a server's weight transfer needs an accelerator, so it is played here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from em_hf import EMFTConfig, EMFTTrainer
from em_hf.training.run import train
from em_hf.training.settings import RunSettings
from tests.training.test_resume import status
from tests.vllm.loopback import Loopback, completion, without_an_accelerator


@pytest.fixture
def folder(letter_model: Callable, letters: Any, tmp_path: Path) -> Path:
    letter_model().save_pretrained(tmp_path / "model")
    letters.save_pretrained(tmp_path / "model")
    prompts = ["ab", "c", "bca", "d", "ea", "dd", "cab", "b"] * 4
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return tmp_path


def settings(folder: Path, url: str, **changes: Any) -> RunSettings:
    given = {"model": str(folder / "model"), "dataset": str(folder / "prompts.jsonl"), "device": "cpu", "steps": 5}
    given |= {"batch_size": 4, "learning_rate": 1e-2, "max_completion_length": 4, "eval_problems": 0, "guard": False}
    return RunSettings.resolve({**given, "save_steps": 1, "vllm": "server", "vllm_server": url, **changes})


def test_each_step_sends_its_weights_first_and_trains_on_what_the_server_wrote(
    folder: Path, letter_model: Callable, letters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = without_an_accelerator(monkeypatch)
    server = Loopback(str(folder / "model"))
    args = EMFTConfig(
        str(folder / "out"),
        max_steps=3,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=4,
        use_vllm=True,
        vllm_mode="server",
        vllm_server_base_url=server.url,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        temperature=0.7,
    )
    rows = [{"prompt": prompt} for prompt in ("ab", "c", "bca", "d")]
    model = letter_model()
    trained: list[tuple[list[int], list[int]]] = []

    class Noting(EMFTTrainer):
        def _compute_loss(self, student: Any, inputs: Any, items: Any) -> Any:
            for p, m, c, n in zip(*(inputs[f"{a}_{b}"] for a in ("prompt", "completion") for b in ("ids", "mask"))):
                trained.append((p[m.bool()].tolist(), c[n.bool()].tolist()))
            return super()._compute_loss(student, inputs, items)

    Noting(model, args, train_dataset=rows, processing_class=letters).train()
    server.close()
    names = [name for name, _ in model.named_parameters()]
    assert sent == [names] * 3 == server.received
    order = [path for path in server.paths if path in ("/update_weights", "/v1/completions")]
    assert order == ["/update_weights", "/v1/completions"] * 3
    assert all(body["temperature"] == 0.7 and body["top_k"] == 0 and body["max_tokens"] == 4 for body in server.asked)
    assert len(trained) == 12 and all(drawn == completion(prompt) for prompt, drawn in trained)


def test_a_server_that_dies_leaves_a_run_that_goes_on_to_the_same_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_an_accelerator(monkeypatch)
    steady = Loopback(str(folder / "model"))
    train(settings(folder, steady.url), folder / "whole")
    steady.close()
    dying = Loopback(str(folder / "model"), dies_after=3)
    with pytest.raises(ValueError, match=r"vLLM server does not answer .* --resume") as raised:
        train(settings(folder, dying.url), folder / "cut")
    assert "\n" not in str(raised.value) and status(folder / "cut") == "failed"
    assert dying.closed.wait(30)
    again = Loopback(str(folder / "model"), port=dying.port)
    train(settings(folder, dying.url), folder / "cut", resume=True)
    again.close()
    lines = [json.loads(line) for line in (folder / "cut" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    from safetensors.torch import load_file

    whole, cut = (load_file(folder / name / "model.safetensors") for name in ("whole", "cut"))
    assert all((whole[name] == cut[name]).all() for name in whole)


def test_a_server_that_is_down_or_serves_another_model_is_one_line_and_nothing_is_written(folder: Path) -> None:
    server = Loopback("another/model")
    with pytest.raises(ValueError, match=r"serves another/model and not .*model"):
        train(settings(folder, server.url), folder / "run")
    server.close()
    with pytest.raises(ValueError, match=r"no vLLM server answers there \(ConnectError\)"):
        train(settings(folder, server.url), folder / "run")
    assert not (folder / "run").exists()


def test_a_prompt_that_does_not_fit_the_servers_context_is_refused_before_anything_is_written(folder: Path) -> None:
    server = Loopback(str(folder / "model"), context=6)  # four tokens of a completion leave two
    with pytest.raises(ValueError, match="a prompt has 3 tokens, but the model's context leaves room for 2") as raised:
        train(settings(folder, server.url), folder / "run")
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="the context of the vLLM server has only 6 tokens"):
        train(settings(folder, server.url, max_completion_length=6), folder / "run")
    server.close()
    assert not (folder / "run").exists()
