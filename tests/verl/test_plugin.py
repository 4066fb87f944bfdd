"""The plug-in in the real verl: found and loaded by it, and its hook driven with verl's own batch classes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import verl
from omegaconf import OmegaConf
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import trainer_base
from verl.trainer.ppo.v1.trainer_base import get_trainer_cls

from em_hf.training import rewards
from em_hf.training import verl as plugin
from tests.verl.batches import batch

RUNS = Path(plugin.__file__).parent / "verl_runs"


def test_importing_verl_alone_registers_the_trainer() -> None:
    code = (
        "import sys, verl; assert 'em_hf.training.verl' in sys.modules; "
        "from verl.trainer.ppo.v1.trainer_base import get_trainer_cls; print(get_trainer_cls('em_hf').__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split()[-1:] == ["EMHFTrainer"], done.stderr[-2000:]
    assert get_trainer_cls("em_hf") is plugin.EMHFTrainer and verl.__version__


def config(**em_hf: Any) -> Any:
    return OmegaConf.create(
        {
            "em_hf": em_hf,
            "algorithm": {"use_kl_in_reward": False, "adv_estimator": "rloo", "gamma": 1.0, "lam": 1.0},
            "actor_rollout_ref": {"rollout": {"n": 2}},
            "trainer": {"v1": {"trainer_mode": "em_hf"}},
        }
    )


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """What verl's queue holds for a batch: nested tensors by field, without Ray."""
    held: dict[str, Any] = dict(batch().items())

    def get(keys: Any, partition_id: Any, select_fields: list[str]) -> TensorDict:
        return TensorDict({name: held[name] for name in select_fields if name in held}, batch_size=len(keys))

    def put(keys: Any, partition_id: Any, fields: TensorDict) -> Any:
        held.update({name: fields[name] for name in fields.keys()})
        return KVBatchMeta(keys=keys, tags=[{}] * len(keys), partition_id=partition_id)

    for module in (trainer_base.tq, plugin.tq):
        monkeypatch.setattr(module, "kv_batch_get", get)
        monkeypatch.setattr(module, "kv_batch_put", put)
    return held


@pytest.mark.parametrize("name", plugin.REWARDS)
def test_the_hook_gives_the_rewards_of_the_tensor_functions_and_the_parents_advantages(
    name: str, queue: dict[str, torch.Tensor]
) -> None:
    trainer = object.__new__(plugin.EMHFTrainer)  # the parent's constructor starts Ray workers
    trainer.config, trainer.reward_name = config(reward=name), name
    keys = ["0", "1", "2", "3"]
    batch = KVBatchMeta(keys=keys, tags=[{}] * 4, partition_id="train")
    metrics: dict[str, Any] = {}
    trainer._compute_advantage(batch, metrics)
    scores = queue["rm_scores"].unbind()
    function = {"sequence": "sequence_reward", "token": "token_reward"}.get(name, f"{name}_reward")
    wanted = []
    for entropies, log_probs in zip(queue["entropy"].unbind(), queue["old_log_probs"].unbind(), strict=True):
        mask = torch.ones(1, len(entropies))
        wanted.append(float(getattr(rewards, function)(log_probs[None], entropies[None], mask)))
    assert [float(row[-1]) for row in scores] == pytest.approx(wanted)
    assert all((row[:-1] == 0).all() for row in scores)
    assert metrics["em_hf/reward/mean"] == pytest.approx(sum(wanted) / 4)
    # leave one out of two: the reward minus the other's
    advantages = [float(row[0]) for row in queue["advantages"].unbind()]
    pairs = [(wanted[0], wanted[1]), (wanted[1], wanted[0]), (wanted[2], wanted[3]), (wanted[3], wanted[2])]
    assert advantages == pytest.approx([own - other for own, other in pairs], abs=1e-5)


def test_what_would_give_no_entropies_or_no_reward_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"em_hf\.reward is 'votes', but must be one of sequence, token"):
        plugin.EMHFTrainer(config(reward="votes"))
    bypassing = config(reward="token")
    bypassing.algorithm.rollout_correction = {"bypass_mode": True}
    with pytest.raises(ValueError, match="bypass_mode is on"):
        plugin.EMHFTrainer(bypassing)


def test_the_last_token_that_counts_gets_the_reward() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0]])
    scores = plugin.at_last_token(torch.tensor([1.0, 2.0, 3.0]), mask)
    assert scores.tolist() == [[0, 1, 0, 0], [0, 0, 0, 2], [0, 0, 3, 0]]


@pytest.mark.parametrize("name", sorted(path.stem for path in RUNS.glob("*.yaml")))
def test_every_run_is_a_config_that_verl_composes_and_finds_whole(name: str) -> None:
    from hydra import compose, initialize_config_dir
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    with initialize_config_dir(str(RUNS), version_base=None):
        composed = compose(name, overrides=["data.train_files=prompts.parquet"])
    # as verl.trainer.main_ppo does
    validate_config(composed, use_reference_policy=need_reference_policy(composed), use_critic=need_critic(composed))
    assert not need_critic(composed) and composed.trainer.use_v1
    OmegaConf.resolve(composed)
    assert composed.data.val_files == "prompts.parquet"
    reward = get_custom_reward_fn(composed)
    assert reward is not None
    assert reward(data_source="any", solution_str="4", ground_truth="", extra_info={}) == 0.0
    if name == "em-ft":
        actor = composed.actor_rollout_ref.actor
        assert (actor.entropy_coeff, actor.loss_agg_mode) == (-1.0, "seq-mean-token-sum")
        assert composed.actor_rollout_ref.rollout.n == 1 and not need_reference_policy(composed)
    else:
        assert composed.trainer.v1.trainer_mode == "em_hf" and composed.em_hf.reward in plugin.REWARDS
        assert composed.actor_rollout_ref.actor.kl_loss_coef == 0.001 and need_reference_policy(composed)


BROKEN = "import sys; sys.modules['verl.trainer.ppo.v1.trainer_sync'] = None; "  # a verl that has another trainer


@pytest.mark.parametrize(
    ("before", "policy", "said"),
    [
        ("", "auto", "loads"),
        ("", "none", "switched off by VERL_USE_EXTERNAL_PLUGINS=none"),
        (BROKEN, "auto", "does not load: em-hf's plug-in is made for verl 0.9, and in verl 0.9.1 it finds not all"),
    ],
)
def test_em_hf_env_says_whether_verl_loads_the_plug_in(before: str, policy: str, said: str) -> None:
    code = before + "from em_hf.cli.main import main; sys.argv = ['em-hf', 'env', '--json']; main()"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}"],
        env={**os.environ, "VERL_USE_EXTERNAL_PLUGINS": policy},
        capture_output=True,
        text=True,
        timeout=300,
    )
    facts = json.loads(done.stdout)
    assert facts["verl"] == verl.__version__ and facts["verl-plugin"].startswith(said), done.stderr[-2000:]
    assert "\n" not in facts["verl-plugin"]
    if before:
        assert "the trainer em_hf is not there" in done.stderr  # verl itself says nothing
