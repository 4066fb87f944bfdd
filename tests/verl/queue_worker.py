"""`python -m tests.verl.queue_worker FILE`: the trainer's hook on verl's own queue, under Ray: what it left (JSON)."""

import json
import sys
from pathlib import Path
from typing import Any

import ray
import transfer_queue as tq
from hydra import compose, initialize_config_dir
from tensordict import TensorDict
from verl.trainer.ppo.v1.trainer_base import get_trainer_cls

from em_hf.training.verl import REWARDS
from tests.verl.batches import LENGTHS, batch

RUNS = Path(sys.modules["em_hf.training.verl"].__file__ or "").parent / "verl_runs"


def rows(data: TensorDict, name: str) -> list[list[float]]:
    return [row.tolist() for row in data[name].unbind()]


def main() -> dict[str, Any]:
    with initialize_config_dir(str(RUNS), version_base=None):
        config = compose("em-rl-sequence")
    config.transfer_queue.backend.SimpleStorage.num_data_storage_units = 1
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tq.init(config.transfer_queue)
    found: dict[str, Any] = {}
    try:
        for name in REWARDS:
            trainer_class = get_trainer_cls("em_hf")
            trainer = object.__new__(trainer_class)  # its constructor wants a GPU's workers
            trainer.config, trainer.reward_name = config, name
            keys = [f"{name}-{i}" for i in range(len(LENGTHS))]
            meta = tq.kv_batch_put(keys=keys, partition_id="train", fields=batch(), tags=[{}] * len(keys))
            metrics: dict[str, Any] = {}
            trainer._compute_advantage(meta, metrics)
            wanted = ["entropy", "old_log_probs", "rm_scores", "advantages"]
            data = tq.kv_batch_get(keys=keys, partition_id="train", select_fields=wanted)
            found[name] = {**{field: rows(data, field) for field in wanted}, "mean": metrics["em_hf/reward/mean"]}
    finally:
        tq.close()
        ray.shutdown()
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(main()))
