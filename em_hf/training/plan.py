"""What a run would need, before anything is loaded: memory, compute and time from the model's config and the settings.

Compute is counted by the paper's rule (`em_hf.flops`) and also as these trainers spend it: attention over the context,
recomputed activations, the pass in which TRL's RLOO scores its rollouts. Memory is counted tensor by tensor for a
decoder of norms, attention and a gated MLP. Times are lower bounds: a GPU runs at `mfu` of its peak on many tokens at
once, and no faster than its memory and links allow. `benchmarks/plan_check.py` compares the memory and the FLOPs with
measured runs of SmolLM2; no time has been checked on a GPU.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from em_hf.flops import inference_flops, training_flops
from em_hf.methods import METHODS
from em_hf.training.cluster import GPUS_A_NODE, Cluster
from em_hf.training.settings import RunSettings
from em_hf.training.sizes import Shape, Work

# How much of the [tokens, vocabulary] logits the loss holds in float32, measured in benchmarks/em_ft_memory.py.
TILE, TILES_HELD = 256, 3
TRL_TILE, TRL_COLUMNS = 4096, 32_768
NAIVE_COPIES = 5
# The share of a GPU's memory that TRL gives to vLLM in the training processes.
VLLM_SHARE = 0.3
# DeepSpeed's defaults, in parameters: those gathered at once, and those in a gradient bucket.
ZERO_LIVE, ZERO_BUCKET = 1_000_000_000, 500_000_000
# The usable share of a GPU's memory; the rest is for CUDA itself and fragmentation.
USABLE = 0.9
# One gradient step of EM-INF on one entry: an exponential and two roots at 16 each, and 30 for plain arithmetic.
EM_INF_FLOPS_AN_ENTRY = 80


@dataclass(frozen=True)
class Plan:
    """The figures of one run on one cluster: bytes per GPU, FLOPs of all GPUs, wall-clock seconds."""

    shape: Shape
    settings: RunSettings
    cluster: Cluster
    prompt_length: int = 256
    work: Work = field(init=False)

    def __post_init__(self) -> None:
        if self.prompt_length < 1:
            raise ValueError(f"prompt_length is {self.prompt_length}, but must be at least 1")
        s = self.settings
        object.__setattr__(self, "work", Work(s, self.cluster.gpus, self.prompt_length, s.max_completion_length))

    # ---- memory, in bytes per GPU

    @property
    def mixed(self) -> bool:
        """Whether weights are multiplied in 16 bits; `auto` assumes an accelerator with bfloat16."""
        return self.settings.dtype != "float32"

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        return self.shape.adapter if self.settings.lora else self.shape.parameters

    @cached_property
    def memory(self) -> dict[str, float]:
        """Memory by component; `peak` is the largest of sampling, training and updating."""
        s, shards, w = self.settings, self.cluster.shards, self.work
        frozen = self.shape.parameters if s.lora else 0
        weights = (4 * self.trained + (2 if self.mixed else 4) * frozen) / shards
        reference = 4 * self.shape.parameters / shards if s.beta and not s.lora else 0
        gradients = 4 * self.trained / shards
        optimizer = 8 * self.trained / shards
        replicas = 4 * self.trained if self.cluster.gpus > shards else 0  # DDP's buckets
        working = self._working_weights()
        always = weights + reference + optimizer + replicas + working
        if s.vllm == "colocate":
            always += VLLM_SHARE * self.cluster.card.memory
        activations, loss, cache = self.activations(), self.loss_memory(), self.cache()
        between = gradients if w.batches > 1 else 0
        moments = {
            "sampling": always + between + (0 if s.vllm else cache),
            "training": always + between + activations + loss,
            "updating": always + gradients,
        }
        return {
            "weights": weights,
            "working_weights": working,
            "reference": reference,
            "gradients": gradients,
            "optimizer": optimizer,
            "ddp_buckets": replicas,
            "vllm": VLLM_SHARE * self.cluster.card.memory if s.vllm == "colocate" else 0,
            "activations": activations,
            "loss": loss,
            "loss_with_whole_logits": self._whole_logits(),
            "cache": 0 if s.vllm else cache,
            **moments,
            "peak": max(moments.values()),
        }

    def _working_weights(self) -> float:
        """Return the bytes of weight copies: autocast's 16-bit ones, or what FSDP2 or ZeRO-3 gather at a time."""
        shape = self.shape
        size = 2 if self.mixed else 4
        if self.cluster.shards == 1:
            return 2 * self.trained if self.mixed else 0
        if self.cluster.sharding == "zero3":
            return size * (min(ZERO_LIVE, shape.parameters) + min(ZERO_BUCKET, self.trained))
        # this layer and the next, the embedding and the head, and the head once more in float32 for the EM-FT loss
        of_head = size if self.settings.lora else 4
        ours = of_head * shape.head if self.settings.method == "em-ft" else 0
        return size * (2 * shape.layer + (shape.parameters - shape.layers * shape.layer)) + ours

    def activations(self) -> float:
        """Return the bytes that autograd keeps of the layers for one batch.

        Per token and layer: six rows of the hidden size around the two norms; queries, keys, values and the attention
        output (once as computed and once as rows); and four rows of the MLP's inner size. With gradient checkpointing a
        layer keeps only its input, and one layer at a time keeps everything.
        """
        shape, tokens = self.shape, self.work.batch * self.work.length
        rest = 3 * shape.query + 2 * shape.key_value + 4 * shape.inner
        # In mixed precision the norms' inputs and outputs stay in float32; the inputs of matrix products do not.
        of_layer = 20 * shape.hidden + 2 * rest if self.mixed else 24 * shape.hidden + 4 * rest
        if self.settings.gradient_checkpointing:
            return tokens * (4 * shape.hidden * shape.layers + of_layer)
        return tokens * of_layer * shape.layers

    def loss_memory(self) -> float:
        """Return the bytes of the loss's logits and the head's gradient, formed at once; whole logits under ZeRO-3."""
        head = 0 if self.settings.lora else 4 * self.shape.head
        tokens = self.work.batch * self.work.completion
        if self.settings.method == "em-ft" and self.cluster.sharding != "zero3":
            return head + TILES_HELD * 4 * min(TILE, tokens) * self.shape.vocabulary
        if METHODS[self.settings.method].rollouts:
            return head + 4 * min(TRL_TILE, tokens) * min(TRL_COLUMNS, self.shape.vocabulary)
        return self._whole_logits()

    def _whole_logits(self) -> float:
        return NAIVE_COPIES * 4 * self.work.batch * self.work.completion * self.shape.vocabulary

    def cache(self) -> float:
        """Return the bytes of keys, values (at full length) and next-token logits of the samples drawn at once."""
        size = 2 if self.mixed else 4
        of_token = 2 * self.shape.layers * self.shape.key_value * size
        logits = 3 * 4 * self.shape.vocabulary
        return self.work.sampled_at_once * (self.work.length * of_token + logits)

    @property
    def fits(self) -> bool:
        return self.memory["peak"] <= USABLE * self.cluster.card.memory and self._vllm_fits()

    def _vllm_fits(self) -> bool:
        """Return whether vLLM on each GPU has room for the weights in 16 bits."""
        room = VLLM_SHARE * self.cluster.card.memory
        return self.settings.vllm != "colocate" or 2 * self.shape.parameters <= room

    # ---- compute, in FLOPs of a step on all GPUs

    @cached_property
    def flops(self) -> dict[str, float]:
        """FLOPs of a step: `rule` by the paper's rule; `sampling` and `training` as spent, and their sum `spent`."""
        from em_hf.training.compute import passes

        w, p = self.work, self.shape.multiplied
        tokens = w.samples * w.length
        inferred, learned = passes(self.settings)
        attention = self.shape.attention_flops(tokens, w.length / 2)
        forward = inference_flops(p, tokens) + attention
        backward = forward if self.settings.lora else 2 * forward  # no gradients on the frozen weights
        again = forward if self.settings.gradient_checkpointing else 0
        sampled = forward if w.sampled_at_once else 0
        scored = (inferred - (1 if w.sampled_at_once else 0)) + (1 if self._scores_rollouts() else 0)
        return {
            "rule": float(inference_flops(p, inferred * tokens) + training_flops(p, learned * tokens)),
            "sampling": float(sampled),
            "training": float(scored * forward + forward + again + backward),
            "spent": float(sampled + scored * forward + forward + again + backward),
        }

    def _scores_rollouts(self) -> bool:
        """Return whether a gradient-free pass gives the rollouts' log-probabilities or entropies under the policy."""
        return METHODS[self.settings.method].rollouts and self.settings.method != "grpo"

    @property
    def rule_flops_a_prompt(self) -> float:
        return self.flops["rule"] / self.work.prompts

    # ---- time, in seconds of a step

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Seconds: `training` (the longer of compute and the overlapping exchange), `sampling`, a `step`, the `run`."""
        w = self.work
        compute = self.flops["training"] / self.cluster.gpus / self.cluster.flops
        exchange = self._exchanged() / self.cluster.link
        sampling = 0.0
        if w.sampled_at_once:
            sampling = self._prefill() + w.completion * self.decode_step()["seconds"]
        training = max(compute, exchange)
        return {
            "sampling": sampling,
            "training": training,
            "training_compute": compute,
            "training_exchange": exchange,
            "step": sampling + training,
            "run": (sampling + training) * self.settings.steps,
        }

    def _exchanged(self) -> float:
        """Return the bytes a GPU sends per step: DDP's gradients or, sharded, weights twice and gradients per batch."""
        n = self.cluster.gpus
        if n == 1:
            return 0.0
        share = (n - 1) / n
        if self.cluster.shards == 1:
            return 2 * share * 4 * self.trained
        return share * self.work.batches * (2 * 2 * self.shape.parameters + 2 * self.trained)

    def _prefill(self) -> float:
        tokens: float = self.work.sampled_at_once * self.work.prompt
        if self.settings.vllm == "server":
            tokens *= self.work.gpus / GPUS_A_NODE
        flops = 2 * self.shape.multiplied * tokens
        return (flops + self.shape.attention_flops(tokens, self.work.prompt / 2)) / self.cluster.flops

    def decode_step(self) -> dict[str, float]:
        """Return what bounds a decoding step of all samples drawn at once, and what EM-INF would add to it.

        A vLLM server is assumed to be one machine with eight of these GPUs, which samples for all training GPUs.
        """
        w, card, size = self.work, self.cluster.card, 2 if self.mixed else 4
        served = self.settings.vllm == "server"
        rows = max(1, w.sampled_at_once * (w.gpus if served else 1))
        together = GPUS_A_NODE if served else 1
        context = w.prompt + w.completion / 2
        compute = inference_flops(self.shape.multiplied, rows) + self.shape.attention_flops(rows, context)
        keys = rows * context * 2 * self.shape.layers * self.shape.key_value * size
        others = 0 if self.settings.vllm else 1 - 1 / self.cluster.shards
        weights = size * self.shape.parameters
        bounds = {
            "compute": compute / self.cluster.flops / together,
            "memory": (weights + keys) / card.bandwidth / together,
            "links": weights * others / self.cluster.link,
        }
        steps = self.settings.entropy_min.get("n_grad_steps", 3)
        entries = rows * self.shape.vocabulary
        # Our kernel, with every row adjusted: a row is read and written unchanged, read for its entropy after each step
        # but the last, and read and written at the end. Nothing is kept in between: after k steps, k are recomputed.
        em_inf = max(
            4 * entries * (steps + 3) / card.bandwidth,
            EM_INF_FLOPS_AN_ENTRY * entries * steps * (steps + 1) / 2 / card.elementwise,
        )
        seconds = max(bounds.values())
        return {**bounds, "seconds": seconds, "em_inf": em_inf, "em_inf_share": em_inf / seconds, "rows": rows}

    # ---- report

    @cached_property
    def warnings(self) -> list[str]:
        found = []
        memory = self.memory
        if not self._vllm_fits():
            found.append(
                f"a vLLM in the training processes has {VLLM_SHARE:.0%} of a GPU, {VLLM_SHARE * self._gigabytes:.0f} "
                f"GB, but the weights take {2 * self.shape.parameters / 1e9:.0f} GB: give --vllm server"
            )
        if memory["peak"] > USABLE * self.cluster.card.memory:
            worst = max(("sampling", "training", "updating"), key=lambda moment: memory[moment])
            found.append(
                f"does not fit: {memory['peak'] / 1e9:.0f} GB while {worst}, of {USABLE:.0%} of "
                f"{self._gigabytes:.0f} GB; {self._way_out(worst)}"
            )
        if self.cluster.shards > 1 and self.work.sampled_at_once and not self.settings.vllm:
            step = self.decode_step()
            if step["links"] >= step["seconds"]:
                found.append(
                    f"sampling gathers the sharded weights for every token, {step['links'] * 1e3:.0f} ms each"
                    "; give --vllm colocate"
                )
        return found

    @property
    def _gigabytes(self) -> float:
        return self.cluster.card.memory / 1e9

    def _way_out(self, moment: str) -> str:
        ways = []
        if moment == "sampling":
            ways.append("--vllm, or fewer samples per step")
        elif moment == "training" and not self.settings.gradient_checkpointing:
            ways.append("--gradient-checkpointing, or a smaller --batch-size")
        for gpus in (2**k for k in range(1, 11)):
            more = replace(self.cluster, gpus=max(gpus, self.cluster.gpus), sharding="fsdp2")
            if replace(self, cluster=more).fits:
                ways.append(f"FSDP2 on {more.gpus} GPUs")
                break
        if not self.settings.lora:
            ways.append("--lora")
        return "try " + ", ".join(ways)

    def to_dict(self) -> dict[str, Any]:
        cluster = asdict(self.cluster)
        return {
            "model": asdict(self.shape),
            "method": self.settings.method,
            "cluster": {**cluster.pop("card"), **cluster},
            "step": {
                "samples": self.work.samples,
                "prompts": self.work.prompts,
                "prompt_length": self.work.prompt,
                "completion_length": self.work.completion,
                "batch": self.work.batch,
                "batches": self.work.batches,
                "sampled_at_once": self.work.sampled_at_once,
            },
            "steps": self.settings.steps,
            "memory_bytes": self.memory,
            "fits": self.fits,
            "flops": {**self.flops, "rule_run": self.flops["rule"] * self.settings.steps},
            "seconds": self.seconds,
            "decode_step_seconds": self.decode_step(),
            "warnings": self.warnings,
        }
