"""The Python program and the command that reproduce elsewhere what the panes show."""

import shlex

from em_hf.generation.config import EntropyMinConfig
from em_hf.settings import is_gguf

from .request import DEFAULTS, DecodeRequest


def python_program(request: DecodeRequest, room: int, config: EntropyMinConfig | None) -> str:
    """Return a program that prints both texts.

    Args:
        room: how many new tokens the model's context allowed.
        config: EM-INF's settings, or None if it is off.
    """
    rows = "[False, False]"
    imports = ["CoupledSampling", "enable_entropy_min"]
    if config is not None:
        given = {"threshold": config.threshold, "n_grad_steps": config.n_grad_steps}
        given |= {name: value for name, value in config.to_dict().items() if value != getattr(DEFAULTS, name)}
        rows = f"[False, EntropyMinConfig({', '.join(f'{name}={value!r}' for name, value in given.items())})]"
        imports.insert(1, "EntropyMinConfig")
    draw = "do_sample=False"
    if request.temperature > 0:
        draw = f"do_sample=True, temperature={request.temperature!r}, top_k=0, top_p=1.0"
        draw += f", coupled=CoupledSampling({request.seed})"
    else:
        imports.remove("CoupledSampling")
    load, uses = "load_model", "from em_hf.models import encode_prompts, load_model"
    if is_gguf(request.model):
        load = "load_gguf_model"
        uses = "from em_hf.generation.gguf import load_gguf_model\nfrom em_hf.models import encode_prompts"
    return f"""from em_hf import {", ".join(imports)}
{uses}

model, tokenizer = {load}({request.model!r})
enable_entropy_min(model)
inputs = encode_prompts(tokenizer, [{request.prompt!r}] * 2)
output = model.generate(
    **{{name: value.to(model.device) for name, value in inputs.items()}},
    max_new_tokens={room},
    {draw},
    entropy_min={rows},
)
new = output[:, inputs["input_ids"].shape[1] :]
print(*tokenizer.batch_decode(new, skip_special_tokens=True), sep="\\n\\n")
"""


def command_line(request: DecodeRequest) -> str | None:
    """Return the `em-hf generate` call, or None for greedy decoding, which that command does not support."""
    if request.temperature == 0:
        return None
    words = ["em-hf", "generate", "--model", request.model, "--seed", str(request.seed)]
    words += ["--max-new-tokens", str(request.max_new_tokens), "--temperature", repr(request.temperature)]
    steps = request.n_grad_steps if request.entropy_min else 0
    words += ["--threshold", repr(request.threshold), "--n-grad-steps", str(steps), "--", request.prompt]
    return shlex.join(words)
