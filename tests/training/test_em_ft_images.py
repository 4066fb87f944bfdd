"""EM-FT of a vision-language model, small and random: what was seen belongs to the distributions that are sharpened."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from em_hf import EMFTConfig, EMFTTrainer
from tests.letters import LETTERS, letter_tokenizer
from tests.reference import entropy

SIDE, PATCH = 8, 4
TEMPLATE = (
    "{% for m in messages %}{% for part in m['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}e{% endif %}"
)


@pytest.fixture
def processor() -> LlavaProcessor:
    tokenizer = letter_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )


@pytest.fixture
def model() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "initializer_range": 0.5}
    text = LlamaConfig(vocab_size=len(LETTERS) + 1, max_position_embeddings=64, eos_token_id=1, pad_token_id=0, **sizes)
    seen = CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, **sizes)
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=seen, text_config=text, image_token_index=8)).eval()


def rows() -> list[dict[str, Any]]:
    colours = ("red", "green", "blue", "white")
    asked = ("ab", "c", "bca", "d")
    return [
        {"prompt": [{"role": "user", "content": text}], "image": Image.new("RGB", (SIDE, SIDE), colour)}
        for text, colour in zip(asked, colours, strict=True)
    ]


def test_the_loss_is_the_entropy_given_the_images_and_a_step_trains_on_it(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, tmp_path: Path
) -> None:
    args = EMFTConfig(
        str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        max_completion_length=3,
        learning_rate=1e-2,
        loss_reduction="token_mean",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
    )
    t = EMFTTrainer(model, args, train_dataset=rows(), processing_class=processor)
    inputs = t._prepare_inputs(rows()[:2])
    values = []
    for i, row in enumerate(rows()[:2]):
        pixels = processor.image_processor(row["image"], return_tensors="pt")["pixel_values"]
        prompt = inputs["prompt_ids"][i][inputs["prompt_mask"][i].bool()]
        drawn = inputs["completion_ids"][i][inputs["completion_mask"][i].bool()]
        assert (prompt == 8).sum() == (SIDE // PATCH) ** 2
        z = model(input_ids=torch.cat([prompt, drawn])[None], pixel_values=pixels).logits[0, -len(drawn) - 1 : -1]
        other = model(input_ids=torch.cat([prompt, drawn])[None], pixel_values=-pixels).logits[0, -len(drawn) - 1 : -1]
        assert not torch.allclose(z, other, atol=1e-2)  # the images matter
        values += [float(entropy(row_of).detach()) for row_of in z]
    assert float(t.compute_loss(model, inputs).detach()) == pytest.approx(sum(values) / len(values), abs=1e-5)
    before = {name: value.clone() for name, value in model.named_parameters()}
    t.train()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert any("vision" in name for name in changed) and any("language_model" in name for name in changed)
