"""Evaluation with lm-eval: model type `em-hf`, benchmarks, inference-time strategies, and whether EM will help.

Importing this package registers the model type with lm-eval, if that is installed, and imports nothing heavy.
"""

from importlib.util import find_spec

if find_spec("lm_eval") is not None:
    from lm_eval.api.registry import model_registry

    model_registry.register("em-hf", target="em_hf.evaluation.model:EntropyMinLM")
