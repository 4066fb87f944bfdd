"""The report of repeats: its numbers, and that no text becomes markup."""

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


def test_no_text_becomes_markup() -> None:
    both = tally([ATTACK], None)
    page = report(Repeated(1, both, both, None), of=2, busy=True)
    assert "<script" not in page and "<img" not in page and "<b>" not in page and "&lt;script&gt;" in page
    assert 'data-state="busy"' in page and "1 of 2" in page
    assert "<i>" not in report(None, note="<i>", error=True)


def test_before_anything_is_drawn_it_says_what_to_do() -> None:
    assert "Draws 32 samples" in report(None) and 'data-state="idle"' in report(None)
