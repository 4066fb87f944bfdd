"""The sentence over the panes, on steps written by hand."""

from em_hf.app.verdict import verdict

from em_hf.compare.side_by_side import Candidate, Step, Token

FOUR, SIX, END = 4, 6, 0


def token(drawn: int, text: str, *chances: tuple[int, str, float, float], special: bool = False) -> Token:
    candidates = [Candidate(*chance) for chance in chances]
    return Token(drawn, text, special, 1.0, 0.5, any(c.before != c.after for c in candidates), candidates)


def step(index: int, plain: Token | None, em: Token | None) -> Step:
    return Step(index, [plain, em], 0.1 * index, 0.001)


FIRST = step(0, *[token(9, "#### ", (9, "#### ", 0.9, 0.9))] * 2)
PLAIN = token(FOUR, "4", (SIX, "6", 0.9, 0.9), (FOUR, "4", 0.018, 0.018))
EM = token(SIX, "6", (SIX, "6", 0.9, 0.99), (FOUR, "4", 0.018, 0.003))


def test_a_difference_names_both_draws_their_chances_and_who_is_right() -> None:
    said = verdict([FIRST, step(1, PLAIN, EM)], answer="6")
    assert said.sentence == (
        "At token 1 plain drew “4” (1.8%). EM-INF left it 0.3% and drew “6” instead. "
        "Plain answers 4, which is wrong; EM-INF answers 6, which is right."
    )
    assert said.marks == ("wrong", "right")


def test_without_a_known_answer_nobody_is_marked() -> None:
    said = verdict([FIRST, step(1, PLAIN, EM)])
    assert said.sentence.endswith("Plain answers 4; EM-INF answers 6.") and said.marks == ("", "")


def test_a_token_that_fell_out_of_the_list_is_bounded_by_what_is_listed() -> None:
    em = token(SIX, "6", (SIX, "6", 0.9, 0.95), (7, "7", 0.05, 0.02))
    assert "EM-INF left it under 2.0%" in verdict([FIRST, step(1, PLAIN, em)]).sentence


def test_equal_rows_say_why() -> None:
    same = [FIRST, step(1, EM, EM)]
    assert verdict(same, answer="6").sentence == (
        "Both rows drew the same tokens: EM-INF adjusted 1 of 2 steps, and no draw changed. "
        "Both answer 6, which is right."
    )
    assert "no step reached EM-INF's threshold" in verdict([FIRST]).sentence
    assert verdict([FIRST], em=False).sentence == "Both rows drew the same tokens."


def test_two_models_are_called_by_their_names() -> None:
    said = verdict([FIRST, step(1, PLAIN, EM)], names=("base", "trained"), em=False)
    assert said.sentence.startswith("At token 1 base drew “4”, trained drew “6”.")


def test_a_row_that_has_ended_and_no_answer_are_said() -> None:
    end = token(END, "<|end|>", (END, "<|end|>", 0.5, 0.5), special=True)
    said = verdict([step(0, end, EM), step(1, None, end)], answer="1")
    assert "plain drew <|end|> (50.0%)" in said.sentence and said.marks == ("wrong", "wrong")
    assert verdict([]).sentence.startswith("Both rows drew the same tokens")
