"""Where the problems come from: the Hub with its own column names, or local copies; what is said without either."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from lm_eval.tasks import TaskManager

from em_hf.evaluation.run import EvalSettings, load_tasks, our_tasks
from em_hf.evaluation.sources import load

# One row in the columns that the Hub has, and the problem and answer that are in it.
HUB_ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "gsm8k": ({"question": "Q", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}, "Q", "5"),
    "math500": ({"problem": "Q", "solution": "\\boxed{x}", "answer": "x"}, "Q", "x"),
    "amc": ({"id": 0, "problem": "Q", "answer": 142.0, "url": "u"}, "Q", "142"),
    "aime": ({"id": 0, "problem": "Q", "solution": "S", "answer": "025", "url": "u"}, "Q", "25"),
    "aime_2024": ({"problem": "Q", "solution": "S", "answer": "33", "year": "2024"}, "Q", "33"),
    "aime_2025": ({"problem_idx": 1, "problem": "Q", "answer": 70}, "Q", "70"),
    "minerva": ({"question": "Q", "answer": "1.6"}, "Q", "1.6"),
    "olympiadbench": ({"context": None, "question": "Q", "final_answer": ["$1$", "$2$"]}, "Q", "$1$, $2$"),
    "ugphysics": ({"problem": "Q", "answers": "\\boxed{7}", "unit": "m"}, "Q (Answer in $m$.)", "7"),
    "mawps": ({"id": "1", "question": "Q", "result": "43", "equation": "e"}, "Q", "43"),
    "svamp": ({"Body": "B", "Question": "Q?", "Answer": "145.0", "Type": "T"}, "B. Q?", "145"),
    "asdiv": ({"body": "B.", "question": "Q?", "answer": "9 (apples)", "formula": "f"}, "B. Q?", "9"),
}
PLACES = {
    "gsm8k": [("openai/gsm8k", "main", "test"), ("openai/gsm8k", "main", "train")],
    "amc": [("AI-MO/aimo-validation-amc", None, "train")],
    "olympiadbench": [("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train")],
    "ugphysics": [("UGPhysics/ugphysics", "SemiconductorPhysics", "en+zh")],
    "svamp": [("ChilleD/SVAMP", None, "train+test")],
}


@pytest.mark.parametrize("name", HUB_ROWS)
def test_the_hubs_rows_become_problems_and_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row, problem, answer = HUB_ROWS[name]
    asked = []

    def from_hub(path: str, config: str | None = None, *, split: str) -> list[dict]:
        asked.append((path, config, split))
        return [row] * 3

    monkeypatch.delenv("EM_HF_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", from_hub)
    task = load_tasks(EvalSettings("any", tasks=(name,)))["tasks"][name]
    doc = task.eval_docs[0]
    assert (doc["problem"], doc["answer"]) == (problem, answer)
    assert task.process_results(doc, [[f"\\boxed{{{answer}}}"]])["pass@1"] == 1
    assert asked == PLACES.get(name, asked)
    assert "\\boxed" in task.doc_to_text(doc) and "<<" not in task.doc_to_target(doc)


def test_files_on_the_hub_are_named_one_by_one_where_the_dataset_has_no_other_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or [{"q": "Q"}])
    load(problem="{{q}}", hub="owner/name", hub_files=["a.jsonl", "b.jsonl"])
    places = ["hf://datasets/owner/name/a.jsonl", "hf://datasets/owner/name/b.jsonl"]
    assert asked == [(("json",), {"data_files": places, "split": "train"})]


def test_every_task_has_a_source_a_size_and_a_version() -> None:
    for name, config in our_tasks().items():
        about = config["metadata"]
        assert about["version"] == 1 and about["size"] > 0
        assert about.get("hub") or name == "pocket"


def test_local_copies_may_be_compressed_and_several(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write(json.dumps({"q": "A"}) + "\n\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": "B"}))
    found = load(problem="{{q}}", files={"test": ["a.jsonl.gz", "b.jsonl"]}, data_dir=str(tmp_path))
    assert found["test"]["problem"] == ["A", "B"]


def test_examples_are_asked_of_a_local_copy_only_where_they_are_used(tmp_path: Path) -> None:
    def write(split: str, *rows: str) -> None:
        lines = [json.dumps({"question": row, "answer": f"... #### {n}"}) for n, row in enumerate(rows)]
        (tmp_path / f"gsm8k_{split}.jsonl").write_text("\n".join(lines))

    def gsm8k(n: int | None, **more: Any) -> Any:
        return load_tasks(EvalSettings("any", tasks=("gsm8k",), num_fewshot=n), data_dir=tmp_path, **more)["tasks"][
            "gsm8k"
        ]

    write("train", "A?", "B?")
    with pytest.raises(OSError, match=r"there is no gsm8k_test\.jsonl in"):
        gsm8k(None)
    write("test", "Q?")
    assert gsm8k(1).fewshot_context(gsm8k(1).eval_docs[0], 1).count("Problem: ") == 2
    (tmp_path / "gsm8k_train.jsonl").unlink()
    for n in (None, 0):
        assert [doc["problem"] for doc in gsm8k(n).eval_docs] == ["Q?"]
    with pytest.raises(OSError, match=r"num_fewshot is 1, but .* lacks the examples: put gsm8k_train\.jsonl there"):
        gsm8k(1)
    with pytest.raises(ValueError, match="tune needs validation problems, but gsm8k has none"):
        gsm8k(0, validation=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"q": "A"}\n\n{"q": "B"', r"b\.jsonl, line 3 is not JSON"),
        (b'{"q": "A"}\n["B"]', r"b\.jsonl, line 2 holds list"),
        (b'{"q": "\xff"}', r"b\.jsonl is not UTF-8 text"),
    ],
)
def test_a_broken_line_of_a_local_copy_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(problem="{{q}}", files={"test": "b.jsonl"}, data_dir=str(tmp_path))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"q": "A"}')[:-4])
    with pytest.raises(ValueError, match=r"b\.jsonl\.gz is not a whole gzip file"):
        load(problem="{{q}}", files={"test": "b.jsonl.gz"}, data_dir=str(tmp_path))


def test_the_environment_names_the_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": "B"}))
    monkeypatch.setenv("EM_HF_DATA_DIR", str(tmp_path))
    assert load(problem="{{q}}", files={"test": "b.jsonl"})["test"]["problem"] == ["B"]
    with pytest.raises(OSError, match=r"there is no c\.jsonl in .*leave out --data-dir"):
        load(problem="{{q}}", files={"test": "c.jsonl"})


def test_without_the_hub_it_says_which_file_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_reach(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.delenv("EM_HF_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", out_of_reach)
    with pytest.raises(OSError, match=r"no route.*give the folder of math500\.jsonl as --data-dir"):
        load_tasks(EvalSettings("any", tasks=("math500",)))


def test_few_shot_examples_are_worked_and_leave_out_the_problem_that_is_asked(shared_data: Path) -> None:
    for name in ("gsm8k", "math500", "mawps"):
        task = load_tasks(EvalSettings("any", tasks=(name,)), data_dir=shared_data)["tasks"][name]
        task.set_fewshot_seed(0)
        doc = task.eval_docs[0]
        context = task.fewshot_context(doc, 4)
        shots = context.split("Problem: ")[1:]
        assert len(shots) == 5 and all("\\boxed{" in shot.split("\\boxed{}.")[1] for shot in shots[:4])
        assert doc["problem"] in shots[4] and doc["problem"] not in "".join(shots[:4])
        assert "boxed" not in shots[4].split("\\boxed{}.")[1]


ROWS = [{"page": "Six geese fly.", "question": "2 + 3", "answer": "5", "choices": ["4", "5"], "label": 1}] * 3
GENERATED = {"output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "{{answer}}"}
CHOSEN = {"output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}"}
CHOSEN["doc_to_target"] = "label"
LIKELY = {"output_type": "loglikelihood", "doc_to_text": "{{question}}", "doc_to_target": " {{answer}}"}
PAGES = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{page}}"}


@pytest.mark.parametrize(
    ("config", "metrics", "fits"),
    [
        (GENERATED, ["exact_match"], True),
        (GENERATED, ["bleu", "exact_match"], True),
        (GENERATED, ["bleu", "chrf"], False),
        (CHOSEN, ["acc", "acc_norm"], True),
        (CHOSEN, ["f1"], False),
        (LIKELY, ["acc"], True),
        (PAGES, ["word_perplexity", "byte_perplexity", "bits_per_byte"], False),
    ],
    ids=str,
)
def test_a_task_without_a_figure_per_problem_is_refused_before_anything_is_decoded(
    config: dict[str, Any], metrics: list[str], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS)})
    made = {"task": "made", "test_split": "test", "custom_dataset": lambda **_: rows, **config}
    loaded = TaskManager(include_defaults=False).load([{**made, "metric_list": [{"metric": name} for name in metrics]}])
    # lm-eval's own tasks take half a minute to read.
    manager = SimpleNamespace(all_tasks=["made"], task_index={}, load=lambda _: loaded)
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **_: manager)
    monkeypatch.setattr("em_hf.evaluation.run.refuse_programs", lambda *_: None)
    settings = EvalSettings("any", tasks=("made",), samples=2)
    if fits:
        assert list(load_tasks(settings)["tasks"]) == ["made"]
    else:
        with pytest.raises(ValueError, match=rf"^made has no figure per problem, .*\({', '.join(metrics)} can only"):
            load_tasks(settings)
