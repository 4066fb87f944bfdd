"""The report of repeats: its numbers, and that no text becomes markup."""

import re

from em_hf.app.repeat_report import report

from em_hf.compare.repeat import Repeated, tally

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)> #### <b>4</b>"


def test_numbers_stand_in_the_tables() -> None:
    plain, em = tally(["#### 4", "#### 5"], "4"), tally(["#### 4", "#### 4"], "4")
    page = report(Repeated(2, plain, em, (0.5, 0.0, 1.0)), of=2, answer="4")
    assert "In 2 samples each" in page and "plain sampling is right 1 time and EM-INF is right 2 times" in page
    assert 'data-state="done"' in page
    assert "50% (0% to 100%)" in page and "100% (16% to 100%)" in page  # √0.025
    # Each bar is as long as the share, and the line on it as long as the interval.
    assert "--p:0.500" in page and "--low:0.158;--high:1.000" in page
    assert "+50 points (+0 to +100)" in page and "4 (known)" in page


def test_without_a_known_answer_it_counts_the_different_answers() -> None:
    plain, em = tally(["#### 4", "#### 5"], None), tally(["#### 4", "#### 4"], None)
    page = report(Repeated(2, plain, em, None), of=2)
    assert "plain sampling gives 2 different answers and EM-INF gives 1 different answer" in page
    assert "share of right answers" not in page and "Give the known answer" in page


def rows(page: str) -> list[list[str]]:
    """The cells of the table of answers."""
    [table] = [part for part in page.split("<table>") if "<th>answer</th>" in part]
    cells = [re.findall(r"<td.*?>(?:<span.*?><em>)?([^<]*)", row) for row in table.split("<tr>")[2:]]
    return [row for row in cells if row]


def test_answers_that_mean_the_same_are_one_row_and_the_known_one_is_marked_however_it_is_written() -> None:
    plain, em = tally(["#### 0.5", "#### 1/2", "none"], "0.50"), tally(["#### 1/2", "#### 0.5", "#### 3"], "0.50")
    page = report(Repeated(3, plain, em, (0.0, 0.0, 0.0)), of=3, answer="0.50")
    assert rows(page) == [["0.5 (known)", "2", "2"], ["3", "0", "1"], ["(no answer)", "1", "0"]]
    assert (plain.distinct, em.distinct) == (1, 2)


def test_texts_without_an_answer_are_said_to_have_none() -> None:
    none = tally(["The sky", "is blue."], None)
    page = report(Repeated(2, none, none, None), of=2)
    assert "None of the 2 samples with and without EM-INF gives a final answer." in page
    assert rows(page) == [["(no answer)", "2", "2"]]
    known = tally(["The sky", "#### none"], "none")
    assert rows(report(Repeated(2, known, known, None), of=2, answer="none"))[0][0] != "(no answer) (known)"


def test_rare_answers_share_a_row() -> None:
    many = tally([f"#### {i}" for i in range(14)] + ["#### 0"] * 2, None)
    found = rows(report(Repeated(16, many, many, None), of=16))
    assert len(found) == 11 and found[0] == ["0", "3", "3"] and found[-1] == ["4 others", "4", "4"]
    assert sum(int(plain) for _, plain, _ in found) == 16


def test_no_text_becomes_markup() -> None:
    both = tally([ATTACK], None)
    page = report(Repeated(1, both, both, None), of=2, busy=True)
    assert "<script" not in page and "<img" not in page and "<b>" not in page and "&lt;script&gt;" in page
    assert 'data-state="busy"' in page and "1 of 2" in page
    assert "<i>" not in report(None, note="<i>", error=True)


def test_before_anything_is_drawn_it_says_what_to_do() -> None:
    assert "Draws 32 samples" in report(None) and 'data-state="idle"' in report(None)
