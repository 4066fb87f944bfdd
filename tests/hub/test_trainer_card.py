"""`push_to_hub` of the trainers themselves uploads the card that `em-hf push` would make."""

from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from em_hf.training.trainer_card import _only_commit
from tests.hub.conftest import environment
from tests.hub.server import Hub, card_errors
from tests.hub.test_end_to_end import python

CODE = """if True:
    import sys
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from em_hf import EMFTConfig, EMFTTrainer, EMRLConfig, EMRLTrainer
    kind, model_id, source = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
    shared = dict(
        output_dir="out", max_steps=2, per_device_train_batch_size=4, max_completion_length=4, report_to="none",
        use_cpu=True, logging_steps=1, push_to_hub=True, hub_model_id=model_id, hub_private_repo=True, save_steps=2,
        disable_tqdm=True,
    )
    data = Dataset.from_list([{"prompt": "ab"}, {"prompt": "c"}] * 4)
    if kind == "em-ft":
        trainer = EMFTTrainer(model, EMFTConfig(**shared), train_dataset=data, processing_class=tokenizer)
    else:
        args = EMRLConfig(**shared, reward="token", num_generations=2)
        trainer = EMRLTrainer(model, args, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    print(trainer.push_to_hub("Done"))
"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("em-ft", ["minimize  1/N Σ_i Σ_t H_t", "fine-tuning (EM-FT), on prompts alone: no label was used"]),
        ("em-rl-token", ["maximize E[-Σ_t H(π(·|x, y_<t))]", "TRL's RLOOTrainer", "equation 4"]),
    ],
)
def test_a_trainers_own_push_uploads_our_card(
    kind: str, words: list[str], hub: Hub, model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    repo, base = f"alice/trained-{kind}", f"lab/base-of-{kind}"
    hub.store.link(base, model)
    source = base if kind == "em-ft" else str(model)
    python(CODE, kind, repo, source, env=environment(hub, tmp_path / "home"), cwd=tmp_path)
    files = hub.content(repo)
    assert "model.safetensors" in files and hub.repo(repo).private
    card = files["README.md"].decode()
    flat = " ".join(card.split())
    for text in words:
        assert " ".join(text.split()) in flat
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and kind in front["tags"] and "em-hf" in front["tags"]
    at = f"Made from [{base}](https://huggingface.co/{base}) at revision `{hub.repo(base).head('main')}` by"
    assert (at in flat) == (front.get("base_model") == base) == (source == base)
    assert "Steps: 2" in card and "| `learning_rate` |" in card and str(tmp_path) not in card and str(model) not in card
    assert not card_errors(card)


def test_the_commit_is_known_only_while_the_cache_has_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert _only_commit("lab/model") is None
    for commit, told in (("1" * 40, "1" * 40), ("2" * 40, None)):
        config = tmp_path / "models--lab--model" / "snapshots" / commit / "config.json"
        config.parent.mkdir(parents=True)
        config.write_text("{}")
        assert _only_commit("lab/model") == told
    for name in ("", str(config.parent), "../lab/model"):
        assert _only_commit(name) is None
