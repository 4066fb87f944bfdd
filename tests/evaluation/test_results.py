"""Rows, paired differences, the table and the folder, on numbers small enough to work out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from em_hf.evaluation.folder import EvalFolder
from em_hf.evaluation.report import report
from em_hf.evaluation.results import Row, pairs_of, rows_of, table
from em_hf.evaluation.strategies import STRATEGIES, make_strategy
from em_hf.evaluation.strategy import Completion
from em_hf.stats import bootstrap_interval, paired_interval


def logged(*right: float) -> list[dict]:
    """Samples as lm-eval logs them, one a problem, with a second filter that does not count."""
    first = [{"doc_id": i, "filter": "all", "metrics": ["pass@1"], "pass@1": value} for i, value in enumerate(right)]
    return [*first, *({**row, "filter": "other", "pass@1": 9.0} for row in first)]


COMPLETIONS = {
    ("t", 0, 0): Completion("a", 10, 4, 5.0, 0.5),
    ("t", 0, 1): Completion("b", 30, 4, 3.0, 1.5),
    ("t", 1, 0): Completion("c", 0, 6, 0.0, 0.25),
    ("t", 1, 1): Completion("d", 2, 6, 1.0, 0.25),
}


def test_a_row_has_for_each_problem_the_mean_over_its_samples() -> None:
    (row,) = rows_of("sampling", {"t": logged(0.5, 1.0)}, COMPLETIONS, 100, seed=3)
    assert row.samples == 2 and len(row) == 2
    assert row.values == {
        "pass@1": [0.5, 1.0],
        "tokens": [20.0, 1.0],
        "entropy": [8.0 / 40, 1.0 / 2],
        "flops": [2 * 100 * (40 + 8) / 2, 2 * 100 * (2 + 12) / 2],
        "seconds": [1.0, 0.25],
    }
    figure = row.figure("tokens")
    assert figure is not None and figure.mean == 10.5
    assert (figure.low, figure.high) == bootstrap_interval([20.0, 1.0], seed=3)


def test_a_task_of_likelihoods_has_no_costs() -> None:
    samples = [{"doc_id": 0, "filter": "none", "metrics": ["acc", "acc_norm"], "acc": 1.0, "acc_norm": 0.0}]
    (row,) = rows_of("greedy", {"arc": samples}, {}, 100, seed=0)
    assert row.values == {"acc": [1.0], "acc_norm": [0.0]} and row.metric == "acc" and row.samples == 1
    assert "| arc " in table([row])


def test_what_exists_for_all_problems_together_only_is_no_figure() -> None:
    metrics = {"bleu": ("5", "0"), "f1": (1, 0), "acc": np.bool_(True), "chars": np.float32(0.5), "kind": "short"}
    samples = [{"doc_id": i, "filter": "none", "metrics": list(metrics), **metrics, "late": 1.0} for i in range(2)]
    samples[0] |= {"metrics": [*metrics, "late"]}
    del samples[1]["late"]
    (row,) = rows_of("greedy", {"made": samples}, {}, 100, seed=0)
    assert row.values == {"acc": [1.0, 1.0], "chars": [0.5, 0.5]}
    for sample in samples:
        sample["metrics"] = ["bleu", "f1"]
    with pytest.raises(ValueError, match=r"^made has no figure per problem, .*\(bleu, f1 can only"):
        rows_of("greedy", {"made": samples}, {}, 100, seed=0)


def test_pairs_compare_with_the_first_strategy_of_the_task_problem_by_problem() -> None:
    a = Row("greedy", "t", {"pass@1": [1.0, 0.0, 0.0], "flops": [2.0, 2.0, 2.0]}, 1)
    b = Row("em-inf", "t", {"pass@1": [1.0, 1.0, 0.5], "flops": [4.0, 4.0, 1.0]}, 1)
    other = Row("greedy", "u", {"pass@1": [1.0]}, 1)
    (pair,) = pairs_of([a, b, other])
    assert (pair.strategy, pair.base, pair.flops_ratio) == ("em-inf", "greedy", 1.5)
    expected = paired_interval([1.0, 1.0, 0.5], [1.0, 0.0, 0.0], seed=0)
    assert (pair.difference.mean, pair.difference.low, pair.difference.high) == expected
    assert pair.difference.mean == 0.5


def test_pairs_are_against_greedy_and_against_sampling_wherever_these_stand() -> None:
    right = {"em-inf": [1.0, 1.0, 0.0], "sampling": [0.0, 1.0, 0.0], "top-p=0.9": [0.0, 0.0, 0.0], "greedy": [1.0] * 3}
    rows = [Row(name, "t", {"pass@1": values}, 1) for name, values in right.items()]
    found = {(pair.strategy, pair.base): pair.difference.mean for pair in pairs_of(rows)}
    assert found == {
        ("em-inf", "greedy"): pytest.approx(-1 / 3),
        ("em-inf", "sampling"): pytest.approx(1 / 3),
        ("sampling", "greedy"): pytest.approx(-2 / 3),
        ("top-p=0.9", "greedy"): -1.0,
        ("top-p=0.9", "sampling"): pytest.approx(-1 / 3),
    }


def test_what_is_shown_fits_100_columns_with_names_and_figures_of_any_length() -> None:
    names = [*STRATEGIES, "em-inf+weighted-self-consistency=128:n-grad-steps=20:threshold=0.25"]
    values = {"pass@1": [1.0, 1.0], "tokens": [12345.6, 9.0], "entropy": [10.0, 0.0], "flops": [9e14, 1e12]}
    rows = [Row(name, task, {**values, "seconds": [999.0, 1.0]}, 4) for task in ("pocket", "u") for name in names]
    made = report(rows, [make_strategy(name) for name in STRATEGIES], {"model": "m" * 150, "seed": 0}, command="c")
    assert max(map(len, made.screen.splitlines())) <= 100 or "m" * 100 in made.screen
    assert "pocket: 2 problems, 4 answers each" in made.screen and "minus greedy" in made.screen
    assert "+0.0 (+0.0 to +0.0)" in made.screen and "6177.3 (9.0 to 12345.6)" in made.text


def test_a_strategys_files_have_names_for_every_system(tmp_path: Path) -> None:
    folder = EvalFolder(tmp_path / "out", {"limit": 3})
    folder.keep("em-inf=0.1:n-grad-steps=3")({("t", 0, 0): COMPLETIONS["t", 0, 0]})
    assert [path.name for path in (tmp_path / "out" / "answers").iterdir()] == ["em-inf=0.1,n-grad-steps=3.jsonl"]
    assert folder.answers("em-inf=0.1:n-grad-steps=3") == {("t", 0, 0): COMPLETIONS["t", 0, 0]}


def test_the_table_shows_every_figure_with_its_interval() -> None:
    text = table([Row("em-inf", "t", {"pass@1": [1.0, 1.0], "maj@2": [1.0, 0.0], "tokens": [3.0, 3.0]}, 2)])
    header, _, line = text.splitlines()
    assert "maj@2, %" in header and "2 × 2" in line
    # Two of two right: the exact bound is the square root of 0.025.
    assert "100.0 (15.8 to 100.0)" in line and "50.0 (0.0 to 100.0)" in line and "3.0 (3.0 to 3.0)" in line


def test_the_report_holds_what_the_table_was_made_from(tmp_path: Path) -> None:
    values = {"pass@1": [1.0, 0.0, 1.0], "flops": [1e9, 2e9, 3e9], "seconds": [1.0, 2.0, 3.0]}
    rows = [Row("greedy", "t", values, 1), Row("sampling", "t", {**values, "pass@1": [0.0, 0.0, 1.0]}, 1)]
    made = report(
        rows, [make_strategy("greedy"), make_strategy("sampling")], {"model": "m", "seed": 0}, command="em-hf eval"
    )
    made.write(EvalFolder(tmp_path / "out", {"seed": 0}))
    record = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert record["status"] == "finished" and record["versions"]["torch"]
    assert [row["figures"]["pass@1"]["mean"] for row in record["rows"]] == [2 / 3, 1 / 3]
    assert record["rows"][0]["values"]["pass@1"] == [1.0, 0.0, 1.0]
    assert record["pairs"][0]["difference"]["mean"] == pytest.approx(-1 / 3)
    text = (tmp_path / "out" / "eval.md").read_text()
    assert "`em-hf eval`" in text and "temperature 1, top_k 0, top_p 1" in text
    assert (tmp_path / "out" / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_a_benchmarks_name_makes_no_benchmark_of_a_users_own_problems() -> None:
    row = Row("greedy", "math500", {"pass@1": [1.0, 0.0]}, 1)
    made = [
        report([row], [make_strategy("greedy")], {"model": "m", "seed": 0, **data}, command="c").record
        for data in ({}, {"dataset": "math500.jsonl"})
    ]
    assert made[0].benchmarks["math500"].hub == "HuggingFaceH4/MATH-500" and not made[0].own_data
    assert made[1].benchmarks == {} and made[1].own_data


def test_a_single_row_makes_no_picture() -> None:
    row = Row("greedy", "t", {"pass@1": [1.0], "flops": [1.0], "seconds": [1.0]}, 1)
    assert report([row], [make_strategy("greedy")], {"model": "m", "seed": 0}, command="c").picture is None


def test_kept_answers_come_back_and_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = EvalFolder(tmp_path / "out", {"limit": 3})
    keep = folder.keep("greedy")
    keep({("t", 0, 0): COMPLETIONS["t", 0, 0]})
    path = tmp_path / "out" / "answers" / "greedy.jsonl"
    path.write_text(path.read_text() + '\n{"key": ["t", 9, 0], "te')
    keep({("t", 1, 0): COMPLETIONS["t", 1, 0]})
    again = EvalFolder(tmp_path / "out", {"limit": 3})
    assert again.answers("greedy") == {key: COMPLETIONS[key] for key in (("t", 0, 0), ("t", 1, 0))}
    assert again.answers("sampling") == {}


def test_an_evaluation_killed_before_its_first_record_is_in_place_can_be_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "eval.json.part").write_text('{"status": "run')
    EvalFolder(tmp_path / "out", {"limit": 3})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["eval.json"]


def test_an_evaluation_killed_while_it_is_replaced_is_still_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = EvalFolder(tmp_path / "out", {"limit": 3})
    for strategy in ("greedy", "sampling"):
        folder.keep(strategy)({("t", 0, 0): COMPLETIONS["t", 0, 0]})

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("em_hf.evaluation.folder.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            EvalFolder(tmp_path / "out", {"limit": 4}, overwrite=True)
    again = EvalFolder(tmp_path / "out", {"limit": 4}, overwrite=True)
    assert again.answers("greedy") == again.answers("sampling") == {}
    assert EvalFolder(tmp_path / "out", {"limit": 4}).path == tmp_path / "out"


def test_a_folder_of_other_settings_or_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = EvalFolder(tmp_path / "out", {"limit": 3})
    folder.keep("greedy")({("t", 0, 0): COMPLETIONS["t", 0, 0]})
    with pytest.raises(ValueError, match="limit was 3, now 4"):
        EvalFolder(tmp_path / "out", {"limit": 4})
    assert EvalFolder(tmp_path / "out", {"limit": 4}, overwrite=True).answers("greedy") == {}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="something other than an evaluation"):
            EvalFolder(tmp_path / "mine", {}, overwrite=overwrite)
    with pytest.raises(ValueError, match="is a file"):
        EvalFolder(tmp_path / "mine" / "thesis.tex", {})
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"


def test_an_evaluation_goes_on_at_its_own_level_and_one_that_names_none_was_plain(tmp_path: Path) -> None:
    EvalFolder(tmp_path / "hard", {"limit": 3, "level": "hard"})
    with pytest.raises(ValueError, match=r"other settings \(level was 'hard', now 'plain'\)"):
        EvalFolder(tmp_path / "hard", {"limit": 3, "level": "plain"})
    EvalFolder(tmp_path / "old", {"limit": 3})  # as em-hf wrote it before there were levels
    EvalFolder(tmp_path / "old", {"limit": 3, "level": "plain"})
    with pytest.raises(ValueError, match=r"other settings \(level was 'plain', now 'hard'\)"):
        EvalFolder(tmp_path / "old", {"limit": 3, "level": "hard"})
