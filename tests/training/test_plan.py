"""The planner against counts by hand, real models, torch's own counter of FLOPs, and the paper's ratio."""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from em_hf.cli.main import cli
from transformers import LlamaConfig, LlamaForCausalLM

from em_hf.training.cluster import CARDS, Cluster, card_of
from em_hf.training.plan import Plan
from em_hf.training.settings import RunSettings, lora_config, recipe_settings
from em_hf.training.sizes import Shape
from tests.command import em_hf as run_here

ROOT = Path(__file__).parents[2]
SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
H100 = card_of("h100-80gb")


def small(**changes: object) -> Shape:
    return Shape.of_config(LlamaConfig(**{**SIZES, **changes}), "small")


def run(**changes: object) -> RunSettings:
    return RunSettings(**{"dataset": "any", "dtype": "float32", **changes})


def plan(settings: RunSettings, cluster: Cluster | None = None, **changes: object) -> Plan:
    return Plan(small(), settings, cluster or Cluster(H100), **changes)


def test_the_papers_ratio_of_rl_to_em_ft_comes_out_of_its_recipes() -> None:
    # 12.5 by the paper's rule, which takes as many prompts a step in both: 40Pn a prompt for 8Pn, 100 steps for 40
    ft, rl = (plan(RunSettings(**recipe_settings(f"paper-{name}"))) for name in ("em-ft", "em-rl-token"))
    n = ft.work.length
    assert n == rl.work.length
    assert ft.rule_flops_a_prompt == 8 * ft.shape.multiplied * n
    assert rl.rule_flops_a_prompt == 40 * rl.shape.multiplied * n
    assert rl.rule_flops_a_prompt * rl.settings.steps / (ft.rule_flops_a_prompt * ft.settings.steps) == 12.5


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_is_counted_as_it_is_when_it_is_made(tied: bool) -> None:
    config = LlamaConfig(**SIZES, tie_word_embeddings=tied)
    model = LlamaForCausalLM(config)
    shape = Shape.of_config(config, "small")
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert shape.layer == sum(p.numel() for p in model.model.layers[0].parameters())
    assert shape.head == model.lm_head.weight.numel()


def test_an_adapter_has_rank_times_the_sides_of_every_matrix_of_the_layers() -> None:
    shape = Shape.of_config(LlamaConfig(**SIZES), "small", lora=lora_config(run(lora=True, lora_rank=5)))
    h, i, kv = 64, 160, 32
    assert shape.adapter == 3 * 5 * (2 * (h + h) + 2 * (h + kv) + 3 * (h + i))


def test_a_mixture_of_experts_is_refused() -> None:
    from transformers import MixtralConfig

    with pytest.raises(ValueError, match="mixture of experts"):
        Shape.of_config(MixtralConfig(), "mixtral")


def kept_by_autograd(checkpointing: bool, batch: int, length: int, layers: int = 3) -> int:
    """Bytes that a real model's layers keep for the backward pass, the weights and what lies after them left out."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_hidden_layers": layers})).model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randint(0, 96, (batch, length)), use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


def test_activations_are_what_autograd_keeps() -> None:
    settings = run(batch_size=4, max_completion_length=192)
    planned = plan(settings, prompt_length=64).activations()
    assert planned == pytest.approx(kept_by_autograd(False, 4, 256), rel=0.1)


def test_with_checkpointing_a_layer_keeps_its_input() -> None:
    settings = run(batch_size=4, max_completion_length=192, gradient_checkpointing=True)
    found = plan(settings, prompt_length=64)
    whole = plan(replace(settings, gradient_checkpointing=False), prompt_length=64)
    inputs = 4 * 256 * 64 * 4 * 3
    assert found.activations() == inputs + whole.activations() / 3
    # three layers more keep three inputs more until the backward pass begins
    assert kept_by_autograd(True, 4, 256, layers=6) - kept_by_autograd(True, 4, 256, layers=3) == inputs


def test_weights_gradients_and_adam_take_16_bytes_a_parameter_over_the_gpus() -> None:
    p = small().parameters
    for gpus in (1, 8):
        cluster = Cluster(H100, gpus, "fsdp2" if gpus > 1 else "none")
        memory = plan(run(), cluster).memory
        assert memory["weights"] + memory["gradients"] + memory["optimizer"] == 16 * p / gpus
    assert plan(run(), Cluster(H100, 8)).memory["ddp_buckets"] == 4 * p


def test_all_samples_of_a_step_are_drawn_at_once() -> None:
    changes = {"batch_size": 2, "gradient_accumulation_steps": 8, "num_generations": 4}
    assert plan(run(**changes)).work.sampled_at_once == 64
    rl = plan(run(method="em-rl-token", **changes), Cluster(H100, 16))
    assert (rl.work.sampled_at_once, rl.work.samples, rl.work.prompts) == (64, 1024, 256)
    assert plan(run(method="sft", **changes)).work.sampled_at_once == 0


def test_more_of_anything_needs_more_memory_and_a_gpu_too_small_is_told_with_a_way_out() -> None:
    one = plan(run(batch_size=8)).memory["peak"]
    assert plan(run(batch_size=16)).memory["peak"] > one
    assert plan(run(batch_size=8, max_completion_length=512)).memory["peak"] > one
    tiny = Cluster(replace(H100, memory=one / 2))
    assert not plan(run(batch_size=8), tiny).fits
    (warning,) = plan(run(batch_size=8), tiny).warnings
    assert warning.startswith("does not fit") and "--gradient-checkpointing" in warning and "--lora" in warning
    assert plan(run(batch_size=8)).warnings == []


def test_em_inf_is_bound_by_its_passes_over_the_logits_and_by_the_steps_computed_again() -> None:
    # By hand: 3 steps are 6 passes of 4 bytes an entry and 1 + 2 + 3 steps of 80 operations; 10 are 13 and 55.
    fast = Cluster(replace(H100, float32=1e30))
    found = plan(run(), fast)
    entries = found.decode_step()["rows"] * found.shape.vocabulary
    assert found.decode_step()["em_inf"] == pytest.approx(entries * 24 / 3350e9)
    slow = Cluster(replace(H100, float32=1e12))
    assert plan(run(), slow).decode_step()["em_inf"] == pytest.approx(entries * 480 / 1e12)
    more = {"n_grad_steps": 10}
    assert plan(run(entropy_min=more), fast).decode_step()["em_inf"] == pytest.approx(entries * 52 / 3350e9)
    assert plan(run(entropy_min=more), slow).decode_step()["em_inf"] == pytest.approx(entries * 4400 / 1e12)


def test_sampling_from_sharded_weights_is_bound_by_the_links_between_machines() -> None:
    found = plan(run(), Cluster(H100, 16, "fsdp2"))
    assert found.decode_step()["links"] == 4 * found.shape.parameters * (15 / 16) / 50e9
    assert "gathers the sharded weights for every token" in found.warnings[0]
    assert plan(run(), Cluster(H100, 16)).decode_step()["links"] == 0


@pytest.mark.parametrize("changes", [{"gpus": 0}, {"mfu": 0.0}, {"mfu": 1.5}, {"sharding": "zero2"}])
def test_a_cluster_that_cannot_be_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(changes))} is "):
        Cluster(H100, **changes)
    with pytest.raises(ValueError, match=r"gpu is 'h1000'"):
        card_of("h1000")


def test_flops_of_a_real_step_are_within_a_fifth_of_the_rule(smollm2: Path) -> None:
    from benchmarks.plan_check import Case, compare

    assert 0.8 < compare("flops", Case(1, 32))["ratio"] < 1.2


def test_peak_memory_of_a_real_run_is_within_a_fifth_of_the_plan(smollm2: Path) -> None:
    from benchmarks.plan_check import Case, compare

    assert 0.8 < compare("memory", Case(4, 64))["ratio"] < 1.2


# ---- the page


def test_the_pages_tables_are_the_calculators() -> None:
    from docs.scaling import PAGE, filled

    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page), "run: python -m docs.scaling"


def test_the_pages_commands_are_ones_that_exist() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    lines = re.findall(r"^em-hf train .*$", page, re.MULTILINE) + re.findall(r"`(em-hf train [^`]*)`", page)
    assert len(lines) >= 6
    for line in lines:
        name, *arguments = shlex.split(line)[1:]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        command.make_context(name, arguments)


# ---- the command line


@pytest.fixture
def em_hf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    """Runs `em-hf train` in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def called(*words: object) -> tuple[int, str, str]:
        done = run_here("train", *map(str, words))
        return done.returncode, done.stdout, done.stderr

    return called


def big_model(folder: Path) -> str:
    LlamaConfig(
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=128_256,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder / "big")
    return str(folder / "big")


def test_a_plan_needs_no_more_than_a_config_and_writes_nothing(em_hf: Callable, tmp_path: Path) -> None:
    model = big_model(tmp_path)
    words = ("--plan", "--model", model, "--dataset", "no/such", "--num-processes", 64, "--accelerate-config", "fsdp2")
    code, out, err = em_hf(*words, "--dtype", "bfloat16", "--gradient-checkpointing", "--output", "run")
    assert code == 0 and out.startswith(f"em-ft of {model}: 70.6 billion parameters") and "64 x h100-80gb" in out
    assert "sharding fsdp2" in out and "by the rule of 6PD and 2PD" in out and "fits" in out
    assert "Warning: sampling gathers" in err
    assert [path.name for path in tmp_path.iterdir()] == ["big"]


def test_a_plan_as_json_says_what_does_not_fit(em_hf: Callable, tmp_path: Path) -> None:
    model = big_model(tmp_path)
    code, out, err = em_hf("--plan", "--json", "--model", model, "--dataset", "no/such", "--gpu-memory", 48)
    found = json.loads(out)
    assert code == 0 and found["fits"] is False and found["cluster"]["memory"] == 48e9
    assert found["memory_bytes"]["weights"] == 4 * found["model"]["parameters"]
    assert found["warnings"][0].startswith("does not fit") and "Warning: does not fit" in err


def test_wrong_plans_are_refused(em_hf: Callable) -> None:
    code, _, err = em_hf("--gpu", next(iter(CARDS)))
    assert code == 2 and "give --plan too" in err
    code, _, err = em_hf("--plan", "--model", "./nowhere", "--dataset", "x")
    assert code == 1 and err.count("Error:") == 1
