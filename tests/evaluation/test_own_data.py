"""A user's own problems: read as training reads them, asked as they stand, graded by the final answer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.utils import postprocess_generated_text

from em_hf.answers import extract_answer
from em_hf.data import load_prompts
from em_hf.evaluation.grading import maths
from em_hf.evaluation.model import EntropyMinLM
from em_hf.evaluation.own_data import own_task, task_name
from em_hf.evaluation.run import EvalSettings, evaluate, load_tasks
from em_hf.evaluation.strategies import make_strategies
from em_hf.evaluation.strategy import Completion
from em_hf.models import load_model
from em_hf.pocket import problems


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    rows = [{"q": row["prompt"], "gold": row["answer"]} for row in problems("test", 12, 0)]
    return write(tmp_path / "my problems.jsonl", rows)


def test_a_file_is_evaluated_as_the_benchmark_of_the_same_problems_is(mine: Path) -> None:
    prompts = load_prompts(str(mine), prompt_column="q", answer_column="gold")
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    strategies = make_strategies(["greedy", "sampling"])
    seen: list[tuple[int, int]] = []
    settings = EvalSettings("pocket-reasoner", limit=12)
    own = load_tasks(settings, own=own_task(prompts))
    found = evaluate(model, tokenizer, settings, strategies, tasks=own, on_progress=lambda *at: seen.append(at))
    wanted = evaluate(model, tokenizer, settings, strategies, tasks=load_tasks(settings))
    assert [row.task for row in found] == ["my-problems"] * 2 and seen == [(12, 12)] * 2
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.values["pass@1"] == theirs.values["pass@1"] and ours.values["tokens"] == theirs.values["tokens"]


def test_validation_problems_are_those_given_or_of_the_task_and_never_the_test_problems(mine: Path) -> None:
    prompts = load_prompts(str(mine), prompt_column="q", answer_column="gold")
    settings = EvalSettings("pocket-reasoner")
    held_out = load_prompts("pocket", split="validation", limit=5)
    (task,) = load_tasks(settings, own=own_task(prompts, held_out), validation=True)["tasks"].values()
    assert [doc["problem"] for doc in task.eval_docs] == held_out.prompts
    (task,) = load_tasks(settings, validation=True)["tasks"].values()
    validation = {doc["problem"] for doc in task.eval_docs}
    (task,) = load_tasks(settings)["tasks"].values()
    assert not validation & {doc["problem"] for doc in task.eval_docs} and len(validation) == 500
    with pytest.raises(ValueError, match="tune needs validation problems, but my-problems has none"):
        load_tasks(settings, own=own_task(prompts), validation=True)


def test_the_hard_level_is_a_task_of_its_own_however_it_is_asked_for() -> None:
    settings = EvalSettings("any", level="hard", num_fewshot=2)
    tasks = load_tasks(settings)["tasks"]
    assert list(tasks) == ["pocket-hard"]
    task = tasks["pocket-hard"]
    prompts = [row["prompt"] for row in problems("test", 500, 0, level="hard")]
    assert [doc["problem"] for doc in task.eval_docs] == prompts
    examples = {row["prompt"] for row in problems("train", 100, 0, level="hard")}
    assert {doc["prompt"] for doc in task.fewshot_docs()} == examples
    (held_out,) = load_tasks(settings, validation=True)["tasks"].values()
    assert [doc["answer"] for doc in held_out.eval_docs] == [
        row["answer"] for row in problems("validation", 500, 0, level="hard")
    ]
    own = own_task(load_prompts("pocket", split="test", level="hard", limit=20))
    ((name, task),) = load_tasks(EvalSettings("any"), own=own)["tasks"].items()
    assert name == "pocket-hard" and [doc["problem"] for doc in task.eval_docs] == prompts[:20]


def test_benchmarks_without_levels_are_refused(shared_data: Path) -> None:
    with pytest.raises(ValueError, match="level is hard, but mawps has no levels"):
        load_tasks(EvalSettings("any", tasks=("pocket", "mawps"), level="hard"), data_dir=shared_data)


def test_without_answers_there_is_nothing_to_evaluate(tmp_path: Path) -> None:
    prompts = load_prompts(str(write(tmp_path / "p.jsonl", [{"prompt": "1 + 1"}])))
    with pytest.raises(ValueError, match="has no answers: name their column with --answer-column"):
        own_task(prompts)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("a/b c.jsonl", "b-c"), ("a/b-v1.5", "a-b-v1.5"), ("openai/gsm8k", "openai-gsm8k"), ("pocket", "pocket")],
)
def test_a_task_is_named_for_its_data(dataset: str, name: str) -> None:
    assert task_name(dataset) == name


@pytest.mark.parametrize("held_out", [False, True])
def test_examples_mark_their_answers_and_never_give_away_the_problem_that_is_asked(
    tmp_path: Path, held_out: bool
) -> None:
    answers = ["7", "-3.5", "$5", r"\frac{1}{2}", "x}", "(1, 2)", "a, b"]
    made = [
        load_prompts(str(write(tmp_path / f"{name}.jsonl", [{"prompt": f"{name} {i}?", "answer": a} for i, a in rows])))
        for name, rows in (("mine", enumerate(answers)), ("held", enumerate(answers)))
    ]
    own = own_task(made[0], made[1] if held_out else None)
    for validation in {False, held_out}:
        asked = made[validation]
        (task,) = load_tasks(EvalSettings("any", num_fewshot=6), own=own, validation=validation)["tasks"].values()
        task.set_fewshot_seed(0)
        for doc, prompt in zip(task.eval_docs, asked.prompts, strict=True):
            *examples, last = task.fewshot_context(doc, 6).split("\n\n")
            assert last == prompt == doc["problem"] and len(examples) == 6
            questions = [example.split("\n")[0] for example in examples]
            assert prompt not in questions and len(set(questions)) == 6
            assert all(question.startswith("held" if held_out else "mine") for question in questions)
            for example in examples:
                label = answers[int(example.split("?")[0].split()[1])]
                assert extract_answer(example) == label and maths({"answer": label}, [[example]])["pass@1"] == 1


def test_a_blank_line_ends_an_answer_after_examples_but_not_in_a_chat(mine: Path) -> None:
    """A model that would go on: what it wrote without the stop string, cut at the blank line, is what it gives."""
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    prompts = load_prompts(str(mine), prompt_column="q", answer_column="gold")

    class Talkative(EntropyMinLM):
        def complete(self, contexts: Sequence[str], generation: dict[str, Any]) -> list[Completion]:
            until.append(generation["until"])
            text = postprocess_generated_text("\n#### 5\n\nWhat is 1 + 1?\n#### 2", generation["until"], None)
            return [Completion(text, 1, 1, 0.0, 0.0) for _ in contexts]

    until: list[list[str]] = []
    lm = Talkative(model, tokenizer=tokenizer)
    lm.parameters = 1
    found = {}
    for template, shots in ((None, 0), (None, 2), (TEMPLATE, 2), (None, 2)):
        lm.tokenizer.chat_template = template
        for task in ({}, {"own": own_task(prompts)}):
            settings = EvalSettings("any", limit=1, num_fewshot=shots)
            tasks = found.setdefault((shots, bool(task)), load_tasks(settings, **task))
            evaluate(lm, None, settings, make_strategies(["greedy"]), tasks=tasks)
            (answer,) = lm.completions.values()
            assert extract_answer(answer.text) == ("5" if shots and template is None else "2")
    assert until == [[]] * 2 + [["\n\n"]] * 2 + [[]] * 2 + [["\n\n"]] * 2


TEMPLATE = "{% for m in messages %}{{ m.content }} {% endfor %}{% if not add_generation_prompt %}{% endif %}"


def test_messages_are_asked_as_the_chat_template_writes_them(mine: Path, tmp_path: Path) -> None:
    """The system message stands before the problem, as it does in the text of the other file."""
    rows = [json.loads(line) for line in mine.read_text().splitlines()]
    told = [
        {"prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": r["q"]}], "answer": r["gold"]}
        for r in rows
    ]
    plain = [{"prompt": f"Add. {row['q']} ", "answer": row["gold"]} for row in rows]
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    found = []
    for name, asked, template in (("told", told, TEMPLATE), ("plain", plain, None)):
        prompts = load_prompts(str(write(tmp_path / f"{name}.jsonl", asked)))
        tokenizer.chat_template = template
        settings = EvalSettings("pocket-reasoner", limit=6, batch_size=4)
        tasks = load_tasks(settings, own=own_task(prompts))
        (row,) = evaluate(model, tokenizer, settings, make_strategies(["sampling"]), tasks=tasks)
        found.append({**row.values, "seconds": None})
    # BOS, which the tokenizer writes before a text, is the template's affair.
    bos = tokenizer.bos_token_id == tokenizer("a")["input_ids"][0]
    assert not bos and found[0] == found[1]


def test_messages_without_a_chat_template_are_refused(tmp_path: Path) -> None:
    asked = [{"prompt": [{"role": "user", "content": "1 + 1"}], "answer": "2"}]
    prompts = load_prompts(str(write(tmp_path / "chats.jsonl", asked)))
    model, tokenizer = load_model("pocket-reasoner", device="cpu")
    settings = EvalSettings("pocket-reasoner")
    tasks = load_tasks(settings, own=own_task(prompts))
    with pytest.raises(ValueError, match="prompts are lists of messages, which need a chat template"):
        evaluate(model, tokenizer, settings, make_strategies(["greedy"]), tasks=tasks)
