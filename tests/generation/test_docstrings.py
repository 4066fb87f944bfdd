"""The examples in the docstrings of em_hf.generation run and give what they show."""

import doctest
from importlib import import_module

import pytest

MODULES = ("config", "coupling", "llama_cpp", "minimize", "mlx", "mixin", "processors", "sglang", "trace")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_show(name: str) -> None:
    module = import_module(f"em_hf.generation.{name}")
    found = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert found, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in found:
        report: list[str] = []
        runner.run(test, out=report.append)
        assert not report, "".join(report)
