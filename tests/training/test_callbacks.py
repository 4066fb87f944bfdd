"""EntropyCallback: what it measures, where that goes, and that training does not notice."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, Trainer, TrainerCallback, TrainingArguments

from em_hf import EMFTConfig, EMFTTrainer, EntropyCallback, EntropyMinConfig, enable_entropy_min, entropy_loss
from em_hf.generation.mixin import EntropyMinGenerationMixin
from em_hf.models import unwrap_model
from em_hf.sampling import forked_rng
from em_hf.training.probe import probe_model, repetition
from tests.reference import entropy

PROMPTS = ["ab", "c", "bca", "d"]
COMMON: dict[str, Any] = {
    "max_steps": 5,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-2,
    "report_to": "none",
    "use_cpu": True,
    "save_strategy": "no",
    "logging_steps": 2,
    "disable_tqdm": True,
}
CONFIG = EntropyMinConfig(threshold=0.1, n_grad_steps=7)


def em_ft(model: Any, tokenizer: Any, folder: Any, **settings: Any) -> EMFTTrainer:
    args = EMFTConfig(output_dir=str(folder), **{**COMMON, "max_completion_length": 3, **settings})
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    return EMFTTrainer(model, args, train_dataset=rows, processing_class=tokenizer)


def plain(model: Any, tokenizer: Any, folder: Any, **settings: Any) -> Trainer:
    rows = [{"input_ids": [2, 3, 4, a, 1], "labels": [-100, 3, 4, a, 1]} for a in (2, 3, 4, 5)]
    return Trainer(
        model,
        TrainingArguments(output_dir=str(folder), **{**COMMON, **settings}),
        train_dataset=rows,  # type: ignore[arg-type]
        processing_class=tokenizer,
        compute_loss_func=entropy_loss,
    )


def rloo(model: Any, tokenizer: Any, folder: Any, **settings: Any) -> Trainer:
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    args = RLOOConfig(
        output_dir=str(folder),
        **{
            **COMMON,
            "bf16": False,
            "gradient_checkpointing": False,
            "num_generations": 2,
            "max_completion_length": 3,
            "beta": 0.05 if hasattr(model, "peft_config") else 0.0,  # whole models would load their reference by name
            **settings,
        },
    )
    rows = Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS])

    def length(completions: list[str], **kwargs: Any) -> list[float]:
        return [float(len(completion)) for completion in completions]

    return RLOOTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer, reward_funcs=length)


TRAINERS: dict[str, Callable[..., Trainer]] = {"em-ft": em_ft, "plain": plain, "rloo": rloo}


class UsesRandomNumbers(TrainerCallback):
    """Notes, after each step, the random numbers that each generator would give next."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float, float]] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append((random.random(), float(np.random.rand()), float(torch.rand(()))))


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("kind", TRAINERS)
def test_training_is_bit_for_bit_the_same_with_it(
    letter_model: Callable, letters: Any, tmp_path: Any, kind: str, lora: bool
) -> None:
    """With dropout, so that every random number counts, and with EM-INF; the steps' own logs are the same too."""

    def run(probe: bool) -> tuple[torch.Tensor, list, list]:
        model = letter_model(attention_dropout=0.3)
        if lora:
            torch.manual_seed(0)
            model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.3))
        t = TRAINERS[kind](model, letters, tmp_path / f"{probe}")
        numbers = UsesRandomNumbers()
        t.add_callback(numbers)
        if probe:
            settings = {"every": 2, "config": CONFIG, "samples": 2, "max_new_tokens": 4}
            t.add_callback(EntropyCallback(t, ["ab", "ccc"], **settings))
        random.seed(0)
        np.random.seed(0)
        t.train()
        weights = torch.cat([p.detach().flatten() for p in t.model.parameters()])
        told = ("runtime", "per_second", "step_time", "flos")
        logs = [{k: v for k, v in line.items() if not any(t in k for t in told)} for line in t.state.log_history]
        return weights, numbers.seen, [line for line in logs if "probe/entropy" not in line]

    without, with_it = run(False), run(True)
    assert torch.equal(without[0], with_it[0])
    assert without[1] == with_it[1]
    assert without[2] == with_it[2]


def test_readings_come_at_the_start_every_k_steps_and_at_the_end_through_the_trainers_log(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    t = em_ft(letter_model(), letters, tmp_path)
    probe = EntropyCallback(t, PROMPTS, ["1", "2", "3", "4"], every=2, config=CONFIG, max_new_tokens=5)
    t.add_callback(probe)
    seen = []

    class Tracker(TrainerCallback):
        """What TensorBoard's callback and its like are given."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            seen.append((state.global_step, dict(logs)))

    t.add_callback(Tracker())
    t.train()
    assert [reading.step for reading in probe.readings] == [0, 2, 4, 5]
    logged = {step: logs for step, logs in seen if "probe/entropy" in logs}
    names = ["entropy", "log_prob", "completion_length", "lines", "repetition", "accuracy"]
    names += [f"em_inf_{name}" for name in names]
    for reading in probe.readings:
        assert [f"probe/{name}" for name in names] == [name for name in logged[reading.step] if name != "epoch"]
        assert logged[reading.step]["probe/entropy"] == reading.entropy
        assert logged[reading.step]["probe/accuracy"] == reading.accuracy == 0
    lines = [json.loads(line) for line in (tmp_path / "probe.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 4, 5]
    assert [line["completion_length"] for line in lines] == [reading.completion_length for reading in probe.readings]
    assert (tmp_path / "probe.png").read_bytes()[:4] == b"\x89PNG"


def test_it_measures_the_tokens_that_count_under_the_models_own_distributions(
    letter_model: Callable, letters: Any
) -> None:
    """Against each sampled completion run through the model alone, without padding, by the definitions."""
    model = letter_model(seed=3)
    drawn = []
    generate = model.generate
    model.generate = lambda *a, **k: drawn.append((k["input_ids"], out := generate(*a, **k))) or out
    found = probe_model(
        model,
        letters,
        ["ab", "c", "bca", "dd"] * 3,
        None,
        step=7,
        entropy_min=None,
        samples=3,
        max_new_tokens=6,
        temperature=0.7,
        seed=0,
        chat_template=True,
    )
    nats, log_prob, lengths = [], [], []
    for prompts, out in drawn:
        for prompt, row in zip(prompts.repeat_interleave(3, 0), out):
            prompt = prompt[prompt != 0].tolist()
            completion = row[prompts.shape[1] :].tolist()
            completion = completion[: completion.index(1) + 1] if 1 in completion else completion
            z = model(torch.tensor([prompt + completion])).logits[0].double()
            lengths.append(len(completion))
            for i, token in enumerate(completion):
                row_z = z[len(prompt) - 1 + i]
                nats.append(float(entropy(row_z).detach()))
                log_prob.append(float(row_z.log_softmax(-1)[token].detach()))
    assert len(set(lengths)) > 1  # some ended early
    assert found.step == 7
    assert found.entropy == pytest.approx(sum(nats) / len(nats), abs=1e-5)
    assert found.log_prob == pytest.approx(sum(log_prob) / len(log_prob), abs=1e-5)
    assert found.completion_length == pytest.approx(sum(lengths) / 36)
    assert found.accuracy is None and found.right is None


def test_accuracy_lines_and_repetition_are_of_each_prompts_own_completions(
    letter_model: Callable, letters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that repeats the prompt's last letter six times: three 4-grams, all alike, so two of three repeat."""
    monkeypatch.setattr("em_hf.training.measure.extract_answer", lambda text: text.replace(" ", "")[:1])
    model = letter_model()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(8, 16))
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.copy_(20 * torch.eye(8, 16))
    found = probe_model(
        model,
        letters,
        ["abc", "d", "ba", "ed"],
        ["c", "d", "b", "e"],
        step=0,
        entropy_min=None,
        samples=2,
        max_new_tokens=6,
        temperature=1.0,
        seed=0,
        chat_template=True,
    )
    assert found.right == (1.0, 1.0, 0.0, 0.0) and found.accuracy == 0.5
    assert found.repetition == pytest.approx(2 / 3)
    assert found.lines == 1 and found.completion_length == 6


@pytest.mark.parametrize("entropy_min", [None, EntropyMinConfig(threshold=0.0)], ids=["plain", "em-inf"])
def test_messages_are_probed_as_the_text_that_the_chat_template_writes(
    letter_model: Callable, letters: Any, entropy_min: EntropyMinConfig | None
) -> None:
    letters.chat_template = (
        "{% for m in messages %}{{ {'system': 'd', 'user': 'a'}[m.role] }} {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}e{% endif %}"
    )
    chats = [[{"role": "system", "content": "bb"}, {"role": "user", "content": text}] for text in ("c", "abc")]
    texts = ["d bb a c e", "d bb a abc e"]
    settings = {"samples": 3, "max_new_tokens": 5, "temperature": 1.0, "seed": 2, "entropy_min": entropy_min}
    told = probe_model(letter_model(), letters, chats, ["x", "y"], step=4, chat_template=True, **settings)
    plain = probe_model(letter_model(), letters, texts, ["x", "y"], step=4, chat_template=False, **settings)
    assert told == plain and told.entropy > 0
    as_lists = [str(chat) for chat in chats]  # what a printed Python list would give
    printed = probe_model(letter_model(), letters, as_lists, None, step=4, chat_template=False, **settings)
    assert printed.entropy != told.entropy


def test_repetition_by_hand() -> None:
    assert repetition([1, 2, 3]) == 0  # no 4-gram
    assert repetition([1, 2, 3, 4, 5, 6]) == 0
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)  # 1234 2341 3412 4123 1234
    assert repetition([7] * 10) == pytest.approx(6 / 7)


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
def test_every_checkpoint_carries_the_settings_and_the_model_is_given_back_as_it_was(
    letter_model: Callable, letters: Any, tmp_path: Any, lora: bool
) -> None:
    model = letter_model()
    if lora:
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    kind, outer = type(unwrap_model(model)), type(model)
    t = em_ft(model, letters, tmp_path, save_strategy="steps", save_steps=2)
    probe = EntropyCallback(t, PROMPTS, every=3, config=CONFIG, max_new_tokens=3)
    t.add_callback(probe)
    seen = []

    class Looks(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            seen.append((isinstance(unwrap_model(model), EntropyMinGenerationMixin), model.training))

    t.add_callback(Looks())
    t.train()
    assert seen == [(True, True)] * 5
    for step in (2, 4):
        saved = GenerationConfig.from_pretrained(tmp_path / f"checkpoint-{step}")
        assert saved.entropy_min_config == CONFIG.to_dict()
    assert type(unwrap_model(model)) is kind and type(model) is outer
    with pytest.raises(ValueError, match="entropy_min"):
        model.generate(input_ids=torch.tensor([[2, 3]]), entropy_min=True, max_new_tokens=2)


def test_a_model_that_was_enabled_before_stays_enabled(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    model = enable_entropy_min(letter_model())
    t = em_ft(model, letters, tmp_path, max_steps=1)
    t.add_callback(EntropyCallback(t, PROMPTS, config=CONFIG, max_new_tokens=2))
    t.train()
    assert isinstance(model, EntropyMinGenerationMixin)


def test_probing_leaves_the_generation_config_alone_and_does_not_use_it(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    model = letter_model()
    own = GenerationConfig(top_k=1, repetition_penalty=50.0, eos_token_id=1, pad_token_id=0)
    model.generation_config = own
    t = em_ft(model, letters, tmp_path, max_steps=1)
    settings = {"samples": 300, "max_new_tokens": 1}
    probe = EntropyCallback(t, ["ab"], **settings)
    t.add_callback(probe)
    p = letter_model()(torch.tensor([[2, 3]])).logits[0, -1].softmax(-1)
    t.train()
    assert model.generation_config is own
    # With top_k 1 the log-probability would be that of the likeliest token; its deviation here is under 1 nat.
    expected = float((p * p.log()).sum().detach())
    assert probe.readings[0].log_prob == pytest.approx(expected, abs=4 / 300**0.5)
    assert abs(expected - float(p.detach().max().log())) > 0.4


def test_em_inf_is_measured_beside_the_model_itself(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    t = em_ft(letter_model(), letters, tmp_path, max_steps=1)
    strong = EntropyMinConfig(threshold=0.0, n_grad_steps=100, learning_rate=0.5, kl_weight=0.0)
    t.add_callback(EntropyCallback(t, PROMPTS, config=strong, samples=50, max_new_tokens=4))
    t.train()
    first = next(line for line in t.state.log_history if "probe/entropy" in line)
    # With all entropy minimized away the likeliest token is drawn, whose log-probability is above the mean.
    assert first["probe/em_inf_log_prob"] > first["probe/log_prob"] + 0.3


def test_a_resumed_run_goes_on_with_the_readings_up_to_its_checkpoint(
    letter_model: Callable, letters: Any, tmp_path: Any
) -> None:
    def make(folder: Path) -> tuple[EMFTTrainer, EntropyCallback]:
        t = em_ft(letter_model(), letters, folder, save_strategy="steps", save_steps=2, max_steps=6)
        probe = EntropyCallback(t, PROMPTS, every=1, samples=4, max_new_tokens=4)
        t.add_callback(probe)
        return t, probe

    t, whole = make(tmp_path / "whole")
    t.train()

    class Dies(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise RuntimeError("killed")

    t, _ = make(tmp_path / "cut")
    t.add_callback(Dies())
    with pytest.raises(RuntimeError, match="killed"):
        t.train()
    trace = tmp_path / "cut" / "probe.jsonl"
    trace.write_text(trace.read_text() + '{"step": 4, "entro')  # the line that was being written
    assert len(trace.read_text().splitlines()) == 5
    t, resumed = make(tmp_path / "cut")
    t.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-2"))
    assert [reading.step for reading in resumed.readings] == list(range(7))
    assert resumed.readings == whole.readings
    assert trace.read_text() == (tmp_path / "whole" / "probe.jsonl").read_text()


def test_the_random_numbers_outside_are_left_alone() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[union-attr]
    with forked_rng(torch.device("cpu")):
        random.random(), np.random.rand(), torch.rand(3)
        torch.manual_seed(9)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[union-attr]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"answers": ["1"]}, "answers has 1 entries, but there are 4 prompts"),
        ({"every": 0}, "every is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"temperature": -0.5}, r"temperature is -0\.5, but must be at least 0"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(
    letter_model: Callable, letters: Any, tmp_path: Any, change: dict, message: str
) -> None:
    t = em_ft(letter_model(), letters, tmp_path)
    with pytest.raises(ValueError, match=message):
        EntropyCallback(t, **{"prompts": PROMPTS, **change})


def test_a_trainer_without_a_tokenizer_is_refused(letter_model: Callable, tmp_path: Any) -> None:
    t = plain(letter_model(), None, tmp_path)
    with pytest.raises(ValueError, match="processing_class"):
        EntropyCallback(t, PROMPTS)


def test_the_saved_model_loads_with_plain_transformers(letter_model: Callable, letters: Any, tmp_path: Any) -> None:
    t = em_ft(letter_model(), letters, tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    t.add_callback(EntropyCallback(t, PROMPTS, config=CONFIG, max_new_tokens=2))
    t.train()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-1")
    assert type(loaded).__name__ == "LlamaForCausalLM" and not isinstance(loaded, EntropyMinGenerationMixin)


def test_with_an_adapter_the_kl_to_the_model_without_it_is_measured(letter_model: Callable, letters: Any) -> None:
    """Completions of a single token: their distribution hangs on the prompt alone, and so is known exactly."""
    model = peft.get_peft_model(letter_model(), peft.LoraConfig(r=2, target_modules="all-linear"))
    settings: dict[str, Any] = {"samples": 3, "max_new_tokens": 1, "seed": 0, "chat_template": False}
    prompts = ["ab", "cab", "d"]

    def reading(temperature: float) -> Any:
        return probe_model(model, letters, prompts, None, step=0, entropy_min=None, temperature=temperature, **settings)

    assert reading(1.0).kl == pytest.approx(0, abs=1e-6)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(torch.randn_like(value))
    for temperature in (1.0, 0.6):
        by_hand = []
        for prompt in prompts:
            ids = letters(prompt, return_tensors="pt")["input_ids"]
            log_p = (model(ids).logits[0, -1].double() / temperature).log_softmax(-1)
            with model.disable_adapter():
                log_q = (model(ids).logits[0, -1].double() / temperature).log_softmax(-1)
            by_hand.append(float((log_p.exp() * (log_p - log_q)).sum().detach()))
        assert reading(temperature).kl == pytest.approx(sum(by_hand) / 3, rel=1e-4) and min(by_hand) > 0.01
    plain = probe_model(letter_model(), letters, prompts, None, step=0, entropy_min=None, temperature=1.0, **settings)
    assert plain.kl is None
