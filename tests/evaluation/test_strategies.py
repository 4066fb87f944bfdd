"""The strategies, on a decoder that answers from a list: what they ask of it, and what they make of the answers."""

from typing import Any

import pytest

from em_hf.evaluation.strategies import REFINE, STRATEGIES, Completion, Strategy, make_strategy
from em_hf.generation.config import EntropyMinConfig


class Script:
    """Gives its texts one after the other and remembers what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.calls: list[tuple[list[str], dict[str, Any]]] = []

    def complete(self, contexts: Any, generation: dict[str, Any]) -> list[Completion]:
        self.calls.append((list(contexts), generation))
        return [Completion(self.texts.pop(0), 10, 5, 2.0) for _ in contexts]

    def follow_up(self, context: str, answer: str, instruction: str) -> str:
        return f"{context}|{answer}|{instruction}"


def texts(found: list[Completion]) -> list[str]:
    return [one.text for one in found]


def test_greedy_and_sampling_ask_once_and_set_every_way_of_drawing() -> None:
    decoder = Script("a", "b")
    assert texts(make_strategy("sampling").run(decoder, ["p", "q"], {"max_gen_toks": 7})) == ["a", "b"]
    assert decoder.calls == [
        (
            ["p", "q"],
            {
                "max_gen_toks": 7,
                "do_sample": True,
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
                "min_p": None,
                "num_beams": 1,
                "repetition_penalty": 1.0,
                "no_repeat_ngram_size": 0,
                "typical_p": 1.0,
                "min_new_tokens": None,
                "entropy_min": False,
            },
        )
    ]
    greedy = make_strategy("greedy", temperature=0.5).generation()
    assert greedy["do_sample"] is False and "top_k" not in greedy


def test_em_inf_and_adaptive_temperature_differ_from_sampling_in_the_settings_alone() -> None:
    plain = make_strategy("sampling", temperature=0.1).generation()
    for name, method in (("em-inf", "logit_optimization"), ("adaptive-temperature", "adaptive_temperature")):
        changed = make_strategy(name, temperature=0.1, entropy_min={"threshold": 0.7}).generation()
        assert changed["entropy_min"]["method"] == method and changed["entropy_min"]["threshold"] == 0.7
        assert {**changed, "entropy_min": False} == plain


def test_self_consistency_takes_the_most_frequent_answer_of_one_batch_and_pays_for_all() -> None:
    first = ["so \\boxed{3}", "\\boxed{5}", "five: \\boxed{5.0}", "none"]
    second = ["\\boxed{1}", "no", "\\boxed{2}", "no"]
    decoder = Script(*first, *second)
    found = make_strategy("self-consistency", n=4).run(decoder, ["p", "q"], {})
    assert [contexts for contexts, _ in decoder.calls] == [["p"] * 4 + ["q"] * 4]
    assert texts(found) == ["\\boxed{5}", "\\boxed{1}"], "a tie goes to the answer seen first"
    assert found[0].tokens == 40 and found[0].prompt_tokens == 20 and found[0].nats == 8.0


def test_self_consistency_without_any_answer_keeps_the_first_text() -> None:
    assert texts(make_strategy("self-consistency", n=2).run(Script("x", "y"), ["p"], {})) == ["x"]


def test_refinement_corrects_each_draft_in_a_turn_of_its_own_and_pays_for_all() -> None:
    decoder = Script("one", "two", "three")
    found = make_strategy("refinement").run(decoder, ["p"], {})
    assert [contexts for contexts, _ in decoder.calls] == [
        ["p"],
        [f"p|one|{REFINE}"],
        [f"p|one|{REFINE}|two|{REFINE}"],
    ]
    assert texts(found) == ["three"] and found[0].tokens == 30 and found[0].prompt_tokens == 15


def test_em_inf_inside_the_others_acts_on_every_sample() -> None:
    for name, calls in (("em-inf+self-consistency", 1), ("em-inf+refinement", 2)):
        decoder = Script(*"abcdefgh")
        make_strategy(name, n=2, entropy_min={"n_grad_steps": 9}).run(decoder, ["p"], {})
        assert len(decoder.calls) == calls
        assert all(generation["entropy_min"]["n_grad_steps"] == 9 for _, generation in decoder.calls)


def test_options_mean_nothing_to_strategies_without_a_use_for_them() -> None:
    plain = make_strategy("greedy")
    assert make_strategy("greedy", temperature=2.0, top_k=3, n=5, entropy_min={"threshold": 1.0}) == plain
    assert make_strategy("em-inf", n=7).samples == 1
    assert make_strategy("self-consistency", n=7).samples == 7 and make_strategy("refinement", n=2).samples == 2


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_strategy_goes_by_its_name_and_describes_itself(name: str) -> None:
    strategy = make_strategy(name)
    assert strategy.name == name and strategy.describe()
    assert ("EM-INF" in strategy.describe()) == ("em-inf" in name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0, but must be above 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": -1}, "top_k is -1"),
        ({"min_p": 1.0}, "min_p is 1.0"),
        ({"answers": 0}, "answers is 0"),
        ({"greedy": True, "entropy_min": EntropyMinConfig()}, "always gives the same answer"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Strategy("mine", **arguments)


def test_an_unknown_strategy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="greedy, sampling, adaptive-temperature"):
        make_strategy("oracle")
