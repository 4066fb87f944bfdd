"""The machines a plan is made for: known GPUs with their figures, and clusters of them."""

from dataclasses import dataclass

GB = 1e9
# Between machines: one 400 Gbit/s network card per GPU, as is usual in nodes of eight.
NETWORK = 50 * GB
GPUS_A_NODE = 8


@dataclass(frozen=True)
class Card:
    """The data sheet figures of a GPU.

    Args:
        memory: bytes.
        flops: in dense bfloat16 matrix products, FLOP/s.
        bandwidth: of its memory, bytes/s.
        link: to the other GPUs in its machine, bytes/s in one direction.
        float32: outside the matrix units, FLOP/s; a sixteenth of `flops` if None, as on an A100.
    """

    memory: float
    flops: float
    bandwidth: float
    link: float
    float32: float | None = None

    @property
    def elementwise(self) -> float:
        """FLOP/s of elementwise operations."""
        return self.float32 or self.flops / 16


CARDS = {
    "l4": Card(24 * GB, 121e12, 300 * GB, 32 * GB, 30.3e12),
    "rtx-4090": Card(24 * GB, 165e12, 1008 * GB, 32 * GB, 82.6e12),
    "l40s": Card(48 * GB, 362e12, 864 * GB, 32 * GB, 91.6e12),
    "a100-40gb": Card(40 * GB, 312e12, 1555 * GB, 300 * GB, 19.5e12),
    "a100-80gb": Card(80 * GB, 312e12, 2039 * GB, 300 * GB, 19.5e12),
    "h100-80gb": Card(80 * GB, 989e12, 3350 * GB, 450 * GB, 67e12),
    "gh200-96gb": Card(96 * GB, 989e12, 4000 * GB, 450 * GB, 67e12),
    "h200-141gb": Card(141 * GB, 989e12, 4800 * GB, 450 * GB, 67e12),
    "b200-180gb": Card(180 * GB, 2250e12, 7700 * GB, 900 * GB, 80e12),
}
SHARDINGS = ("none", "fsdp2", "zero3")


@dataclass(frozen=True)
class Cluster:
    """GPUs of one kind, and how a model is distributed over them.

    Args:
        card: the figures of one GPU.
        gpus: the total number, with one process on each.
        sharding: "none" (a whole copy on each), "fsdp2" or "zero3" (weights, gradients and optimizer state split).
        mfu: the share of the peak FLOP/s reached by passes over many tokens at once.
        name: of the GPU, for display.

    Raises:
        ValueError: a value is out of range.
    """

    card: Card
    gpus: int = 1
    sharding: str = "none"
    mfu: float = 0.4
    name: str = "GPU"

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise ValueError(f"gpus is {self.gpus}, but must be at least 1")
        if self.sharding not in SHARDINGS:
            raise ValueError(f"sharding is {self.sharding!r}, but must be one of {', '.join(SHARDINGS)}")
        if not 0 < self.mfu <= 1:
            raise ValueError(f"mfu is {self.mfu}, but must be in (0, 1]")
        for name in ("memory", "flops", "bandwidth", "link"):
            if not getattr(self.card, name) > 0:
                raise ValueError(f"the GPU's {name} is {getattr(self.card, name)}, but must be above 0")

    @property
    def shards(self) -> int:
        """Parts that weights, gradients and optimizer state are split into."""
        return 1 if self.sharding == "none" else self.gpus

    @property
    def flops(self) -> float:
        """FLOP/s that one GPU is expected to reach on many tokens at once."""
        return self.card.flops * self.mfu

    @property
    def link(self) -> float:
        """Bytes/s at which a GPU exchanges with all others."""
        return self.card.link if self.gpus <= GPUS_A_NODE else min(self.card.link, NETWORK)


def card_of(name: str) -> Card:
    """Return the GPU of that name.

    Raises:
        ValueError: there is no GPU of that name.
    """
    if name not in CARDS:
        raise ValueError(f"gpu is {name!r}, but must be one of {', '.join(CARDS)}; or give its figures one by one")
    return CARDS[name]
