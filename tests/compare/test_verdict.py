"""What a decode came to in words, on steps written by hand."""

from em_hf.compare.side_by_side import Step, Token, collect
from em_hf.compare.verdict import Divergence, verdict

FOUR, SIX, END = 4, 6, 0


def token(drawn: int, text: str, *chances: float, special: bool = False, adjusted: bool = True) -> Token:
    """A token; `chances` are what its row gave to the first row's draw and to the second's."""
    return Token(drawn, text, special, 1.0, 0.5, adjusted, [], chances)


def step(index: int, plain: Token | None, em: Token | None) -> Step:
    return Step(index, [plain, em], 0.1 * index, 0.001)


FIRST = step(0, *[token(9, "#### ", 0.9, 0.9, adjusted=False)] * 2)
PLAIN = token(FOUR, "4", 0.018, 0.9, adjusted=False)
EM = token(SIX, "6", 0.003, 0.99)


def test_a_difference_names_both_draws_their_chances_and_who_is_right() -> None:
    said = verdict([FIRST, step(1, PLAIN, EM)], answer="6")
    assert said.sentence == (
        "Plain drew “4” (1.8%); EM-INF left it 0.3% and drew “6”. "
        "Plain answers 4, which is wrong; EM-INF answers 6, which is right."
    )
    assert said.marks == ("wrong", "right")


def test_without_a_known_answer_nobody_is_marked() -> None:
    said = verdict([FIRST, step(1, PLAIN, EM)])
    assert said.sentence.endswith("Plain answers 4; EM-INF answers 6.") and said.marks == ("", "")


def test_equal_rows_say_why() -> None:
    same = [FIRST, step(1, EM, EM)]
    assert verdict(same, answer="6").sentence == (
        "Both drew the same tokens: EM-INF adjusted 1 of 2 steps, and no draw changed. Both answer 6, which is right."
    )
    assert verdict([FIRST]).sentence == "Both drew the same tokens: EM-INF adjusted none of 1 steps."
    assert verdict([FIRST], em=False).sentence == "Both drew the same tokens."


def test_a_text_that_the_limit_cut_is_said_to_be_cut_and_two_without_an_answer_to_have_none() -> None:
    words = [step(i, *[token(7, "so ", 0.9, 0.9)] * 2) for i in range(2)]
    cut = verdict(words, answer="6", limit=2)
    assert cut.sentence.endswith("Neither gives an answer. Text that had not ended after 2 tokens was cut off.")
    ended = [*words[:1], step(1, *[token(END, "<|end|>", 0.9, 0.9, special=True)] * 2)]
    assert "cut off" not in verdict(ended, limit=2).sentence and "cut off" not in verdict(words, limit=3).sentence
    assert "answer" not in verdict(words).sentence


def test_words_that_differ_in_a_space_alone_show_it_and_text_from_the_right_keeps_the_order() -> None:
    drew = Divergence(0, " The", "The", 0.3, 0.1, 0.5).sentence()
    assert drew == "Plain drew “␣The” (30.0%); EM-INF left it 10.0% and drew “The”."
    assert "\u2068“שלום”\u2069 (30.0%)" in Divergence(0, "שלום", "a", 0.3, 0.1, 0.5).sentence()
    family = "\U0001f469\u200d\U0001f467"
    assert f"“{family}”" in Divergence(0, family, "a", 0.3, 0.1, 0.5).sentence()


def test_the_sentence_names_what_cannot_be_read_and_gives_small_chances_a_bound() -> None:
    drawn = {" 4": "“4”", "\n": "a line break", " ": "a space", "\n\n": "'\\n\\n'", "": "part of a character"}
    for text, shown in drawn.items():
        said = Divergence(7, text, "<|end|>", 0.0001, 0.0, 0.9714).sentence()
        assert said == f"Plain drew {shown} (less than 0.1%); EM-INF left it less than 0.1% and drew “<|end|>”."


def test_the_comparison_of_python_and_the_command_line_says_the_same() -> None:
    steps = [FIRST, step(1, PLAIN, EM)]
    assert collect(steps, seed=0).sentence == verdict(steps).sentence
    assert collect(steps, seed=0, answer="6").to_dict()["sentence"] == verdict(steps, answer="6").sentence


def test_two_models_are_called_by_their_names() -> None:
    said = verdict([FIRST, step(1, PLAIN, EM)], names=("base", "trained"), em=False)
    assert said.sentence.startswith("base drew “4”, trained drew “6”.")


def test_a_row_that_has_ended_and_no_answer_are_said() -> None:
    end = token(END, "<|end|>", 0.5, 0.2, special=True)
    said = verdict([step(0, end, EM), step(1, None, end)], answer="1")
    assert "Plain drew “<|end|>” (50.0%)" in said.sentence and said.marks == ("wrong", "wrong")
    assert verdict([FIRST, step(1, None, EM)]).sentence.startswith("Plain had ended, EM-INF drew “6”.")
    assert verdict([]).sentence.startswith("Both drew the same tokens")
