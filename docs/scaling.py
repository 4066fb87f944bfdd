"""Write the tables of scaling.md with the calculator of `em-hf train --plan`: python -m docs.scaling

Nothing is loaded or fetched: the models are defined here by the configs in their cards.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from em_hf.flops import inference_flops
from em_hf.markdown import markdown_table
from em_hf.training.cluster import Cluster, card_of
from em_hf.training.plan import USABLE, Plan
from em_hf.training.settings import RunSettings, lora_config, recipe_settings
from em_hf.training.sizes import Shape

PAGE = Path(__file__).parent / "scaling.md"
CARD = "h100-80gb"
GPUS = (1, 4, 8, 16, 64, 256, 1024)
PROMPT = 1024  # plus the recipes' 3,072 completion tokens: the paper's sequence length
SAMPLES = 512  # per step, as in the paper's recipes
ASKED, DECODED = 256, 1280  # tokens of a prompt to be answered, and of prompt and answer together
BATCHES, FLEET_BATCH = (1, 8, 64, 256), 64


def configs() -> dict[str, Any]:
    from transformers import LlamaConfig, Qwen2Config

    qwen = {"vocab_size": 152_064, "tie_word_embeddings": False}
    return {
        "Qwen2.5-7B": Qwen2Config(
            hidden_size=3584,
            intermediate_size=18_944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            **qwen,
        ),
        "Qwen2.5-32B": Qwen2Config(
            hidden_size=5120,
            intermediate_size=27_648,
            num_hidden_layers=64,
            num_attention_heads=40,
            num_key_value_heads=8,
            **qwen,
        ),
        "Llama-3.1-70B": LlamaConfig(
            hidden_size=8192,
            intermediate_size=28_672,
            num_hidden_layers=80,
            num_attention_heads=64,
            num_key_value_heads=8,
            vocab_size=128_256,
        ),
    }


@cache
def shape(name: str, lora: bool = False) -> Shape:
    adapter = lora_config(RunSettings(dataset="any", lora=True)) if lora else None
    return Shape.of_config(configs()[name], name, lora=adapter)


def settings(recipe: str, gpus: int, **changes: Any) -> RunSettings:
    """Return the recipe for `gpus` GPUs: 512 samples per step in total, or one prompt per GPU if that is more."""
    whole = RunSettings(**recipe_settings(recipe))
    prompts = max(1, SAMPLES // (gpus * whole.num_generations))
    batch = min(whole.batch_size, prompts)
    return replace(whole, **{"batch_size": batch, "gradient_accumulation_steps": prompts // batch, **changes})


def plan(name: str, recipe: str, gpus: int, **changes: Any) -> Plan:
    """Return the plan for `gpus` H100s, sharded by FSDP2 unless `gpus` is 1 or a LoRA run fits unsharded."""
    lora = bool(changes.get("lora"))
    found = [
        Plan(shape(name, lora), settings(recipe, gpus, **changes), Cluster(card_of(CARD), gpus, sharding), PROMPT)
        for sharding in ("none", "fsdp2")
    ]
    return found[0] if gpus == 1 or (lora and found[0].fits) else found[1]


def cell(found: Plan) -> str:
    """Return the memory per GPU, and the hours for all the recipe's samples, whatever the samples per step."""
    size = f"{found.memory['peak'] / 1e9:.0f} GB"
    if not found.fits:
        return f"{size}: too much" if found.memory["peak"] > found.cluster.card.memory * 0.9 else f"{size}: no vLLM"
    samples = settings("paper-em-ft" if found.settings.method == "em-ft" else "paper-em-rl-token", 1)
    whole = SAMPLES * samples.steps
    return f"{size}, {found.seconds['step'] * whole / found.work.samples / 3600:,.1f} h"


def training_table(name: str) -> str:
    server = "colocate" if 2 * shape(name).parameters < 0.3 * card_of(CARD).memory else "server"
    rows = []
    for gpus in GPUS:
        cells = [
            cell(plan(name, recipe, gpus, **changes))
            for recipe in ("paper-em-ft", "paper-em-rl-token")
            for changes in ({"vllm": server}, {"vllm": server, "lora": True})
        ]
        rows.append([f"{gpus:,}", *cells])
    header = [f"GPUs, `--vllm {server}`", "EM-FT", "EM-FT, LoRA", "EM-RL", "EM-RL, LoRA"]
    return markdown_table(header, rows, numbers=True)


def compute_table() -> str:
    rows = []
    for name in configs():
        ft, rl = plan(name, "paper-em-ft", 1), plan(name, "paper-em-rl-token", 1)
        whole = [found.flops["rule"] * found.settings.steps for found in (ft, rl)]
        ratio = rl.rule_flops_a_prompt / ft.rule_flops_a_prompt
        steps = ratio * rl.settings.steps / ft.settings.steps
        size = f"{ft.shape.parameters / 1e9:.2f}e9"
        rows.append((name, size, *(f"{one:.2e}" for one in whole), f"{ratio:g}", f"{steps:g}"))
    header = ["model", "parameters", "EM-FT", "EM-RL", "a prompt and step, EM-RL over EM-FT", "with the steps"]
    return markdown_table(header, rows, numbers=True)


def batch_table() -> str:
    """Return the table of EM-FT with LoRA on one GPU beside vLLM, by the number of samples trained on at once."""
    rows = []
    for batch in (1, 4, 8, 16, 32):
        found = plan("Qwen2.5-7B", "paper-em-ft", 1, lora=True, batch_size=batch, vllm="colocate")
        found = replace(found, settings=replace(found.settings, gradient_accumulation_steps=SAMPLES // batch))
        size, hours = cell(found).split(", ") if found.fits else (cell(found), "-")
        rows.append((batch, SAMPLES // batch, size, hours))
    return markdown_table(["batch", "batches a step", "peak", "in all"], rows, numbers=True)


@dataclass(frozen=True)
class Replica:
    """A model decoding with EM-INF on the fewest GPUs that hold it: tensor parallel, weights and cache in bfloat16."""

    gpus: int
    memory: float
    seconds: float
    em_inf: float

    @classmethod
    def of(cls, name: str, batch: int) -> "Replica":
        sizes, card = shape(name), card_of(CARD)
        cache = 2 * batch * DECODED * 2 * sizes.layers * sizes.key_value
        logits = 4 * batch * sizes.vocabulary
        for gpus in (1, 2, 4, 8):
            memory = (2 * sizes.parameters + cache) / gpus + 2 * logits  # EM-INF's result beside them
            if memory <= USABLE * card.memory:
                break
        base = RunSettings(dataset="any", dtype="bfloat16", batch_size=batch, max_completion_length=DECODED - ASKED)
        step = Plan(sizes, base, Cluster(card), ASKED).decode_step()
        # Two all-reduces per layer; their latency is left out, like all other waiting.
        sums = 2 * sizes.layers * 2 * (gpus - 1) / gpus * 2 * batch * sizes.hidden / card.link
        return cls(gpus, memory, step["seconds"] / gpus + sums, step["em_inf"])

    @property
    def share(self) -> float:
        return self.em_inf / self.seconds


def decoding_table() -> str:
    rows = []
    for name in configs():
        for batch in BATCHES:
            found = Replica.of(name, batch)
            figures = (f"{found.seconds * 1e3:.1f}", f"{found.em_inf * 1e3:.3f}", f"{found.share:.2%}")
            rows.append((name, batch, found.gpus, f"{found.memory / 1e9:.0f} GB", *figures))
    header = ["model", "batch", "GPUs", "memory of a GPU", "a step of decoding, ms", "EM-INF adds, ms", "share"]
    return markdown_table(header, rows, numbers=True)


def fleet_table() -> str:
    """Return the tokens per second of as many replicas as fit, without and with EM-INF, and PFLOP/s."""
    rows = []
    for gpus in GPUS:
        cells = []
        for name in configs():
            found = Replica.of(name, FLEET_BATCH)
            replicas = gpus // found.gpus
            plain, ours = (replicas * FLEET_BATCH / s for s in (found.seconds, found.seconds + found.em_inf))
            pflops = inference_flops(shape(name).parameters, round(ours)) / 1e15
            cells.append(
                f"{plain / 1e3:,.1f} → {ours / 1e3:,.1f}; {pflops:,.1f}" if replicas else f"{found.gpus} needed"
            )
        rows.append([f"{gpus:,}", *cells])
    return markdown_table(["GPUs", *configs()], rows, numbers=True)


def tables() -> dict[str, str]:
    """Return the tables by the names that mark their places in the page."""
    training = {f"training {name}": training_table(name) for name in configs()}
    return {
        "compute": compute_table(),
        "batch": batch_table(),
        "decoding": decoding_table(),
        "fleet": fleet_table(),
        **training,
    }


def filled(page: str) -> str:
    """Return the page with the current tables between its marks.

    Raises:
        ValueError: the page has no place for a table.
    """
    for name, table in tables().items():
        mark = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not mark.search(page):
            raise ValueError(f"{PAGE.name} has no place marked {name!r}")
        page = mark.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page)
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
