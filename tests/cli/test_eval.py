"""`em-hf eval` as a user runs it: tables, JSON, interruption and resumption, and wrong input as one line."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from em_hf.pocket import POCKET_REASONER
from tests import command

RUN = "import sys; from em_hf.cli.main import main; main()"


em_hf = partial(command.em_hf, "eval")


def test_without_a_strategy_three_are_compared_on_the_pocket_problems_and_files_are_written(tmp_path: Path) -> None:
    asked = ["eval", "--limit", "30", "--output", "out", "--samples", "2"]
    done = subprocess.run([sys.executable, "-c", RUN, *asked], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "pocket: 30 problems, 2 answers each" and max(map(len, lines)) <= 100
    assert [line.split("|")[1].strip() for line in lines[4:7]] == ["greedy", "sampling", "em-inf"]
    differences = next(line for line in lines if "points of accuracy" in line)
    assert "minus greedy" in differences and "minus sampling" in differences
    assert "it/s" not in done.stderr and "WARNING" not in done.stderr, "the libraries keep quiet"
    assert "fatal" not in done.stderr, "git has nothing to say of a folder that is no repository"
    assert "temperature 1, top_k 0, top_p 1" in done.stdout
    out = tmp_path / "out"
    assert "sampling minus greedy" in (out / "eval.md").read_text()
    record = json.loads((out / "eval.json").read_text())
    rows = {row["strategy"]: row["figures"] for row in record["rows"]}
    # Known of the pocket reasoner (its card): right clearly more often greedily than sampled.
    assert rows["greedy"]["pass@1"]["mean"] > 0.9 > rows["sampling"]["pass@1"]["mean"] > 0.4
    names = {"pass@1", "pass@2", "maj@2", "answered", "tokens", "entropy", "flops", "seconds"}
    assert set(rows["sampling"]) == names and rows["greedy"]["answered"]["mean"] > 0.9
    assert rows["em-inf"]["flops"]["mean"] == pytest.approx(rows["sampling"]["flops"]["mean"], rel=0.05)
    samples = next((out / "lm_eval" / "greedy").glob("samples_pocket_*.jsonl"))
    assert len(samples.read_text().splitlines()) == 30
    results = next((out / "lm_eval" / "greedy").glob("results_*.json"))
    found = json.loads(results.read_text())["results"]["pocket"]["pass@1,all"]
    assert found == pytest.approx(rows["greedy"]["pass@1"]["mean"])
    for file in (results, out / "eval.json"):
        assert str(Path(__file__).parents[2]) not in file.read_text(), "a folder of this machine"


def test_as_many_worked_examples_as_asked_for_stand_before_each_problem(tmp_path: Path) -> None:
    row = {"input": "Mia has 2 pears and picks 3. How many has she?", "target": "5"}
    (tmp_path / "mawps.jsonl").write_text(json.dumps(row) + "\n")
    tasks = ["--tasks", "pocket,mawps", "--data-dir", str(tmp_path), "--limit", "1", "--max-new-tokens", "4"]
    for asked, shots in (([], 0), (["--num-fewshot", "0"], 0), (["--num-fewshot", "3"], 3)):
        out = tmp_path / f"out{len(asked)}{shots}"
        done = em_hf(*tasks, *asked, "--strategy", "greedy", "--output", str(out))
        assert done.returncode == 0, done.stderr
        for task in ("pocket", "mawps"):
            (line,) = next((out / "lm_eval" / "greedy").glob(f"samples_{task}_*.jsonl")).read_text().splitlines()
            sample = json.loads(line)
            prompt, own = sample["arguments"]["gen_args_0"]["arg_0"], sample["doc"]["problem"]
            before = prompt.partition(own)[0]
            assert own in prompt and before.count("?") == shots, prompt
            assert len(re.findall("Answer:.*boxed|#### ", before)) == shots, "examples have their answers"


def without_seconds(folder: Path) -> list:
    rows = json.loads((folder / "eval.json").read_text())["rows"]
    for row in rows:
        del row["figures"]["seconds"], row["values"]["seconds"]
    return rows


def test_an_interrupted_evaluation_goes_on_to_the_same_table(tmp_path: Path) -> None:
    arguments = ["--compare", "sampling,self-consistency", "--n", "2", "--limit", "20", "--batch-size", "2", "--json"]
    whole = em_hf(*arguments, "--output", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    cut = [sys.executable, "-c", RUN, "eval", *arguments, "--output", "cut"]
    process = subprocess.Popen(cut, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    answers = tmp_path / "cut" / "answers" / "sampling.jsonl"
    deadline = time.monotonic() + 600
    while not (answers.is_file() and len(answers.read_text().split("\n")) > 4) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130 and output == "" and "continues from there" in errors
    kept = len(answers.read_text().strip().split("\n"))
    assert json.loads((tmp_path / "cut" / "eval.json").read_text())["status"] == "running"
    resumed = em_hf(*arguments, "--output", "cut", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert without_seconds(tmp_path / "cut") == without_seconds(tmp_path / "whole")
    lines = answers.read_text().strip().split("\n")
    assert 4 <= kept <= len(lines) == 20, "what was answered was not answered again"
    assert json.loads(resumed.stdout)["status"] == "finished"


def test_an_evaluation_goes_on_only_with_the_questions_that_its_answers_are_to(tmp_path: Path) -> None:
    def write(*rows: dict) -> None:
        (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def go_on(*more: str) -> str:
        asked = ["--dataset", "mine.jsonl", "--strategy", "greedy", "--max-new-tokens", "2", "--output", "out"]
        done = em_hf(*asked, *more, cwd=tmp_path)
        assert done.returncode == (1 if "Error: " in done.stderr else 0)
        return done.stderr.splitlines()[-1]

    tom, ann = ({"prompt": f"{who} has 3 nuts.", "question": f"{who}?", "answer": "3"} for who in ("Tom", "Ann"))
    write(tom, ann)
    assert go_on() == "Results are in out."
    record = tmp_path / "out" / "eval.json"
    begun = record.read_text()
    assert go_on("--prompt-column", "prompt") == "Results are in out.", "the column it had taken unasked"
    assert "(prompt_column was 'prompt', now 'question')" in go_on("--prompt-column", "question")
    assert "(answer_column was 'answer', now 'prompt')" in go_on("--answer-column", "prompt")
    write(ann, tom)
    assert "out holds answers to other prompts" in go_on()
    write(tom, {**ann, "answer": "4"})
    assert go_on() == "Results are in out.", "a corrected label: the answers are graded again"
    older = json.loads(begun)
    for name in ("prompts_sha256", "prompt_column"):  # as em-hf wrote it before it recorded these
        del older["settings"][name]
    record.write_text(json.dumps(older))
    assert "an earlier em-hf, which did not record its prompt_column" in go_on()
    assert go_on("--overwrite") == "Results are in out."


def test_a_benchmark_whose_local_copy_changed_is_another_one(tmp_path: Path) -> None:
    asked = ["--tasks", "mawps", "--limit", "2", "--strategy", "greedy", "--max-new-tokens", "2", "--output", "out"]
    for folder, n in (("first", 3), ("longer", 4), ("other", 5)):
        (tmp_path / folder).mkdir()
        rows = [{"input": f"Mia has {i} pears. How many has she?", "target": str(i)} for i in range(3)]
        rows = [{"input": "And you?", "target": "1"}, *rows] if folder == "other" else rows * (n - 2)
        (tmp_path / folder / "mawps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert em_hf(*asked, "--data-dir", "first", cwd=tmp_path).returncode == 0
    assert em_hf(*asked, "--data-dir", "longer", cwd=tmp_path).returncode == 0, "the first two problems are the same"
    done = em_hf(*asked, "--data-dir", "other", cwd=tmp_path)
    assert done.returncode == 1 and "out holds answers to other prompts" in done.stderr.splitlines()[-1]


def test_the_list_shows_every_task_with_size_metric_and_source() -> None:
    done = em_hf("--list")
    assert done.returncode == 0
    for name, size in (("math500", "500"), ("olympiadbench", "675"), ("leetcode", "180"), ("mmlu_pro", "12032")):
        line = next(line for line in done.stdout.splitlines() if line.startswith(name))
        assert size in line.split() and "Hub" in line
    assert "the Hub and the paper say 674" in done.stdout
    strategies = [line.partition("  ") for line in done.stdout.partition("Strategies:\n")[2].splitlines()]
    assert "em-inf+weighted-self-consistency" in [name for name, _, _ in strategies]
    assert len({len(name + gap + rest) - len((gap + rest).lstrip()) for name, gap, rest in strategies}) == 1, "a column"


def test_the_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path: Path) -> None:
    done = em_hf("--tasks", "gsm8k, math500", "--output", "out", "--dry-run", "--json", cwd=tmp_path)
    plan = json.loads(done.stdout)
    assert plan["tasks"] == ["gsm8k", "math500"] and plan["compare"] == ["greedy", "sampling", "em-inf"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "settings.yaml").write_text("tasks: [mawps, svamp]\ncompare: greedy, em-inf\nlimit: 3\n")
    plan = json.loads(em_hf("--config", "settings.yaml", "--limit", "2", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert (plan["tasks"], plan["limit"]) == (["mawps", "svamp"], 2)
    assert plan["compare"] == ["sampling", "greedy", "em-inf"], "all are compared with greedy and with sampling"


def test_an_option_without_effect_is_no_error_at_its_default_or_in_the_environment(tmp_path: Path) -> None:
    asked = ["--split", "test", "--tune-problems", "100", "--dry-run", "--json"]
    for environment in ({}, {"EM_HF_EVAL_SPLIT": "train", "EM_HF_EVAL_DATA_DIR": "."}):
        done = em_hf(*asked[2:] if environment else asked, cwd=tmp_path, **environment)
        assert done.returncode == 0 and json.loads(done.stdout)["tasks"] == ["pocket"], done.stderr


def test_problems_of_ones_own_are_evaluated_under_several_settings_of_a_strategy_and_tuned(tmp_path: Path) -> None:
    from em_hf.pocket import problems

    for name, split, n in (("mine", "test", 16), ("held-out", "validation", 12)):
        rows = [{"question": row["prompt"], "target": row["answer"]} for row in problems(split, n, 0)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["--dataset", "mine.jsonl", "--compare", "temperature=0.3,temperature,em-inf:n-grad-steps=5"]
    done = em_hf(*asked, "--tune", "3", "--validation", "held-out.jsonl", "--output", "out", "--wide", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "eval.json").read_text())
    names = ["greedy", "sampling", "temperature=0.3", "temperature", "em-inf:n-grad-steps=5"]
    assert [row["strategy"] for row in record["rows"]] == names
    assert {row["task"] for row in record["rows"]} == {"mine"} and record["settings"]["dataset"] == "mine.jsonl"
    assert [trial["strategy"] for trial in record["tuning"]] == ["temperature"] * 3 + ["em-inf:n-grad-steps=5"] * 3
    assert done.stderr.count("tuning temperature") == 3 and "6 trials" in done.stdout
    assert "temperature=0.3 minus sampling" in done.stdout, "--wide shows the long tables"


def test_rows_beyond_those_that_are_used_may_have_no_answer(tmp_path: Path) -> None:
    for name in ("mine", "held-out"):
        rows = [{"prompt": f"{name}: Tom has {n} nuts.", "answer": str(n)} for n in (2, 3)] + [{"prompt": "And you?"}]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["--dataset", "mine.jsonl", "--strategy", "temperature", "--max-new-tokens", "2"]
    tuned = ["--tune", "2", "--validation", "held-out.jsonl"]
    done = em_hf(*asked, "--limit", "2", *tuned, "--tune-problems", "2", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("mine: 2 problems"), done.stderr
    done = em_hf(*asked, *tuned, "--limit", "3", "--tune-problems", "2", cwd=tmp_path)
    assert done.returncode == 1 and "Error: mine.jsonl, row 3 has no answer" in done.stderr
    done = em_hf(*asked, *tuned, "--limit", "2", "--tune-problems", "3", cwd=tmp_path)
    assert done.returncode == 1 and "Error: held-out.jsonl, row 3 has no answer" in done.stderr


def test_a_trial_draws_one_answer_to_each_validation_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from em_hf.evaluation.model import EntropyMinLM

    drawn, complete = [], EntropyMinLM.complete
    monkeypatch.setattr(EntropyMinLM, "complete", lambda lm, *one: drawn.append(len(one[0])) or complete(lm, *one))
    asked = ["--strategy", "temperature", "--tune", "2", "--tune-problems", "3", "--limit", "2", "--samples", "4"]
    done = em_hf(*asked, "--max-new-tokens", "2", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("pocket: 2 problems, 4 answers each"), done.stderr
    assert drawn == [3, 3, 2 * 4], "two trials, then the evaluation"


def test_hard_problems_are_evaluated_named_and_kept_apart_from_plain_ones(tmp_path: Path) -> None:
    from em_hf.pocket import problems

    asked = ["--limit", "5", "--strategy", "greedy", "--output", "out"]
    done = em_hf("--level", "hard", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pocket-hard: 5 problems, 1 answer each\n")
    record = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert record["settings"]["level"] == "hard" and "--level hard" in record["command"]
    samples = next((tmp_path / "out" / "lm_eval" / "greedy").glob("samples_pocket-hard_*.jsonl"))
    docs = [json.loads(line)["doc"]["problem"] for line in samples.read_text().splitlines()]
    assert docs == [row["prompt"] for row in problems("test", 5, 0, level="hard")]
    done = em_hf(*asked, cwd=tmp_path)
    assert done.returncode == 1 and "(level was 'hard', now 'plain')" in done.stderr.splitlines()[-1]


def test_a_hub_dataset_with_a_dot_in_its_name_is_tuned_on_its_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from em_hf.pocket import problems

    def load_dataset(name: str, config: str | None, *, split: str) -> datasets.Dataset:
        return datasets.Dataset.from_list(
            [{"prompt": p["prompt"], "answer": p["answer"]} for p in problems(split, 3, 0)]
        )

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    done = em_hf("--dataset", "owner/herd-v1.5", "--strategy", "min-p", "--tune", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("owner-herd-v1.5: 3 problems") and done.stderr.count("tuning min-p") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--strategy", "oracle"], 2, "self-consistency"),
        (["--compare", "greedy,oracle"], 2, "strategy is 'oracle', but must be one of greedy"),
        (["--compare", "greedy,samplin"], 2, "did you mean 'sampling'?"),
        (["--compare", "greedy:top-k=3"], 2, "strategy greedy has no setting 'top-k'; it has none"),
        (["--compare", "temperature=0.5,temperature=0.50"], 2, "two strategies are named temperature=0.5"),
        (["--strategy", "greedy", "--threshold", "0.1"], 2, "--threshold is 0.1, but no strategy has it among greedy"),
        (["--dataset", "own.jsonl", "--tasks", "gsm8k"], 2, "not both"),
        (["--compare", "top-p:threshold=0.2"], 2, "strategy top-p has no setting 'threshold'; it has temperature"),
        (["--compare", "em-inf,em-inf"], 2, "two strategies are named em-inf"),
        (["--dataset", "own.jsonl", "--tune", "2"], 1, "--tune needs validation problems"),
        (["--dataset", "own.jsonl", "--validation", "own.jsonl", "--tune", "2"], 1, "own.jsonl has none besides those"),
        (["--level", "easy"], 2, "--level is 'easy', but must be one of plain, hard"),
        (["--level", "hard", "--dataset", "own.jsonl"], 2, "level is hard, but own.jsonl has no levels"),
        (["--level", "hard", "--dataset", "pocket-fewer"], 2, "level is hard, but pocket-fewer has no levels"),
        (["--level", "hard", "--dataset", "pocket", "--validation", "own.jsonl"], 2, "but own.jsonl has no levels"),
        (
            ["--level", "hard", "--tasks", "pocket,gsm8k"],
            2,
            "level is hard, but gsm8k has no levels (only pocket does)",
        ),
        (["--dataset", "own.jsonl", "--prompt-column", "q"], 1, "prompt_column is 'q'"),
        (["--dataset", "blank.jsonl"], 1, "has no answers: name their column with --answer-column"),
        (["--validation", "own.jsonl"], 2, "--validation goes with --dataset"),
        (["--split", "train"], 2, "--split describes problems of your own: give --dataset too"),
        (["--dataset-config", "main"], 2, "--dataset-config describes problems of your own"),
        (["--prompt-column", "q"], 2, "--prompt-column describes problems of your own"),
        (["--answer-column", "a"], 2, "--answer-column describes problems of your own"),
        (["--config", "split.yaml"], 2, "--split describes problems of your own"),
        (["--tune-problems", "50"], 2, "--tune-problems says what to tune on: give --tune too"),
        (["--dataset", "own.jsonl", "--validation", "own.jsonl"], 2, "--validation says what to tune on"),
        (["--dataset", "own.jsonl", "--data-dir", "few"], 2, "--data-dir holds copies of benchmarks"),
        (["--overwrite"], 2, "--overwrite replaces what --output holds: give --output too"),
        (["--tune", "0"], 2, "--tune is 0"),
        (["--backend", "openai"], 2, "--backend openai and --base-url go together"),
        (["--base-url", "http://localhost:8000/v1"], 2, "go together"),
        (["--backend", "openai", "--base-url", "localhost"], 1, "base_url is 'localhost', but must be an address"),
        (["--tasks", "mawps", "--data-dir", "few", "--tune", "2"], 1, "tune needs validation problems, but mawps has"),
        (["--tasks", "humaneval_instruct"], 1, "runs the programs that the model writes, outside em-hf's sandbox"),
        (["--tasks", "mbpp_instruct", "--allow-code-execution"], 1, "outside em-hf's sandbox"),
        (["--tasks", ","], 2, "--tasks is empty"),
        (["--compare", "greedy,greedy"], 2, "two strategies are named greedy"),
        (["--strategy", "greedy", "--compare", "greedy,sampling"], 2, "not both"),
        (["--threshold", "-1"], 2, "--threshold is -1, but must be at least 0"),
        (["--min-p", "nan"], 2, "--min-p is nan, but must be a finite number, at least 0 and below 1"),
        (["--temperature", "0"], 2, "temperature"),
        (["--data-dir", "nowhere"], 2, "nowhere"),
        (["--tasks", "gsm9k"], 1, "there is no task 'gsm9k'"),
        (["--tasks", "humaneval"], 1, "--allow-code-execution"),
        (["--num-fewshot", "900000"], 2, "--num-fewshot is 900000, but must be from 0 to 1,000"),
        (["--tasks", "mawps", "--data-dir", "few", "--num-fewshot", "8"], 1, "mawps has 8 examples to draw from"),
        (["--tasks", "gsm8k", "--data-dir", "."], 1, "there is no gsm8k_test.jsonl in"),
        (["--tasks", "math500"], 1, "give the folder of math500.jsonl as --data-dir"),
        (["--output", "taken"], 1, "something other than an evaluation"),
        (["--model", "./nowhere"], 1, "no model folder at ./nowhere"),
        (["--model", "damaged"], 1, "damaged cannot decode (IndexError"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_an_exit_code(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    (tmp_path / "own.jsonl").write_text('{"prompt": "What is 1 + 1?", "answer": "2"}\n')
    (tmp_path / "blank.jsonl").write_text('{"prompt": "What is 1 + 1?"}\n')
    (tmp_path / "split.yaml").write_text("split: train\n")
    (tmp_path / "code_eval").mkdir()
    (tmp_path / "code_eval" / "code_eval.py").write_text("raise SystemExit('imported from the current folder')")
    (tmp_path / "few").mkdir()
    shutil.copytree(POCKET_REASONER, tmp_path / "damaged")
    tokenizer = json.loads((tmp_path / "damaged" / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: token + 9999 for word, token in tokenizer["model"]["vocab"].items()}
    (tmp_path / "damaged" / "tokenizer.json").write_text(json.dumps(tokenizer))
    rows = [{"input": f"Mia has {n} pears. How many has she?", "target": str(n)} for n in (2, 3)]
    (tmp_path / "few" / "mawps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = em_hf(*arguments, "--limit", "1", cwd=tmp_path, EM_HF_DATA_DIR="")
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert sum(line.startswith("Error:") for line in done.stderr.splitlines()) == 1
