"""`generate(..., entropy_min=...)` for one model object, without patching any class of transformers."""

import copy
import copyreg
import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import torch
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    StoppingCriteriaList,
)
from transformers.utils import ModelOutput

from em_hf.generation.batching import (
    init_for_any,
    init_with_settings,
    processors_of_requests,
    requests_with,
    settings_of_requests,
)
from em_hf.generation.config import EntropyMinConfig, requested
from em_hf.generation.coupling import CoupledSampling, CoupledSamplingLogitsProcessor
from em_hf.generation.one_call import OneCall, Watch, WatchedCriteria
from em_hf.generation.processors import EntropyMinLogitsProcessor, checked_trace
from em_hf.generation.trace import EntropyTrace
from em_hf.messages import shown
from em_hf.models import is_peft_model, unwrap_model

Model = TypeVar("Model")
# One entry of `entropy_min=`: on with the stored settings, off, or settings for this call.
Setting = bool | EntropyMinConfig | Mapping[str, Any] | None

# The name of the settings in `generation_config`. Not "entropy_min": transformers would then silently accept that
# argument for models without EM-INF enabled.
STORED = "entropy_min_config"
# The attribute that keeps the `generate` of a repository's own code while EM-INF is enabled.
_SET_ASIDE = "_em_hf_generate"


class EntropyMinGenerationMixin(GenerationMixin):
    """Mixin that adds `entropy_min`, `entropy_trace` and `coupled` to `generate`; everything else is the parent's.

    Overrides `generate` and, where the processors and stopping criteria are assembled, `_get_logits_processor` and
    `_get_stopping_criteria`. Use `enable_entropy_min(model)` to mix it into a loaded model, or make it the first base
    class of your model.

    Example:

    ```python
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from em_hf import EntropyMinGenerationMixin
    >>> class MyModel(EntropyMinGenerationMixin, LlamaForCausalLM):
    ...     pass
    >>> model = MyModel(LlamaConfig(vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    ...                             num_attention_heads=2))
    >>> prompt = torch.tensor([[5, 9]])
    >>> model.generate(prompt, do_sample=True, max_new_tokens=3, min_new_tokens=3, entropy_min=True).shape
    torch.Size([1, 5])

    ```
    """

    # transformers annotates the `self` of GenerationMixin's methods with a protocol that a mixin alone does not fulfil,
    # and leaves `can_generate` to PreTrainedModel: hence the `type: ignore` comments in this file.

    @torch.no_grad()
    def generate(
        self,
        *args: Any,
        entropy_min: Setting | Sequence[Setting] = None,
        entropy_trace: EntropyTrace | None = None,
        coupled: CoupledSampling | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run transformers' `generate`, with EM-INF before each token is drawn.

        Greedy decoding gives the same tokens as without EM-INF: if the settings would make another logit the largest
        (possible only with `kl_weight` above 0 and large steps), that row is left unchanged at that step.

        Args:
            entropy_min (bool, EntropyMinConfig, dict or list, optional): True (the stored settings, else the
                defaults), False or None (off), an `EntropyMinConfig` or a dict of its fields for this call, or a list
                of these with one entry per prompt, each repeated for `num_return_sequences`.
            entropy_trace (EntropyTrace, optional): Filled while generation runs. If EM-INF, a trace or coupled
                sampling is requested with `return_dict_in_generate=True`, the output has the trace as
                `entropy_trace`, whether or not one was passed.
            coupled (CoupledSampling, optional): The random numbers to draw with, shared between rows and between
                calls; needs `do_sample=True`.
            *args, **kwargs: As for the parent.

        Returns:
            What the parent returns.

        Raises:
            ValueError: An argument has the wrong type, settings are out of range, a list does not match the batch
                size, or EM-INF is requested twice or in a decoding mode to which it does not apply (beam search,
                assisted decoding, paged caches).
        """
        parent: Any = super().generate  # type: ignore[misc]  # see the class
        if STORED in kwargs:
            raise ValueError(f"{STORED} is where settings are stored with a model; pass them as entropy_min=")
        checked_trace(entropy_trace)
        if coupled is not None and not isinstance(coupled, CoupledSampling):
            raise ValueError(f"coupled is {coupled!r}, but must be a CoupledSampling, such as CoupledSampling(0)")
        _plain_stored(self.generation_config)
        is_list = isinstance(entropy_min, Sequence) and not isinstance(entropy_min, str)
        asked: list[Any] = list(entropy_min) if is_list else [entropy_min]  # type: ignore[arg-type]
        if is_list and not asked:
            raise ValueError("entropy_min is an empty list: give one entry per prompt, or False")
        wanted = any(list(map(_is_on, asked)))  # checks every entry, so that an invalid one raises
        if not wanted and entropy_trace is None and coupled is None:
            # The `generate` of the repository's own code, if any; with EM-INF the standard loop runs. It may call the
            # class's `generate`, which is this one.
            repositorys = self.__dict__.pop(_SET_ASIDE, None)
            if repositorys is None:
                return parent(*args, **kwargs)
            try:
                return repositorys(*args, **kwargs)
            finally:
                self.__dict__[_SET_ASIDE] = repositorys
        if args:
            kwargs = _by_name(parent, args, kwargs)
        if isinstance(kwargs.get("custom_generate"), str):  # runs that repository's code, with all arguments
            given = {"entropy_min": entropy_min, "entropy_trace": entropy_trace, "coupled": coupled}
            return parent(**kwargs, **{name: value for name, value in given.items() if value is not None})
        own = kwargs.get("generation_config")
        if isinstance(getattr(own, STORED, None), EntropyMinConfig):
            kwargs["generation_config"] = own = copy.copy(own)  # the caller's stays unchanged
            _plain_stored(own)
        if "paged" in (kwargs.get("cache_implementation"), getattr(own, "cache_implementation", None)):
            raise ValueError(
                "entropy_min, entropy_trace and coupled do not work with cache_implementation='paged' in generate: "
                "leave it out"
            )
        if kwargs.get("assistant_model") is not None:
            raise ValueError("entropy_min, entropy_trace and coupled do not work with assisted decoding")
        stored = getattr(own, STORED, None) or getattr(self.generation_config, STORED, None)
        entries = [requested(entry, stored) for entry in asked]
        processors = list(kwargs.get("logits_processor") or [])
        if wanted and any(isinstance(processor, EntropyMinLogitsProcessor) for processor in processors):
            raise ValueError(
                "EM-INF is asked for twice, by entropy_min= and by a processor in logits_processor: leave one out"
            )
        for module in self.modules():  # type: ignore[attr-defined]
            if can_generate(module):
                mix_in(module, EntropyMinGenerationMixin)  # BLIP and others call the `generate` of an inner model
        if entropy_trace is not None:
            entropy_trace.clear()
        repeats = kwargs.get("num_return_sequences") or (own or self.generation_config).num_return_sequences or 1
        step = OneCall(entries if is_list else entries[0], entropy_trace, repeats)
        ours: list[Any] = [step] if coupled is None else [step, CoupledSamplingLogitsProcessor(coupled)]
        kwargs["logits_processor"] = LogitsProcessorList([*processors, *ours])
        kwargs["stopping_criteria"] = StoppingCriteriaList([*(kwargs.get("stopping_criteria") or []), Watch(step)])
        result = parent(**kwargs)
        if not step.has_begun:
            raise ValueError(
                f"{type(self).__name__}.generate does not use transformers' logits processors: entropy_min, "
                "entropy_trace and coupled have no effect in this model, leave them out"
            )
        if step.trace is not None:
            step.trace.trim()
            if isinstance(result, ModelOutput):
                result.entropy_trace = step.trace
            elif isinstance(result, dict):  # Whisper's segments
                result["entropy_trace"] = step.trace
        return result

    def generate_batch(
        self,
        inputs: list[list[int]],
        *args: Any,
        entropy_min: Setting | Sequence[Setting] = None,
        entropy_trace: None = None,
        coupled: None = None,
        **kwargs: Any,
    ) -> Any:
        """Run transformers' continuous batching, with EM-INF for the requests that ask for it.

        Args:
            inputs (list of list of int): The prompts.
            entropy_min (bool, EntropyMinConfig, dict or list, optional): As for `generate`; a list has one entry per
                prompt.
            *args, **kwargs: As for the parent.

        Returns:
            What the parent returns.

        Raises:
            ValueError: `entropy_min` is not a valid setting, a list does not match the number of prompts,
                `entropy_trace` or `coupled` is given (continuous batching does not support them), or the manager of an
                earlier call is kept.
        """
        if STORED in kwargs:
            raise ValueError(f"{STORED} is where settings are stored with a model; pass them as entropy_min=")
        for name, value in {"entropy_trace": entropy_trace, "coupled": coupled}.items():
            if value is not None:
                raise ValueError(f"{name} does not work with generate_batch (continuous batching); use generate")
        own = kwargs.get("generation_config", args[0] if args else None)
        stored = getattr(own, STORED, None) or getattr(self.generation_config, STORED, None)
        settings = settings_of_requests(entropy_min, stored, len(inputs))
        if not any(settings):
            return super().generate_batch(inputs, *args, **kwargs)
        if getattr(self, "_cached_continuous_batching_manager", None) is not None:
            raise ValueError(
                "entropy_min needs a manager of its own, but this model keeps one of an earlier call "
                "(persistent_manager=True): call destroy_cached_continuous_batching_manager() first"
            )
        with requests_with(settings):
            return super().generate_batch(inputs, *args, **kwargs)

    def init_continuous_batching(self, *args: Any, entropy_min: Setting = None, **kwargs: Any) -> Any:
        """Create the parent's manager of requests, whose requests may ask for EM-INF.

        Args:
            entropy_min (bool, EntropyMinConfig or dict, optional): The default for requests. If given, even as False,
                each request may have its own: `manager.add_request(ids, entropy_min=...)`.
            *args, **kwargs: As for the parent.

        Returns:
            The `ContinuousBatchingManager`.

        Raises:
            ValueError: `entropy_min` is not a valid setting, or CUDA graphs are requested with it.
        """
        parent = super().init_continuous_batching
        kwargs = _by_name(parent, args, kwargs) if args else kwargs
        if entropy_min is None:
            return init_with_settings(parent, kwargs)
        own = kwargs.get("generation_config")
        stored = getattr(own, STORED, None) or getattr(self.generation_config, STORED, None)
        return init_for_any(parent, kwargs, entropy_min, stored)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Save the model as the parent does; settings stored as an object are saved as their fields."""
        _plain_stored(self.generation_config)
        return super().save_pretrained(*args, **kwargs)  # type: ignore[misc]

    def _get_logits_processor(self, generation_config: GenerationConfig, *args: Any, **kwargs: Any) -> Any:
        """Return the parent's list, with our processors set up for this call and coupled sampling at the end."""
        parent: Any = super()._get_logits_processor  # type: ignore[misc]  # see the class
        batching = processors_of_requests()
        if batching:
            return parent(generation_config, logits_processor=LogitsProcessorList(batching))
        processors = parent(generation_config, *args, **kwargs)
        prompt_length = kwargs.get("input_ids_seq_length", args[0] if args else 0)
        inputs = kwargs.get("encoder_input_ids")
        for processor in processors:
            if isinstance(processor, OneCall):
                processor.begin(generation_config, None if inputs is None else inputs.shape[0])
        coupled = [p for p in processors if isinstance(p, CoupledSamplingLogitsProcessor)]
        for processor in coupled:
            if not generation_config.do_sample:
                raise ValueError("coupled needs do_sample=True: greedy decoding draws no random numbers")
            processor.prompt_length = prompt_length
            processors.remove(processor)
        processors.extend(coupled)
        return processors

    def _get_stopping_criteria(self, *args: Any, **kwargs: Any) -> Any:
        """Return the parent's list, wrapped so that the call's processor, if any, learns which rows have stopped."""
        criteria = super()._get_stopping_criteria(*args, **kwargs)  # type: ignore[misc]  # see the class
        watches = [criterion for criterion in criteria if isinstance(criterion, Watch)]
        return WatchedCriteria(criteria, watches[0].step) if watches else criteria


def can_generate(module: Any) -> bool:
    return isinstance(module, GenerationMixin) and module.can_generate()  # type: ignore[attr-defined]


def _is_on(value: Setting) -> bool:
    """Return whether one entry of `entropy_min` asks for EM-INF; raise ValueError if it is not a valid setting."""
    return requested(value) is not None


def _by_name(function: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call, all by name."""
    signature = inspect.signature(function)
    bound = signature.bind(*args, **kwargs).arguments
    extra = [parameter.name for parameter in signature.parameters.values() if parameter.kind is parameter.VAR_KEYWORD]
    more = bound.pop(extra[0], {}) if extra else {}
    return {**bound, **more}


def _plain_stored(generation_config: Any) -> None:
    """Replace settings stored as an object by a dict of their fields: transformers writes its config as JSON."""
    stored = getattr(generation_config, STORED, None)
    if isinstance(stored, EntropyMinConfig):
        setattr(generation_config, STORED, stored.to_dict())
        generation_config._from_model_config = False  # see `store_config`


@cache
def _mixed(base: type, mixin: type) -> type:
    """Return `base` with `mixin` in front, keeping its name so that checkpoints and messages are unaffected."""

    def __reduce_ex__(self: Any, protocol: int) -> Any:
        # Looking the class up by name would find `base`, so unpickling creates it again from `base`.
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
    """Mixin for a PEFT model, whose `save_pretrained` omits the generation config: saves it beside the adapter."""

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        result = super().save_pretrained(save_directory, *args, **kwargs)  # type: ignore[misc]
        unwrap_model(self).generation_config.save_pretrained(save_directory)
        return result


def mix_in(model: Any, mixin: type) -> None:
    if not isinstance(model, mixin):
        model.__class__ = _mixed(type(model), mixin)  # type: ignore[arg-type]


def _take_out(model: Any, mixin: type) -> None:
    base = type(model).__dict__.get("_em_hf_base")
    if base is not None and isinstance(model, mixin):
        model.__class__ = base


def store_config(model: Any, config: EntropyMinConfig) -> None:
    """Store the settings in `model.generation_config` as a plain dict, so that they are saved with the model."""
    generation_config = unwrap_model(model).generation_config
    # transformers saves an unmodified config as it is, but validates one that has changed, and rejects many that it
    # loads (e.g. a temperature without do_sample). Our entry does not affect what it validates.
    as_loaded = getattr(generation_config, "_original_object_hash", None) == hash(generation_config)
    setattr(generation_config, STORED, config.to_dict())
    # A config derived from the model's would be rebuilt on loading, silently losing the settings.
    generation_config._from_model_config = False
    if as_loaded:
        generation_config._original_object_hash = hash(generation_config)


def stored_settings(model: Any) -> EntropyMinConfig | None:
    """Return the settings stored with the model, or None if there are none."""
    stored = getattr(unwrap_model(model).generation_config, STORED, None)
    if stored is None or isinstance(stored, EntropyMinConfig):
        return stored
    return EntropyMinConfig.from_dict(stored)


def settings_of_model(model: Any, given: Mapping[str, Any] | None = None) -> EntropyMinConfig:
    """Return the settings stored with the model, or the defaults if there are none, updated with `given`."""
    stored = stored_settings(model) or EntropyMinConfig()
    return EntropyMinConfig.from_dict({**stored.to_dict(), **(given or {})})


def enable_entropy_min(model: Model, config: EntropyMinConfig | None = None) -> Model:
    """Make this model object's `generate` accept `entropy_min`, `entropy_trace` and `coupled`.

    This alone turns nothing on: without these arguments `generate` works as in transformers. Enabling twice has no
    further effect. A PEFT model is enabled in its base model, and its `save_pretrained` then also writes the generation
    config.

    Args:
        model (PreTrainedModel or PeftModel): Any transformers model that can generate, or a PEFT model around one.
        config (EntropyMinConfig or dict, optional): Settings to store in `model.generation_config.entropy_min_config`;
            None keeps what is stored.

    Returns:
        The same model.

    Raises:
        ValueError: The model cannot generate, or `config` is invalid.

    Example:

    ```python
    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from em_hf import EntropyMinConfig, EntropyTrace, enable_entropy_min
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    ...                                      num_attention_heads=2))
    >>> model = enable_entropy_min(model, EntropyMinConfig(n_grad_steps=10))
    >>> model.generation_config.entropy_min_config["n_grad_steps"]
    10
    >>> trace, prompt = EntropyTrace(), torch.tensor([[5, 9]])
    >>> output = model.generate(prompt, entropy_min=True, entropy_trace=trace, do_sample=True, max_new_tokens=3)
    >>> bool((trace.after <= trace.before).all())
    True

    ```
    """
    base = unwrap_model(model)
    if not can_generate(base):
        raise ValueError(
            f"enable_entropy_min needs a transformers model that can generate, such as AutoModelForCausalLM gives; "
            f"{type(base).__name__} has no generation head"
        )
    if config is not None:
        store_config(model, EntropyMinConfig.from_dict(config))
    mix_in(base, EntropyMinGenerationMixin)
    if "generate" in base.__dict__:  # from a repository's code; it would hide the class's
        base.__dict__[_SET_ASIDE] = base.__dict__.pop("generate")
    if is_peft_model(model):
        mix_in(model, _KeepsSettings)
    return model


def disable_entropy_min(model: Model) -> Model:
    """Restore the model object's original class. Stored settings stay in its generation config.

    Args:
        model (PreTrainedModel or PeftModel): The model, enabled or not.

    Returns:
        The same model.

    Raises:
        ValueError: It is not a model, or its class was defined with `EntropyMinGenerationMixin` as a base, so that
            there is no other to restore.

    Example:

    ```python
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from em_hf import disable_entropy_min, enable_entropy_min
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    ...                                      num_attention_heads=2))
    >>> type(disable_entropy_min(enable_entropy_min(model))) is LlamaForCausalLM
    True

    ```
    """
    base = unwrap_model(model)
    if not (isinstance(base, torch.nn.Module) or can_generate(base)):
        raise ValueError(f"disable_entropy_min needs a model, not {shown(base)}")
    for module in getattr(base, "modules", lambda: [base])():
        _take_out(module, EntropyMinGenerationMixin)
    if isinstance(base, EntropyMinGenerationMixin):
        raise ValueError(f"{type(base).__name__} has EntropyMinGenerationMixin as a base class: it cannot be disabled")
    if _SET_ASIDE in base.__dict__:
        base.__dict__["generate"] = base.__dict__.pop(_SET_ASIDE)
    _take_out(model, _KeepsSettings)
    return model
