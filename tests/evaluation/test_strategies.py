"""The strategies, on a decoder that answers from a list: what they ask of it, and what they make of the answers."""

from dataclasses import replace
from typing import Any

import pytest

from em_hf.evaluation.strategies import STRATEGIES, make_strategies, make_strategy, parse_strategy
from em_hf.evaluation.strategy import REFINE, Completion, Strategy
from em_hf.evaluation.tuning import SPACES, trials_of, tune
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
    assert make_strategies([name]) == [strategy] and parse_strategy(name) == (name, {})
    assert ("EM-INF" in strategy.describe()) == ("em-inf" in name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0, but must be above 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": -1}, "top_k is -1"),
        ({"min_p": 1.0}, "min_p is 1.0"),
        ({"top_n_sigma": 0.0}, "top_n_sigma is 0.0, but must be above 0"),
        ({"top_n_sigma": 1.0, "entropy_min": EntropyMinConfig()}, "does not go with EM-INF"),
        ({"answers": 0}, "answers is 0"),
        ({"greedy": True, "entropy_min": EntropyMinConfig()}, "always gives the same answer"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Strategy("mine", **arguments)


def test_an_unknown_strategy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="one of greedy, sampling, temperature, top-p"):
        make_strategy("oracle")


class Sure(Script):
    """Gives pairs of a text and the confidence in it."""

    def __init__(self, *pairs: tuple[str, float | None]) -> None:
        super().__init__(*(text for text, _ in pairs))
        self.sure = [confidence for _, confidence in pairs]

    def complete(self, contexts: Any, generation: dict[str, Any]) -> list[Completion]:
        return [replace(one, confidence=self.sure.pop(0)) for one in super().complete(contexts, generation)]


def test_votes_are_weighted_by_confidence() -> None:
    decoder = Sure(("\\boxed{1}", 1.0), ("\\boxed{2}", 3.5), ("\\boxed{1.0}", 2.0), ("none", 9.0))
    strategy = make_strategy("weighted-self-consistency")
    assert texts(strategy.run(decoder, ["p"], {})) == ["\\boxed{2}"]
    assert decoder.calls[0][1]["confidence"] is True and "weighted by confidence" in strategy.describe()
    tie = Sure(("\\boxed{1}", 1.0), ("\\boxed{2}", 3.0), ("\\boxed{1.0}", 2.0), ("none", 9.0))
    assert texts(strategy.run(tie, ["p"], {})) == ["\\boxed{1}"]
    assert texts(strategy.run(Sure(*[("none", 1.0)] * 4), ["p"], {})) == ["none"]
    with pytest.raises(ValueError, match="this backend does not give"):
        strategy.run(Sure(*[("\\boxed{1}", None)] * 4), ["p"], {})
    assert "confidence" not in make_strategy("self-consistency").generation()


def test_a_comparison_has_several_settings_of_a_strategy_under_names_that_say_them() -> None:
    specs = ["temperature=0.6", "temperature=0.90", "top_p=0.95", "em-inf:threshold=0.1:n-grad-steps=10", "em-inf=0.5"]
    specs += ["Self-Consistency=16:temperature=0.7", "greedy", "min-p", "top-n-sigma=1.5"]
    found = {one.name: one for one in make_strategies(specs)}
    assert list(found) == [
        *("temperature=0.6", "temperature=0.9", "top-p=0.95", "em-inf=0.1:n-grad-steps=10", "em-inf=0.5"),
        *("self-consistency=16:temperature=0.7", "greedy", "min-p", "top-n-sigma=1.5"),
    ]
    assert [found[f"temperature={t}"].temperature for t in (0.6, 0.9)] == [0.6, 0.9]
    config = found["em-inf=0.1:n-grad-steps=10"].entropy_min
    assert config is not None and (config.threshold, config.n_grad_steps) == (0.1, 10)
    votes = found["self-consistency=16:temperature=0.7"]
    assert (votes.answers, votes.temperature) == (16, 0.7)
    assert found["top-n-sigma=1.5"].generation()["top_n_sigma"] == 1.5 and found["min-p"].min_p == 0.1
    # each name, read again, is the same strategy
    assert make_strategies(list(found)) == list(found.values())


def test_shared_settings_reach_those_that_have_them_and_set_nothing_themselves() -> None:
    stored = EntropyMinConfig(threshold=0.07, n_grad_steps=9)
    shared = {"temperature": 0.1, "threshold": 0.2, "n": None}
    em, warm, ratio, greedy = make_strategies(
        ["em-inf:n_grad_steps=4", "temperature=0.6", "adaptive-temperature", "greedy"], shared, stored
    )
    assert em.temperature == ratio.temperature == 0.1 and warm.temperature == 0.6 and greedy.greedy
    assert em.entropy_min == replace(stored, threshold=0.2, n_grad_steps=4)
    # what is stored is of the other method
    assert ratio.entropy_min == EntropyMinConfig(method="adaptive_temperature", threshold=0.2)


@pytest.mark.parametrize(
    ("specs", "shared", "message"),
    [
        (["greedy=0.5"], {}, "strategy greedy takes no value, but 'greedy=0.5' gives it one; write greedy"),
        (["greedy:top-k=5"], {}, "strategy greedy has no setting 'top-k'; it has none"),
        (["sampling:threshold=0.1"], {}, "strategy sampling has no setting 'threshold'; it has temperature, top-k"),
        (["em-inf:n=3"], {}, "strategy em-inf has no setting 'n'"),
        (["em-inf:target-ratio=0.3"], {}, "strategy em-inf has no setting 'target-ratio'"),
        (["temperature=warm"], {}, "temperature is 'warm', but must be a number"),
        (["self-consistency=2.5"], {}, "n is '2.5', but must be a whole number"),
        (["temperature=0.5:temperature=0.6"], {}, "sets temperature twice"),
        (["temperature=0"], {}, "temperature is 0.0, but must be above 0"),
        (["em-inf=-1"], {}, "threshold is -1.0"),
        (["top-p=0.9", "top_p=0.90"], {}, "two strategies are named top-p=0.9"),
        (["greedy", "greedy"], {}, "two strategies are named greedy"),
        (["top-p", "top-p=0.95"], {}, "top-p and top-p=0.95 are the same strategy"),
        (["temprature=0.5"], {}, "did you mean 'temperature'"),
        ([""], {}, "strategy is '', but must be one of"),
        (
            ["greedy", "sampling"],
            {"threshold": 0.1},
            "--threshold is 0.1, but no strategy has it among greedy, sampling",
        ),
        (["greedy"], {"top_k": 5}, "--top-k is 5, but no strategy has it"),
    ],
)
def test_a_wrong_strategy_is_one_line(specs: list[str], shared: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make_strategies(specs, shared)
    assert "\n" not in str(error.value)


def test_every_strategy_is_tuned_with_as_many_trials_over_what_the_user_left_open() -> None:
    seen: list[Strategy] = []

    def accuracy(strategy: Strategy) -> float:
        seen.append(strategy)
        return -abs(strategy.temperature - 0.7)

    strategies = make_strategies(["greedy", "sampling", "temperature", "top-p=0.9", "self-consistency", "em-inf"])
    chosen, trials = tune(strategies, 9, accuracy)
    assert [one.name for one in chosen] == [one.name for one in strategies]
    assert {
        name: sum(t.strategy == name for t in trials) for name in ("temperature", "self-consistency", "em-inf")
    } == {
        "temperature": 9,
        "self-consistency": 9,
        "em-inf": 9,
    }
    assert len(trials) == len(seen) == 27 and chosen[:2] == strategies[:2] and chosen[3] == strategies[3]
    assert abs(chosen[2].temperature - 0.7) < 0.1
    # of equal ones the first wins, which is the one that stood there
    assert chosen[5] == strategies[5]
    configs = [one.entropy_min for one in seen if one.name == "em-inf" and one.entropy_min]
    assert len({(c.threshold, c.n_grad_steps) for c in configs}) == 9
    assert min(c.threshold for c in configs) < 0.06 and max(c.threshold for c in configs) > 0.4
    assert min(c.n_grad_steps for c in configs) <= 2 and max(c.n_grad_steps for c in configs) >= 12


def test_what_the_user_gave_for_all_strategies_is_not_tuned() -> None:
    strategies = make_strategies(["temperature", "em-inf"], {"temperature": 0.5, "threshold": 0.2})
    chosen, trials = tune(strategies, 5, lambda one: one.entropy_min is not None, given=["temperature", "threshold"])
    assert chosen[0] == strategies[0] and len(trials) == 5
    assert {one.threshold for one in [c.entropy_min for c in trials_of(strategies[1], 5, ["threshold"])] if one} == {
        0.2
    }
    assert trials_of(strategies[0], 5, ["temperature"]) == [strategies[0]]


@pytest.mark.parametrize("name", sorted(SPACES))
@pytest.mark.parametrize("n", [1, 2, 40])
def test_trials_stay_in_their_space_and_differ(name: str, n: int) -> None:
    (strategy,) = make_strategies([name])
    made = trials_of(strategy, n)
    assert made[0] == strategy and len(made) == n and {one.name for one in made} == {name}
    for one in made[1:]:
        for key, (low, high, _) in SPACES[name].items():
            value = getattr(one, key) if hasattr(one, key) else getattr(one.entropy_min, key)
            assert low * 0.99 <= value <= high * 1.01
    with pytest.raises(ValueError, match="tune is 0"):
        trials_of(strategy, 0)
