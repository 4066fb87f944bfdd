"""Load a model and tokenizer by name: a Hub id, a folder, or a pocket model. Errors say what to do."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from em_hf.messages import one_line
from em_hf.runs import RUN_FILE, read_facts
from em_hf.settings import POCKET_NAME, POCKET_NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# A text, or messages with a role and a content each.
Prompt = str | Sequence[Mapping[str, Any]]


def resolve_model(name: str) -> str:
    """Return the argument of `from_pretrained` for `name`: a pocket model's folder, or the name with `~` expanded."""
    if name not in POCKET_NAMES:
        return os.path.expanduser(name)
    from em_hf.pocket import POCKET_MISLED, POCKET_REASONER

    return str(POCKET_REASONER if name == POCKET_NAME else POCKET_MISLED)


def hub_commit(name: str, revision: str | None = None) -> str | None:
    """Return the commit of a Hub model that was loaded, by default from `main`, or None for a folder or pocket model.

    transformers keeps it only in the path of the cache, and a branch can name another one tomorrow.

    Raises:
        OSError: The cache does not have this model.
    """
    from transformers.utils.hub import cached_file, extract_commit_hash

    source = resolve_model(name)
    if Path(source).exists():
        return None
    return extract_commit_hash(cached_file(source, "config.json", revision=revision, local_files_only=True), None)


def best_device() -> torch.device:
    """Return the accelerator if there is one, else the CPU."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def place_of(device: str | torch.device | None) -> torch.device:
    """Return the device with this name, or the best available one if None.

    Raises:
        ValueError: This machine has no such device.
    """
    if device is None:
        return best_device()
    there = ["cpu"]
    if torch.accelerator.is_available():
        kind = best_device().type
        there += [kind, *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]
    if str(device) not in there:
        raise ValueError(f"device is {str(device)!r}, but this machine has {', '.join(there)}")
    return torch.device(device)


def load_model(
    name: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | torch.device | None = None,
    trust_remote_code: bool = False,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Return a causal language model, in evaluation mode, and its tokenizer, padded on the left.

    Args:
        name: A Hub id, a folder (of a model, or of a PEFT adapter), `pocket-reasoner` or `pocket-misled`.
        dtype: "auto" (the checkpoint's own on an accelerator, float32 on a CPU), or a torch dtype's name.

    Raises:
        ValueError: The model has no generation head, needs custom code while `trust_remote_code` is off, or has damaged
            files; or this machine has no such device.
        OSError: The model cannot be found or read, or is gated.
    """
    place = place_of(device)
    options = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    source = resolve_model(name)
    torch_dtype = dtype if dtype != "auto" else ("float32" if place.type == "cpu" else "auto")
    try:
        model = _load(source, name, {**options, "dtype": torch_dtype})
        tokenizer = _load_tokenizer(source, name, options)
        return model.to(place).eval(), tokenizer  # type: ignore[arg-type]  # transformers' wrapper of `to` hides self
    except (ValueError, OSError, ImportError, MemoryError):
        raise
    except BaseException as error:  # damaged files raise anything: Exception itself, or a Rust panic, which is not one
        text = one_line(error, 300)
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit) or "out of memory" in text.lower():
            raise
        raise ValueError(
            f"{name} cannot be loaded; its files are damaged, or not a model's ({type(error).__name__}: {text})"
        ) from error


def _load(source: str, name: str, options: dict) -> "PreTrainedModel":
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.utils import find_adapter_config_file

    folder = Path(source)
    if not folder.exists() and (folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1):
        raise OSError(f"there is no model folder at {source}")
    try:
        if (folder / "adapter_config.json").is_file():
            _check_base_revision(folder)
            return _load_adapter(source, options)
        try:
            config = AutoConfig.from_pretrained(source, **{k: v for k, v in options.items() if k != "dtype"})
        except (OSError, ValueError) as error:
            # A Hub repository that holds only an adapter; checked only now, to spare others the request.
            no_config = ("does not appear to have a file named config.json", "Should have a `model_type` key")
            if any(words in str(error) for words in no_config) and find_adapter_config_file(
                source, revision=options["revision"]
            ):
                return _load_adapter(source, options)
            raise
        known = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in getattr(config, "auto_map", {})
        if not known:
            raise ValueError(
                f"{name} is a {config.model_type} model, which has no causal language modeling head to generate with; "
                "name a text-generation model"
            )
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, config=config, output_loading_info=True, **options)
        model, report = loaded
        lacking = sorted(report["missing_keys"])
        if lacking and not hasattr(config, "quantization_config"):  # transformers would draw them at random
            what = f"{lacking[0]} and {len(lacking) - 1} others" if len(lacking) > 1 else lacking[0]
            raise ValueError(f"the weights of {name} lack {what} of config.json: copy or download them again")
        return model
    except (OSError, ValueError) as error:
        raise type_of(error)(explain(error, name)) from error
    except SafetensorError as error:
        raise OSError(f"the weights of {name} cannot be read ({error}): copy or download them again") from error


def _check_base_revision(folder: Path) -> None:
    """Raise ValueError if PEFT would load another revision of the base model than a run's adapter was trained on.

    The adapters of em-hf 0.1 do not name one, and PEFT takes `main`.
    """
    if not (folder / RUN_FILE).is_file():
        return
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    revision = read_facts(folder).base_revision
    if revision and not config.get("revision") and not Path(str(config.get("base_model_name_or_path"))).exists():
        raise ValueError(
            f"{folder} was trained on revision {revision} of its base model, which its adapter_config.json does not "
            f'say: put "revision": "{revision}" there'
        )


def _load_adapter(source: str, options: dict) -> "PreTrainedModel":
    try:
        from peft import AutoPeftModelForCausalLM
    except ImportError as error:
        raise ImportError("a LoRA adapter needs PEFT: pip install 'em-hf[train]'") from error
    from transformers import GenerationConfig

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")  # PEFT would go on without them
        model = AutoPeftModelForCausalLM.from_pretrained(source, **options)
    fold_head(model)
    try:  # PEFT reads the base model's only; the one beside the adapter holds the EM settings
        own = GenerationConfig.from_pretrained(source, revision=options["revision"])
    except OSError:
        return model
    model.get_base_model().generation_config = own
    return model


def fold_head(model: Any) -> None:
    """Make a frozen output head multiply all rows of a batch at once.

    torch folds the rows of a batch into one product only for weights that need a gradient or for contiguous inputs.
    The head of a model with an adapter is frozen, and the first step of `generate` hands it a slice: on a CPU it would
    be copied and multiplied once per row, several hundred times as slowly for gemma-3-270m in bfloat16.
    """
    head = model.get_output_embeddings()
    if isinstance(head, torch.nn.Linear) and not head.weight.requires_grad:
        head.register_forward_pre_hook(_contiguous)


def _contiguous(head: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def _load_tokenizer(source: str, name: str, options: dict) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **options)
    except (OSError, ValueError) as error:
        raise type_of(error)(explain(error, name)) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def vocabulary_size(tokenizer: Any) -> int:
    """Return how many tokens a model has to embed for this tokenizer: one more than the largest id in use.

    An added token does not count unless it begins or ends a text: Gemma's tokenizer has one for images, which the text
    models do not embed.
    """
    added = tokenizer.get_added_vocab()
    ids = [token for text, token in tokenizer.get_vocab().items() if text not in added]
    return 1 + max([*ids, *(token or 0 for token in (tokenizer.bos_token_id, tokenizer.eos_token_id))], default=-1)


def type_of(error: Exception) -> type[Exception]:
    """Return ValueError or OSError, the two kinds that this module raises."""
    return ValueError if isinstance(error, ValueError) else OSError


def explain(error: Exception, name: str) -> str:
    """Return one line on why `name` could not be loaded and what to do about it."""
    text = one_line(error)
    low = text.replace(name, "").lower()  # a folder may be called anything
    if "gated" in low:
        return f"{name} is gated: accept its terms on its Hub page, then log in with `hf auth login` or set HF_TOKEN"
    if "trust_remote_code" in low:
        return f"{name} comes with code of its own; read it, then allow it with --trust-remote-code"
    if "not a valid model identifier" in low or "repository not found" in low or "404" in low:
        return f"there is no model {name}, neither as a folder here nor on the Hub (a private one needs HF_TOKEN)"
    if "couldn't connect" in low or "offline" in low or "connection" in low or "cannot find the requested files" in low:
        return f"{name} is not in the local cache and the Hub is out of reach; give a folder, or go online once"
    return text if name in text else f"{name}: {text}"


def unwrap_model(model: Any) -> Any:
    """Return the model itself, without the wrappers of `torch.compile` and PEFT."""
    model = getattr(model, "_orig_mod", model)
    return model.get_base_model() if is_peft_model(model) else model


def is_peft_model(model: Any) -> bool:
    """Return whether PEFT wraps the model; PEFT itself is not imported."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    *,
    chat_template: bool = True,
    limit: int | None = None,
) -> dict[str, Tensor]:
    """Return prompts as a left-padded batch: `input_ids` and `attention_mask`, `[prompts, longest prompt]`.

    Args:
        tokenizer: of the model that is to continue the prompts.
        prompts: each a text or a list of messages (`{"role": ..., "content": ...}`), system messages included.
        chat_template: put each text into the tokenizer's chat template as a user message, if it has one. Messages
            always need the template.
        limit: the maximum number of tokens in a prompt, such as the model's context.

    Raises:
        ValueError: a prompt is longer than `limit`, is neither text nor messages, or is a list of messages that the
            tokenizer has no template for.
    """
    # A chat template writes its own special tokens.
    rendered, templated = zip(*(_render(tokenizer, prompt, chat_template) for prompt in prompts), strict=True)
    if len(set(templated)) > 1:
        raise ValueError("prompts mix text and lists of messages with chat_template=False: give one kind, or True")
    batch = tokenizer(
        list(rendered), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=not templated[0]
    )
    longest = int(batch["attention_mask"].sum(1).max())
    if limit is not None and longest > limit:
        raise ValueError(
            f"a prompt has {longest} tokens, but the model's context leaves room for {limit}: shorten the prompt, or "
            "ask for fewer new tokens"
        )
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def _render(tokenizer: "PreTrainedTokenizerBase", prompt: Prompt, chat_template: bool) -> tuple[str, bool]:
    """Return the prompt's text, and whether the chat template wrote it."""
    if isinstance(prompt, str):
        if not (chat_template and tokenizer.chat_template):
            return prompt, False
        prompt = [{"role": "user", "content": prompt}]
    _check_messages(prompt)
    if not tokenizer.chat_template:
        raise ValueError(
            "a prompt is a list of messages, but the tokenizer has no chat template: give the prompt as text, or use "
            "an instruction-tuned model"
        )
    # A final assistant message is the beginning of the answer.
    begun = prompt[-1]["role"] == "assistant"
    text = tokenizer.apply_chat_template(
        [dict(message) for message in prompt],
        add_generation_prompt=not begun,
        continue_final_message=begun,
        tokenize=False,
    )
    return str(text), True


def _check_messages(prompt: Any) -> None:
    what = f"a prompt is {type(prompt).__name__}"
    if isinstance(prompt, Sequence) and not isinstance(prompt, bytes):
        if prompt and all(isinstance(m, Mapping) and isinstance(m.get("content"), str) and "role" in m for m in prompt):
            return
        what = "a prompt is a list of something else" if prompt else "a prompt is an empty list"
    raise ValueError(f'{what}, but must be text or a list of messages such as {{"role": "user", "content": "Hi"}}')


def prompt_length(prompt: Prompt) -> int:
    """Return the number of characters of a prompt, used to batch prompts of similar length."""
    return len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)


def context_length(model: "PreTrainedModel") -> int | None:
    """Return the model's maximum number of tokens, prompt and completion together, or None if it has no bound."""
    config = model.config.get_text_config()
    return getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)


def check_fit(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    length: int,
    *,
    setting: str,
    limit: int | None,
    whose: str,
    chat_template: bool = True,
) -> None:
    """Check that every prompt fits the context together with its completion, and has only tokens that are embedded.

    Args:
        length: the longest completion, in tokens.
        setting: the name of the setting that has this length.
        limit: the context in tokens, or None if it has no bound.
        whose: what has this context: the model, or the server that samples for it.

    Raises:
        ValueError: a prompt does not, or none could.

    Example:
        >>> from em_hf.models import load_model
        >>> model, tokenizer = load_model("pocket-reasoner")
        >>> check_fit(model, tokenizer, ["2 + 3?"], 64, setting="max_new_tokens", limit=256, whose="the model")
    """
    room = None if limit is None else limit - length
    if room is not None and room < 1:
        raise ValueError(
            f"{setting} is {length}, but the context of {whose} has only {limit} tokens; give "
            f"--{setting.replace('_', '-')} less"
        )
    embedded = model.config.get_text_config().vocab_size
    for start in range(0, len(prompts), 1000):
        part = prompts[start : start + 1000]
        ids = encode_prompts(tokenizer, part, chat_template=chat_template, limit=room)["input_ids"]
        if int(ids.max()) >= embedded:
            raise ValueError(
                f"{model.name_or_path}: the tokenizer gives token {int(ids.max())}, but the model embeds {embedded}: "
                "they do not belong together; copy or download both again"
            )
