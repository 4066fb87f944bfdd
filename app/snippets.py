"""The Python program and the command that repeat, elsewhere, what the panes show."""

import shlex

from .asked import Asked


def python_program(asked: Asked, room: int) -> str:
    """A program that prints both texts; `room` is how many new tokens the model's context allowed."""
    config = asked.config()
    rows = "[False, False]"
    imports = ["CoupledSampling", "enable_entropy_min"]
    if config is not None:
        rows = f"[False, EntropyMinConfig(threshold={config.threshold!r}, n_grad_steps={config.n_grad_steps})]"
        imports.insert(1, "EntropyMinConfig")
    draw = "do_sample=False"
    if asked.temperature > 0:
        draw = f"do_sample=True, temperature={asked.temperature!r}, top_k=0, top_p=1.0"
        draw += f", coupled=CoupledSampling({asked.seed})"
    else:
        imports.remove("CoupledSampling")
    return f"""from em_hf import {", ".join(imports)}
from em_hf.models import encode_prompts, load_model

model, tokenizer = load_model({asked.model!r})
enable_entropy_min(model)
inputs = encode_prompts(tokenizer, [{asked.prompt!r}] * 2)
output = model.generate(
    **{{name: value.to(model.device) for name, value in inputs.items()}},
    max_new_tokens={room},
    {draw},
    entropy_min={rows},
)
new = output[:, inputs["input_ids"].shape[1] :]
print(*tokenizer.batch_decode(new, skip_special_tokens=True), sep="\\n\\n")
"""


def command_line(asked: Asked) -> str | None:
    """The `em-hf generate` call; None for greedy decoding, which that command does not do."""
    if asked.temperature == 0:
        return None
    words = ["em-hf", "generate", "--model", asked.model, "--seed", str(asked.seed)]
    words += ["--max-new-tokens", str(asked.max_new_tokens), "--temperature", repr(asked.temperature)]
    steps = asked.n_grad_steps if asked.entropy_min else 0
    words += ["--threshold", repr(asked.threshold), "--n-grad-steps", str(steps), "--", asked.prompt]
    return shlex.join(words)
