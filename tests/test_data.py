import csv
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from em_hf.data import Prompts, load_prompts

ROWS = [
    {"id": 1, "question": 'What is 1 + 2, in "numbers"?', "answer": 3.0},
    {"id": 2, "question": "Zwei plus zwei?\nIn Ziffern: …", "answer": 4.0},
    {"id": 3, "question": "Half of one?", "answer": 0.5},
]
QUESTIONS = [row["question"] for row in ROWS]


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")


def write_json(path: Path, rows: list[dict]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8-sig")


def write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS: dict[str, Callable[[Path, list[dict]], None]] = {
    ".jsonl": write_jsonl,
    ".json": write_json,
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".JSONL": write_jsonl,
}


@pytest.fixture(params=WRITERS)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[dict]], str]:
    """Writes rows into a file of each kind and gives its name."""

    def write(rows: list[dict]) -> str:
        path = tmp_path / f"table{request.param}"
        WRITERS[request.param](path, rows)
        return str(path)

    return write


def test_every_kind_of_table_gives_the_same_prompts_and_answers(table: Callable) -> None:
    loaded = load_prompts(table(ROWS))
    assert (loaded.prompts, loaded.answers) == (QUESTIONS, ["3", "4", "0.5"])
    assert (loaded.prompt_column, loaded.answer_column, loaded.split) == ("question", "answer", "train")
    assert loaded.fingerprint == Prompts(QUESTIONS, None, "", "", "", None).fingerprint


def test_columns_can_be_named_and_rows_limited(table: Callable) -> None:
    rows = [{"text": f"prompt {i}", "question": "another", "label": str(i)} for i in range(5)]
    loaded = load_prompts(table(rows), prompt_column="text", answer_column="label", limit=2)
    assert (loaded.prompts, loaded.answers) == (["prompt 0", "prompt 1"], ["0", "1"])
    assert len(load_prompts(table(rows), limit=9)) == 5


def test_without_answers_the_labels_are_not_looked_at(table: Callable) -> None:
    name = table([{"prompt": "a", "answer": None}, {"prompt": "b", "answer": "7"}])
    with pytest.raises(ValueError, match="no answer in column 'answer'"):
        load_prompts(name)
    for column in (None, "answer", "nowhere"):
        loaded = load_prompts(name, with_answers=False, answer_column=column)
        assert (loaded.prompts, loaded.answers, loaded.answer_column) == (["a", "b"], None, None)


def test_the_fingerprint_is_of_the_prompts_alone(table: Callable) -> None:
    first = load_prompts(table([{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": "2"}]))
    second = load_prompts(table([{"problem": "a"}, {"problem": "b"}]))
    assert first.fingerprint == second.fingerprint == hashlib.sha256(b'["a", "b"]').hexdigest()
    assert second.answers is None and second.answer_column is None


def test_the_default_columns_are_taken_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    row = {"input": "i", "target": "1", "problem": "p", "solution": "2", "question": "q", "answer": "3", "prompt": "x"}
    for prompt, answer in [("prompt", "answer"), ("question", "solution"), ("problem", "target"), ("input", None)]:
        write_jsonl(path, [row])
        loaded = load_prompts(str(path))
        assert (loaded.prompt_column, loaded.answer_column) == (prompt, answer)
        row = {name: value for name, value in row.items() if name not in (prompt, answer)}


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        (3, "3"),
        (3.0, "3"),
        ("3.0", "3"),
        (-2.0, "-2"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (1e22, "1" + 22 * "0"),
        (" x+1 ", "x+1"),
        ("4 + 4 = <<4+4=8>>8\n#### 8", "8"),
        (r"So it is $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (["2"], "2"),
        (["2", 3.0], "2, 3"),
    ],
)
def test_a_label_becomes_a_plain_string(tmp_path: Path, label: object, answer: str) -> None:
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [{"prompt": "p", "answer": label}])
    assert load_prompts(str(path)).answers == [answer]


@pytest.mark.parametrize("suffix", [".txt", ".text"])
def test_a_text_file_has_a_prompt_a_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"prompts{suffix}"
    path.write_bytes("one, two\r\n\n  drei: …  \nlast".encode())
    loaded = load_prompts(str(path))
    assert (loaded.prompts, loaded.answers, loaded.prompt_column) == (["one, two", "drei: …", "last"], None, "prompt")
    assert load_prompts(str(path), limit=1).prompts == ["one, two"]


def test_the_pocket_problems_are_those_of_the_split_that_was_asked_for() -> None:
    from em_hf.pocket import problems

    loaded = load_prompts("pocket", split="test", limit=20)
    expected = problems("test", n=20, seed=0)
    assert loaded.prompts == [row["prompt"] for row in expected]
    assert loaded.answers == [row["answer"] for row in expected]
    assert (loaded.name, loaded.split, len(load_prompts("pocket"))) == ("pocket", "test", 2000)


def test_the_pocket_problems_are_those_of_the_level_that_was_asked_for() -> None:
    from em_hf.pocket import problems

    hard = load_prompts("pocket", split="validation", level="hard", limit=15)
    expected = problems("validation", 15, 0, level="hard")
    assert hard.prompts == [row["prompt"] for row in expected] and hard.answers == [row["answer"] for row in expected]
    plain = load_prompts("pocket", split="validation", limit=15)
    assert (hard.name, hard.head(2).level, plain.level) == ("pocket", "hard", "plain")
    assert not set(hard.prompts) & set(plain.prompts)


def test_the_option_offers_the_levels_that_there_are() -> None:
    from em_hf.pocket.problems import LEVELS
    from em_hf.settings import DataSettings, settings_of

    assert settings_of(DataSettings)["level"].choices == LEVELS


@pytest.mark.parametrize("name", ["herd.jsonl", "pocket-fewer", "owner/herd"])
def test_a_level_of_problems_that_have_none_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "herd.jsonl", [{"prompt": "How many legs have 3 cows?", "answer": "12"}])
    with pytest.raises(
        ValueError, match=rf"level is hard, but {name} has no levels \(only pocket does\): leave --level"
    ):
        load_prompts(name, level="hard")
    assert load_prompts("herd.jsonl").level is load_prompts("pocket-fewer", limit=1).level is None
    with pytest.raises(ValueError, match="level must be one of plain, hard; got 'easy'"):
        load_prompts("pocket", level="easy")


def test_gsm8k_loads_whole_and_each_of_its_answers_is_a_number(shared_data: Path) -> None:
    loaded = load_prompts(str(shared_data / "gsm8k_test.jsonl"))
    assert len(loaded) == 1319
    assert loaded.answers is not None and loaded.answers[:3] == ["18", "3", "70000"]
    assert [answer for answer in loaded.answers if not re.fullmatch(r"-?[0-9][0-9,]*(\.[0-9]+)?", answer)] == []


def test_mawps_loads_by_its_input_and_target_columns(shared_data: Path) -> None:
    loaded = load_prompts(str(shared_data / "mawps.jsonl"))
    assert (len(loaded), loaded.prompt_column, loaded.answer_column) == (2065, "input", "target")
    assert loaded.prompts[0].startswith("Joan found 70 seashells")
    assert loaded.answers is not None and loaded.answers[:2] == ["43", "26"]


def test_a_hub_dataset_is_loaded_by_its_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(*args: object, **options: object) -> datasets.Dataset:
        asked.append((args, options))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = load_prompts("owner/set-v1.5", config="main", split="test", limit=2)
    assert asked == [(("owner/set-v1.5", "main"), {"split": "test"})]
    assert (loaded.prompts, loaded.answers, loaded.split) == (QUESTIONS[:2], ["3", "4"], "test")


def test_a_hub_that_is_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"owner/nowhere is neither a file here .* out of reach .* go online") as caught:
        load_prompts("owner/nowhere")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (FileNotFoundError("Dataset 'a/b' doesn't\nexist"), OSError, "a/b is neither a file .* doesn't exist"),
        (ValueError('Unknown split "x".\nOne of: train'), ValueError, 'a/b cannot be loaded: Unknown split "x". One'),
        (RuntimeError("Dataset scripts are no longer supported"), ValueError, "a/b cannot be loaded: Dataset scripts"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: type[Exception], message: str
) -> None:
    import datasets

    def load_dataset(*args: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(kind, match=message) as caught:
        load_prompts("a/b")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["owner/set", "table.parquet"])
def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_parquet(tmp_path / "table.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"needs the datasets library: pip install 'em-hf\[train\]'"):
        load_prompts(name)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("t.jsonl", '{"prompt": "a"}\n\n{"prompt": \n', r"t\.jsonl, line 3 is not JSON"),
        ("t.jsonl", '{"prompt": "a"}\n["b"]\n', r"t\.jsonl, line 2 holds list, but every line must be one JSON object"),
        ("t.jsonl", "", "is empty: give a dataset with at least one row"),
        ("t.jsonl", '{"prompt": "a"}\n{"prompt": "  "}\n', "row 2 has an empty prompt in column 'prompt'"),
        ("t.jsonl", '{"prompt": "a"}\n{"answer": "1"}\n', "row 2 holds nothing in column 'prompt'"),
        ("t.jsonl", '{"prompt": 5}\n', "row 1 holds int in column 'prompt', but a prompt must be text"),
        ("t.jsonl", '{"prompt": "a", "answer": ""}\n', "row 1 has no answer in column 'answer'"),
        ("t.jsonl", '{"prompt": "a", "answer": NaN}\n', "row 1 has no answer in column 'answer'"),
        ("t.jsonl", '{"prompt": "a", "answer": []}\n', "row 1 has no answer in column 'answer'"),
        ("t.jsonl", '{"Question": "a", "b": 1}\n', "none of the prompt columns .* it has Question, b: .*--prompt-col"),
        ("t.json", '{"prompt": "a"}', "must hold a list of objects"),
        ("t.json", '[{"prompt": "a"}', r"t\.json is not JSON"),
        ("t.json", "[]", "is empty"),
        ("t.csv", "prompt,answer\n", "is empty"),
        ("t.csv", "", "is empty"),
        ("t.csv", "prompt,answer\na\n", "row 1 has no answer in column 'answer'"),
        ("t.csv", "prompt,answer\na,b,c\n", "row 1 has more fields than the header"),
        ("t.csv", 'prompt,answer\n"a",1\n"b,2\n', r"t\.csv is not CSV after line 3: unexpected end"),
        ("t.csv", "prompt;answer\na;b;c\n", "row 1 has more fields than the header: quote fields that hold ';'"),
        ("t.csv", "question,answer,answer\na,1,2\n", "has 2 columns named 'answer': rename or remove all but one"),
        ("t.csv", "question, answer,answer \na,1,2\n", "has 2 columns named 'answer'"),
        ("t.jsonl", '{"prompt": "a", "answer": 1, "answer": 2}\n', "line 1 has two entries named 'answer': rename one"),
        ("t.json", '[{"prompt": "a", "prompt": "b"}]', "an object with two entries named 'prompt'"),
        ("t.jsonl", "[" * 200_000, "is nested too deeply to read"),
        ("t.json", '[{"prompt": ' + "[" * 200_000, "is nested too deeply to read"),
        ("t.jsonl", '{"prompt": "a\\ud800b"}\n', r"row 1 holds half of a character, \\ud800, in column 'prompt'"),
        ("t.jsonl", '{"prompt": "a", "answer": "\\udfff"}\n', r"row 1 holds half of a character, \\udfff, .* 'answer'"),
        (
            "t.jsonl",
            '{"prompt": "a", "answer": {"ground_truth": "1"}}\n',
            "holds dict .* --answer-column, one of answer.gro",
        ),
        ("t.jsonl", '{"prompt": {"text": "a"}}\n', "a prompt must be text or a list of messages.*one of prompt.text"),
        (
            "t.jsonl",
            '{"prompt": "a", "answer": [{"value": 3}]}\n',
            "row 1 holds dict in column 'answer', but an answer",
        ),
        ("t.jsonl", '{"prompt": ["a", "b"]}\n', "holds a list in column 'prompt' that is no chat"),
        ("t.jsonl", '{"prompt": [{"role": "user"}]}\n', "holds a list in column 'prompt' that is no chat"),
        (
            "t.jsonl",
            '{"prompt": [{"role": "me", "content": "a"}]}\n',
            "a message of role 'me', but roles are system, dev",
        ),
        ("t.jsonl", '{"prompt": [{"role": "user", "content": " "}]}\n', "row 1 has an empty prompt in column 'prompt'"),
        ("t.jsonl", '{"prompt": []}\n', "row 1 holds list in column 'prompt'"),
        ("t.jsonl.gz", '{"prompt": "a"}\n', "is not a whole gzip file"),
        ("t.csv.gz", gzip.compress(b"prompt\na\n", mtime=0)[:-9], "is not a whole gzip file"),
        ("t.parquet.gz", b"PAR1", r"ends in \.parquet\.gz, but a file of prompts ends in"),
        ("t.txt", "\n \n", "is empty"),
        ("t.txt", b"\xff\xfe\x00", "is not UTF-8"),
        ("t.json", b'["\xff"]', "is not UTF-8"),
        ("t.parquet", "prompt", "is not a Parquet file"),
        ("t.parquet", "PAR1 and nothing more", "cannot be read as Parquet"),
        ("t.xlsx", "prompt", r"ends in \.xlsx, but a file of prompts ends in \.jsonl, \.json, \.csv"),
        ("prompts", "prompt", "ends in no suffix"),
    ],
)
def test_a_file_that_will_not_do_is_one_line_that_says_why(
    tmp_path: Path, file: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        load_prompts(str(path))
    assert "\n" not in str(caught.value) and file in str(caught.value)


def test_an_empty_parquet_file_is_called_empty(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(ValueError, match="is empty"):
        load_prompts(str(path))


def write_text(path: Path, text: str) -> str:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("file", "text", "prompts", "answers"),
    [
        ("a.csv", "question;answer\nHow far, in m?;2,5\nAnd so?;10\n", ["How far, in m?", "And so?"], ["2.5", "10"]),
        ("a.csv", "question;answer\nHow far?;1.234,50\nAnd so?;-0,5\n", ["How far?", "And so?"], ["1234.50", "-0.5"]),
        ("a.csv", "question;answer\nHow far?;1,234\nAnd so?;0.5\n", ["How far?", "And so?"], ["1,234", "0.5"]),
        # Only the answers tell how answers are written.
        ("a.csv", "id;question;answer\n1;Take 1,5 l.;1,250\n", ["Take 1,5 l."], ["1,250"]),
        ("a.csv", "prompt;answer\nFrom (2,3) to (0,0)?;13\n1000 + 234?;1,234\n", None, ["13", "1,234"]),
        ("a.csv", "question,answer\na;b,1\n", ["a;b"], ["1"]),
        ("a.csv", "question, answer\na, 1\n", ["a"], ["1"]),
        ("a.csv", 'question, answer\n"a, b", "1"\n', ["a, b"], ["1"]),
        ("a.csv", " question ,answer \na,1\n", ["a"], ["1"]),
        ("a.csv", '"question","answer"\n"a\nb",1\n\n', ["a\nb"], ["1"]),
        ("a.csv", "n,n2,,,question,answer\n1,2,3,4,a,1\n", ["a"], ["1"]),
        ("a.csv", "question\tanswer\na, b\t1\n", ["a, b"], ["1"]),
        ("a.tsv", "question\tanswer\na, b\t1,5\n", ["a, b"], ["1,5"]),
        ("a.TSV", "prompt\na;b\n", ["a;b"], None),
        ("a.tsv.gz", "question\tanswer\na\t1\n", ["a"], ["1"]),
        ("a.csv.gz", "question;answer\na;1\n", ["a"], ["1"]),
        ("a.jsonl.gz", '{"prompt": "a", "answer": 1}\n{"prompt": "b", "answer": 2}\n', ["a", "b"], ["1", "2"]),
        ("a.v2.json.gz", '[{"prompt": "a", "answer": 1}]', ["a"], ["1"]),
        ("a.txt.gz", "a\nb\n", ["a", "b"], None),
        ("a.csv", "question,answer\n" + "x" * 200_000 + ",1\n", ["x" * 200_000], ["1"]),
        ("a.jsonl", '{"prompt": "a", "answer": "Because\\nof two lines"}\n', ["a"], None),
        ("a.jsonl", '{"prompt": "a", "answer": "Lines\\nand\\n#### **4**"}\n', ["a"], ["4"]),
    ],
)
def test_a_file_is_read_as_its_author_meant_it(
    tmp_path: Path, file: str, text: str, prompts: list[str] | None, answers: list[str] | None
) -> None:
    loaded = load_prompts(write_text(tmp_path / file, text))
    assert (prompts or loaded.prompts, loaded.answers) == (loaded.prompts, answers)


def semicolon_file(folder: Path, answers: list[str]) -> str:
    return write_text(folder / "a.csv", "prompt;answer\n" + "".join(f"How much?;{answer}\n" for answer in answers))


@pytest.mark.parametrize(
    ("answers", "meant"),
    [
        (["2,5", "10.000", "1.234"], ["2.5", "10000", "1234"]),
        (["10.000", "1.234.567,8"], ["10000", "1234567.8"]),
        (["1.234.567", "10.000"], ["1234567", "10000"]),
        (["0,125", "1.250 g"], ["0.125", "1250 g"]),
        (["12,50 €", "€ 7,25", "2,5 kg", "-0,5 %"], ["12.50 €", "€ 7.25", "2.5 kg", "-0.5 %"]),
        ([r"2,5\text{ m}^2", "x = 1,5", "9,8 m/s^2"], [r"2.5\text{ m}^2", "x = 1.5", "9.8 m/s^2"]),
        ([r"1,6 \cdot 10^{-19}", "1 234,56"], [r"1.6 \cdot 10^{-19}", "1234.56"]),
        ([r"\boxed{2,5}", "#### 10.000"], ["2.5", "10000"]),
        (["2,5", "2.5", "7"], ["2.5", "2.5", "7"]),
        (["2,5", "(2,3)", "1, 2", "1,2,3", "12.05.2024"], ["2.5", "(2,3)", "1, 2", "1,2,3", "12.05.2024"]),
        (["(2,3)", "1,234"], ["(2,3)", "1,234"]),
        (["1,234", "1.5"], ["1,234", "1.5"]),
        (["1,234,567", "1.125"], ["1,234,567", "1.125"]),
        (["10.000 kg", "1.234"], ["10.000 kg", "1.234"]),
    ],
)
def test_the_answers_of_a_semicolon_file_show_how_its_numbers_are_written(
    tmp_path: Path, answers: list[str], meant: list[str]
) -> None:
    for order in (1, -1):
        assert load_prompts(semicolon_file(tmp_path, answers[::order])).answers == meant[::order]


def test_a_decimal_comma_after_the_limit_counts_too(tmp_path: Path) -> None:
    file = semicolon_file(tmp_path, ["10.000", "1", "2,5"])
    assert load_prompts(file, limit=1).answers == ["10000"]
    assert load_prompts(file, limit=2).answers == ["10000", "1"]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (
            ["2,5", "1,234"],
            "a.csv, row 2 holds 1,234 in column 'answer', which may be 1.234 or 1234 beside 2,5 in row 1: write dec",
        ),
        (
            ["7", "1,234 kg", "2,5 kg"],
            "row 2 holds 1,234 in column 'answer', which may be 1.234 or 1234 beside 2,5 in row 3:",
        ),
        (
            ["1.234", "2,5", "2.5"],
            "row 1 holds 1.234 in column 'answer', which may be 1.234 or 1234 beside 2,5 in row 2 and 2.5 in row 3:",
        ),
        (["1.234.567", "1,234"], "or 1234 beside 1.234.567 in row 1:"),
        (
            ["1.234,5", "1,234.5", "9.000"],
            "row 3 holds 9.000 in column 'answer', which may be 9.000 or 9000 beside 1.234,5 in row 1 and 1,234.5 in",
        ),
    ],
)
def test_a_number_that_may_be_a_thousand_times_as_much_is_refused(
    tmp_path: Path, answers: list[str], error: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(error)) as caught:
        load_prompts(semicolon_file(tmp_path, answers))
    assert "\n" not in str(caught.value)


@given(st.lists(st.decimals(0, 10**7, places=2), min_size=1, max_size=6), st.sampled_from(["", " €", " kg", " m^2"]))
def test_numbers_written_the_german_way_keep_their_values(numbers: list[Decimal], unit: str) -> None:
    written = [f"{number:,}".translate(str.maketrans(",.", ".,")) + unit for number in numbers]
    with tempfile.TemporaryDirectory() as folder:
        answers = load_prompts(semicolon_file(Path(folder), written)).answers
    assert answers is not None
    assert [Decimal(answer.removesuffix(unit)) for answer in answers] == numbers


def test_the_given_files_are_read_or_say_what_to_do(shared: Path) -> None:
    files = shared / "cases" / "files"
    answers = {path.name: load_prompts(str(path)).answers for path in files.glob("*.csv")}
    assert answers == {
        "long_field.csv": ["11", "19993", "21"],
        "semicolons.csv": ["2.5", "4.5", "1.2", "24"],
        "semicolons_points.csv": ["2.5", "8.5", "54"],
        "space_header.csv": ["11", "32", "42"],
    }
    with pytest.raises(ValueError, match=r"one of answer\.ground_truth, answer\.style"):
        load_prompts(str(files / "dict_answer.jsonl"))
    nested = load_prompts(str(files / "dict_answer.jsonl"), answer_column="answer.ground_truth")
    assert nested.answers == ["13", "21", "18", "8"]


def test_messages_stay_messages(shared: Path) -> None:
    loaded = load_prompts(str(shared / "cases" / "files" / "messages.jsonl"))
    assert [[message["role"] for message in prompt] for prompt in loaded.prompts] == [["system", "user"]] * 3
    assert loaded.answers == ["23", "30", "7"]
    chat = [{"role": "user", "content": "Hi"}]
    assert Prompts([chat], None, "", "", "", None).fingerprint != Prompts(["Hi"], None, "", "", "", None).fingerprint


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_dotted_name_reads_nested_objects_unless_a_column_has_that_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    rows = [{"extra": {"q": {"text": "a"}}, "reward_model": {"ground_truth": "7", "style": "rule"}}]
    WRITERS[suffix](path, rows)
    loaded = load_prompts(str(path), prompt_column="extra.q.text", answer_column="reward_model.ground_truth")
    assert (loaded.prompts, loaded.answers, loaded.answer_column) == (["a"], ["7"], "reward_model.ground_truth")
    with pytest.raises(ValueError, match=r"row 1 has no answer in column 'reward_model\.nothing'"):
        load_prompts(str(path), prompt_column="extra.q.text", answer_column="reward_model.nothing")
    WRITERS[suffix](path, [{"a": {"b": "wrong"}, "a.b": "right"}])
    assert load_prompts(str(path), prompt_column="a.b").prompts == ["right"]


def test_a_hub_dataset_has_nested_columns_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = datasets.Dataset.from_list([{"prompt": [{"role": "user", "content": "a"}], "reward": {"truth": "7"}}])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: rows)
    loaded = load_prompts("owner/set", answer_column="reward.truth")
    assert (loaded.prompts, loaded.answers) == ([[{"role": "user", "content": "a"}]], ["7"])


def test_a_label_that_is_a_whole_text_is_never_the_answer(tmp_path: Path) -> None:
    path = write_text(tmp_path / "t.jsonl", '{"prompt": "a", "solution": "First this.\\nThen that."}\n')
    assert load_prompts(path).answers is None
    with pytest.raises(ValueError, match="holds a whole text in column 'solution', and no answer is marked in it"):
        load_prompts(path, answer_column="solution")
    assert load_prompts(path, with_answers=False, with_solutions=True).solutions == ["First this.\nThen that."]


@pytest.mark.timeout(60)
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ValueError, match=r"pipe\.jsonl is a pipe or a device, not a file: write its content to a file"):
        load_prompts(str(tmp_path / "pipe.jsonl"))


@pytest.mark.parametrize("name", ["~no-such-user/x", "~no-such-user/x.jsonl", "a\0b.jsonl", "./\ud800"])
def test_a_name_that_no_file_can_have_is_one_line(name: str) -> None:
    with pytest.raises(OSError, match="there is no file") as caught:
        load_prompts(name)
    assert "\n" not in str(caught.value)


def test_reading_a_long_field_leaves_the_limit_of_csv_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    load_prompts(write_text(tmp_path / "t.csv", "prompt\n" + "x" * 200_000 + "\n"))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("name", ["nowhere.jsonl", "./nowhere", "/nowhere/at/all", "~/nowhere.csv", "a/b/c"])
def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(OSError, match=f"there is no file {name}"):
        load_prompts(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_column": "text"}, "prompt_column is 'text', but .* has the columns id, question, answer"),
        ({"answer_column": "label"}, "answer_column is 'label', but .* has the columns id, question, answer"),
        ({"limit": 0}, "limit is 0, but must be at least 1"),
    ],
)
def test_a_wrong_argument_is_named(table: Callable, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_prompts(table(ROWS), **options)


def test_a_folder_and_an_unknown_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        load_prompts(str(tmp_path))
    with pytest.raises(ValueError, match="split must be one of train, validation, test"):
        load_prompts("pocket", split="dev")


def test_a_jsonl_file_is_read_without_torch_or_datasets(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "t.jsonl", ROWS)
    code = (
        "import sys; from em_hf.data import load_prompts; print(len(load_prompts(sys.argv[1])))\n"
        "print({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "t.jsonl")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:2] == ["3", "set()"]


texts = st.lists(st.text('ab",\\[]\n', min_size=1, max_size=5), min_size=1, max_size=4)


@given(texts, texts)
def test_only_the_same_prompts_have_the_same_fingerprint(a: list[str], b: list[str]) -> None:
    prints = [Prompts(prompts, None, "n", "s", "p", None).fingerprint for prompts in (a, b)]
    assert (prints[0] == prints[1]) == (a == b)


@given(st.integers(2, 9), st.data())
def test_splitting_off_parts_the_rows_and_keeps_answers_beside_their_prompts(n: int, data: st.DataObject) -> None:
    whole = Prompts([f"p{i}" for i in range(n)], [str(i) for i in range(n)], "n", "s", "p", "a")
    held = data.draw(st.integers(1, n - 1))
    train, held_out = whole.split_off(held)
    assert train.prompts + held_out.prompts == whole.prompts
    assert held_out.prompts == [f"p{i}" for i in range(n - held, n)]
    assert held_out.answers == [str(i) for i in range(n - held, n)]
    assert len({whole.fingerprint, train.fingerprint, held_out.fingerprint}) == 3
    head = whole.head(n - held)
    assert head == train and head.fingerprint == Prompts(head.prompts, None, "", "", "", None).fingerprint


def test_parts_that_cannot_be_made_are_refused() -> None:
    three = Prompts(["a", "b", "c"], None, "n", "s", "p", None)
    assert three.head(7) == three
    for n in (0, 3, -1):
        with pytest.raises(ValueError, match=f"n is {n}, but must be between 1 and 2"):
            three.split_off(n)
    with pytest.raises(ValueError, match="n is 0, but must be at least 1"):
        three.head(0)
