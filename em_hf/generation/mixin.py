"""`generate(..., entropy_min=...)` for one model object, without patching any class of transformers."""

import copyreg
import inspect
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList

from em_hf.generation.config import EntropyMinConfig
from em_hf.generation.coupling import CoupledSampling, CoupledSamplingLogitsProcessor
from em_hf.generation.processors import EntropyMinLogitsProcessor
from em_hf.generation.trace import EntropyTrace
from em_hf.models import is_peft_model, unwrap_model

Model = TypeVar("Model")
# One entry of `entropy_min=`: on with the stored settings, off, or settings for this call.
Setting = bool | EntropyMinConfig | Mapping[str, Any] | None

# The settings' name in `generation_config`. Never "entropy_min": transformers would then take that argument itself,
# without a word, where EM-INF is not enabled.
STORED = "entropy_min_config"
# Where the `generate` of a repository's own code waits while EM-INF is enabled.
_SET_ASIDE = "_em_hf_generate"


class EntropyMinGenerationMixin(GenerationMixin):
    """Adds `entropy_min`, `entropy_trace` and `coupled` to `generate`; everything else is the parent's.

    Overrides `generate` and, where the processors are put together, `_get_logits_processor`. Use
    `enable_entropy_min(model)` to mix it into a loaded model, or it as a first base class:
    `class M(EntropyMinGenerationMixin, LlamaForCausalLM): ...`.
    """

    @torch.no_grad()
    def generate(
        self,
        *args: Any,
        entropy_min: Setting | Sequence[Setting] = None,
        entropy_trace: EntropyTrace | None = None,
        coupled: CoupledSampling | None = None,
        **kwargs: Any,
    ) -> Any:
        """transformers' `generate`, with EM-INF before each token is drawn.

        Args:
            entropy_min: True (the stored settings, else the defaults), False or None (off), an `EntropyMinConfig` or a
                dict of its fields for this call, or a list of these with one entry a prompt, each repeated for
                `num_return_sequences`.
            entropy_trace: filled while generation runs. With `return_dict_in_generate=True` the output has the trace as
                `entropy_trace`, whether one was passed or not.
            coupled: the random numbers to draw with, shared between rows and between calls; needs `do_sample=True`.
            *args, **kwargs: as for the parent.

        Raises:
            ValueError: settings out of range, a list of another length than the batch, or a decoding mode in which
                EM-INF has no meaning (beam search, assisted decoding, continuous batching).
        """
        parent = super().generate
        if _SET_ASIDE in self.__dict__:
            # With EM-INF the standard loop runs; without, what the repository's own code defined.
            parent = parent if _is_on(entropy_min) or entropy_trace or coupled else self.__dict__[_SET_ASIDE]
        if entropy_min is None and entropy_trace is None and coupled is None:
            return parent(*args, **kwargs)
        if isinstance(kwargs.get("custom_generate"), str):  # that repository's code is asked for, with all arguments
            given = {"entropy_min": entropy_min, "entropy_trace": entropy_trace, "coupled": coupled}
            return parent(*args, **kwargs, **{name: value for name, value in given.items() if value is not None})
        if kwargs.get("cache_implementation") == "paged":
            raise ValueError("entropy_min, entropy_trace and coupled do not work with cache_implementation='paged'")
        if kwargs.get("assistant_model") is not None:
            raise ValueError("entropy_min, entropy_trace and coupled do not work with assisted decoding")
        if args:
            bound = inspect.signature(parent).bind(*args, **kwargs).arguments
            extra = [p.name for p in inspect.signature(parent).parameters.values() if p.kind is p.VAR_KEYWORD]
            kwargs = {**bound, **(bound.pop(extra[0], {}) if extra else {})}
            kwargs = {name: value for name, value in kwargs.items() if name not in extra}
        settings = self._entropy_min_settings(entropy_min, kwargs.get("generation_config"))
        if entropy_trace is not None:
            entropy_trace.clear()
        step = _OneCall(settings, entropy_trace)
        ours: list[Any] = [step] if coupled is None else [step, CoupledSamplingLogitsProcessor(coupled)]
        kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or []), *ours])
        result = parent(**kwargs)
        if step.trace is not None:
            sequences = result if isinstance(result, torch.Tensor) else result.sequences
            step.trace.trim(sequences.shape[1] - step.prompt_length)
            if not isinstance(result, torch.Tensor):
                result.entropy_trace = step.trace
        return result

    def generate_batch(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' continuous batching, which has no place for EM-INF: its arguments are refused."""
        for name in ("entropy_min", "entropy_trace", "coupled"):
            if kwargs.pop(name, None) not in (None, False):
                raise ValueError(f"{name} does not work with generate_batch (continuous batching); use generate")
        return super().generate_batch(*args, **kwargs)

    def _entropy_min_settings(
        self, entropy_min: Setting | Sequence[Setting], generation_config: GenerationConfig | None
    ) -> EntropyMinConfig | list[EntropyMinConfig | None] | None:
        def settings(value: Setting) -> EntropyMinConfig | None:
            if value is None or value is False:
                return None
            if value is True:
                stored = getattr(generation_config, STORED, None) or getattr(self.generation_config, STORED, None)
                return EntropyMinConfig.from_dict(stored or {})
            if isinstance(value, EntropyMinConfig):
                return value
            if isinstance(value, Mapping):
                return EntropyMinConfig.from_dict(value)
            raise ValueError(
                f"entropy_min is {value!r}, but must be True, False, an EntropyMinConfig, a dict of its fields, or a "
                "list of these with one entry a prompt"
            )

        if isinstance(entropy_min, Sequence) and not isinstance(entropy_min, str):
            return [settings(value) for value in entropy_min]
        return settings(entropy_min)

    def _get_logits_processor(self, generation_config: GenerationConfig, *args: Any, **kwargs: Any) -> Any:
        """The parent's list; ours learn here what they need of this call, and the coupling goes to its end."""
        processors = super()._get_logits_processor(generation_config, *args, **kwargs)
        prompt_length = kwargs.get("input_ids_seq_length", args[0] if args else 0)
        inputs = kwargs.get("encoder_input_ids")
        for processor in processors:
            if isinstance(processor, _OneCall):
                processor.begin(generation_config, prompt_length, None if inputs is None else inputs.shape[0])
        coupled = [p for p in processors if isinstance(p, CoupledSamplingLogitsProcessor)]
        for processor in coupled:
            if not generation_config.do_sample:
                raise ValueError("coupled needs do_sample=True: greedy decoding draws no random numbers")
            processor.prompt_length = prompt_length
            processors.remove(processor)
        processors.extend(coupled)
        return processors


class _OneCall(EntropyMinLogitsProcessor):
    """The processor of one `generate` call: it knows the call's batch, prompt length and end-of-sequence tokens."""

    def __init__(
        self, settings: EntropyMinConfig | list[EntropyMinConfig | None] | None, trace: EntropyTrace | None
    ) -> None:
        super().__init__(trace=trace)
        self.settings = settings
        self.prompt_length = 0

    def begin(self, generation_config: GenerationConfig, prompt_length: int, prompts: int | None) -> None:
        mode = generation_config.get_generation_mode()
        if mode not in ("sample", "greedy_search"):
            raise ValueError(
                f"entropy_min, entropy_trace and coupled work with sampling and greedy decoding, not {mode.value}: "
                "leave num_beams at 1 and assisted decoding off"
            )
        repeats = generation_config.num_return_sequences or 1
        if isinstance(self.settings, list):
            if prompts is not None and len(self.settings) != prompts:
                raise ValueError(
                    f"entropy_min has {len(self.settings)} entries, but there are {prompts} prompts: give one for each"
                )
            self.config = [config for config in self.settings for _ in range(repeats)]
        else:
            self.config = [self.settings] * (repeats * (prompts or 1)) if self.settings is None else self.settings
        on = self.settings if isinstance(self.settings, list) else [self.settings]
        if not generation_config.do_sample and any(on):
            warnings.warn(
                "entropy_min does not change the output of greedy decoding, since the largest logit stays the largest; "
                "pass do_sample=True",
                stacklevel=5,
            )
        if self.trace is None and generation_config.return_dict_in_generate:
            self.trace = EntropyTrace()
        self.prompt_length = prompt_length
        self.eos_token_ids = generation_config._eos_token_tensor


def _is_on(entropy_min: Setting | Sequence[Setting]) -> bool:
    if isinstance(entropy_min, Sequence) and not isinstance(entropy_min, str):
        return any(_is_on(value) for value in entropy_min)
    return entropy_min is not None and entropy_min is not False


@cache
def _mixed(base: type, mixin: type) -> type:
    """`base` with `mixin` in front, under its own name, so that checkpoints and messages name the same architecture."""

    def __reduce_ex__(self: Any, protocol: int) -> Any:
        # By its name the class would be looked up as `base`; so it is made again from `base` where it is unpickled.
        reduced = super(mixed, self).__reduce_ex__(max(protocol, 2))
        if isinstance(reduced, tuple) and reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]
            return (_new, (base, mixin), *reduced[2:])
        return reduced

    mixed: Any = type(
        base.__name__,
        (mixin, base),
        {
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "__reduce_ex__": __reduce_ex__,
            "_em_hf_base": base,
        },
    )
    return mixed


def _new(base: type, mixin: type) -> Any:
    mixed: Any = _mixed(base, mixin)
    return mixed.__new__(mixed)


class _KeepsSettings:
    """For a PEFT model, whose `save_pretrained` leaves the generation config out: writes it beside the adapter."""

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        result = super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
        unwrap_model(self).generation_config.save_pretrained(save_directory)
        return result


def _mix_in(model: Any, mixin: type) -> None:
    if not isinstance(model, mixin):
        model.__class__ = _mixed(type(model), mixin)  # type: ignore[arg-type]


def _take_out(model: Any, mixin: type) -> None:
    base = type(model).__dict__.get("_em_hf_base")
    if base is not None and isinstance(model, mixin):
        model.__class__ = base


def store_config(model: Any, config: EntropyMinConfig) -> None:
    """Put the settings into `model.generation_config`, as a plain dict, so that saving the model carries them."""
    generation_config = unwrap_model(model).generation_config
    # transformers saves a published config as it came, but checks one that was changed since, and refuses many that it
    # loads (a temperature without do_sample). Our entry is no change to what it checks.
    as_loaded = getattr(generation_config, "_original_object_hash", None) == hash(generation_config)
    setattr(generation_config, STORED, config.to_dict())
    # A config derived from the model's would be made anew at loading, without the settings and without a word.
    generation_config._from_model_config = False
    if as_loaded:
        generation_config._original_object_hash = hash(generation_config)


def stored_settings(model: Any) -> EntropyMinConfig | None:
    """Return the settings stored with the model, None where there are none."""
    stored = getattr(unwrap_model(model).generation_config, STORED, None)
    if stored is None or isinstance(stored, EntropyMinConfig):
        return stored
    return EntropyMinConfig.from_dict(stored)


def enable_entropy_min(model: Model, config: EntropyMinConfig | None = None) -> Model:
    """Let this model object's `generate` take `entropy_min`, `entropy_trace` and `coupled`.

    Switches nothing on: without these arguments `generate` gives what transformers gives. Enabling twice is enabling
    once. A PEFT model is enabled in its base model, and its `save_pretrained` then also writes the generation config.

    Args:
        model: any transformers model that can generate, or a PEFT model around one.
        config: settings to store in `model.generation_config.entropy_min_config`; None keeps what is stored.

    Returns:
        The same model.

    Raises:
        ValueError: the model cannot generate.
    """
    base = unwrap_model(model)
    if not (isinstance(base, GenerationMixin) and base.can_generate()):
        raise ValueError(
            f"enable_entropy_min needs a transformers model that can generate, such as AutoModelForCausalLM gives; "
            f"{type(base).__name__} has no generation head"
        )
    _mix_in(base, EntropyMinGenerationMixin)
    if "generate" in base.__dict__:  # code of a repository, which would hide the class's
        base.__dict__[_SET_ASIDE] = base.__dict__.pop("generate")
    if is_peft_model(model):
        _mix_in(model, _KeepsSettings)
    if config is not None:
        store_config(model, config)
    return model


def disable_entropy_min(model: Model) -> Model:
    """Give the model object back the class it had. Stored settings stay in its generation config.

    Raises:
        ValueError: its own class was written with `EntropyMinGenerationMixin` as a base, so there is no other.
    """
    base = unwrap_model(model)
    _take_out(base, EntropyMinGenerationMixin)
    if isinstance(base, EntropyMinGenerationMixin):
        raise ValueError(f"{type(base).__name__} has EntropyMinGenerationMixin as a base class: it cannot be disabled")
    if _SET_ASIDE in base.__dict__:
        base.__dict__["generate"] = base.__dict__.pop(_SET_ASIDE)
    _take_out(model, _KeepsSettings)
    return model
