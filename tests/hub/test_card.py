"""The rendered card as its readers see it: front matter, sections, links, tables and code."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from em_hf.hub import model_card, read_run
from tests.hub.made import FACTS, RESULTS, SETTINGS, record

MODEL = ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json"]
ADAPTER = ["adapter_model.safetensors", "adapter_config.json", "generation_config.json", "tokenizer.json"]
TRACE = ["entropy.jsonl", "entropy.png"]
RECIPE = ["custom_generate/generate.py"]
PAPER = "https://arxiv.org/abs/2505.15134"
OPTIONAL = tuple(key for key in FACTS if key not in ("name", "status", "method", "base_model"))


@pytest.fixture
def full(tmp_path: Path) -> ModelCard:
    return model_card(read_run(record(tmp_path / "run")), files=MODEL + TRACE + RECIPE)


@pytest.fixture
def bare(tmp_path: Path) -> ModelCard:
    """A run of which next to nothing is known, on the pocket reasoner."""
    folder = record(tmp_path / "run", log=[], results=None, drop=OPTIONAL, base_model="../models/mine")
    return model_card(read_run(folder), files=MODEL)


def sections(text: str) -> dict[str, str]:
    """Heading -> what stands under it, code blocks left whole."""
    found: dict[str, str] = {}
    heading, code = "", False
    for line in text.splitlines():
        code ^= line.startswith("```")
        if line.startswith("#") and not code:
            heading = line
            found[heading] = ""
        elif heading:
            found[heading] += line + "\n"
    return found


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)]+)\)", text))


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_full_card_states_every_measured_figure(full: ModelCard) -> None:
    for line in (
        "| base | 64.0% (57.5 to 70.0) | 0.400 | 40.0 | 2.0 |",
        "| EM-FT | 84.5% (79.0 to 89.0) | 0.100 | 41.0 | 2.0 |",
        "Measured on 200 problems, 4 samples of each, sampled with temperature 1.0, top k 0, top p 1.0, max new tokens "
        "16, seed 5. The entropy is that of the model's own distributions, before EM-INF changes them.",
        "- Steps: 3",
        "- Mean token entropy of the sampled outputs: 1.250 nats at the first step, 0.750 at the last",
        "- Sampled tokens: 576",  # 200 + 192 + 184
        "- Time: 9 s",
        "- Seed: 7",
        "| `learning_rate` | 0.0001 |",
        "| `threshold` | 0.3 |",
        "em-hf 0.1.0, python 3.11.7, torch 2.13.0, transformers 5.23.0",
        "minimize  1/N Σ_i Σ_t H_t    over outputs y_1 … y_N sampled from the model itself",
    ):
        assert line in full.text.splitlines(), line
    assert "`entropy_min`" not in sections(full.text)["## Training"], "the decoding's settings have their own table"


def test_what_a_reader_of_the_results_must_know_stands_under_their_table(tmp_path: Path) -> None:
    note = "Only 3 of the 200 prompts asked for could be held out to measure on."
    card = model_card(read_run(record(tmp_path / "run", results={**RESULTS, "n": 3, "note": note})), files=MODEL)
    line = next(line for line in card.text.splitlines() if line.startswith("Measured on 3 problems"))
    assert f"max new tokens 16, seed 5. {note} The entropy is" in line


def test_the_full_card_links_the_base_the_dataset_the_paper_and_its_own_picture_and_nothing_else(
    full: ModelCard,
) -> None:
    hub = "https://huggingface.co"
    assert links(full.text) == {
        f"{hub}/some-lab/tiny-llama",
        f"{hub}/datasets/openai/gsm8k",
        PAPER,
        "entropy.png",
    }


def test_the_front_matter_says_what_the_hub_indexes(full: ModelCard) -> None:
    assert ModelCard(str(full)).data.to_dict() == {
        "base_model": "some-lab/tiny-llama",
        "base_model_relation": "finetune",
        "datasets": ["openai/gsm8k"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["em-hf", "entropy-minimization", "em-ft", "custom_generate"],
        "model-index": [
            {
                "name": "tiny-llama trained with EM-FT",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"name": "openai/gsm8k, held-out problems", "type": "openai/gsm8k"},
                        "metrics": [{"type": "accuracy", "value": 84.5, "name": "accuracy in %, EM-FT, 200 problems"}],
                    }
                ],
            }
        ],
    }


def test_a_bare_run_leaves_out_the_sections_it_has_no_facts_for(bare: ModelCard) -> None:
    headings = list(sections(bare.text))
    assert "## Results" not in headings
    assert "### Decoding settings" not in headings
    assert "## Library versions" not in headings
    assert "### Without em-hf" not in headings, "no recipe lies in the repository"
    assert {"## How to use", "### With em-hf", "## Training", "## Limits", "## Citation"} <= set(headings)
    assert "entropy.jsonl" not in bare.text
    assert "The results come from" not in bare.text


@pytest.mark.parametrize("which", ["full", "bare"])
def test_no_card_has_a_placeholder_or_an_empty_section(which: str, request: pytest.FixtureRequest) -> None:
    text = str(request.getfixturevalue(which))
    for gap in ("None", "null", "nan", "{{", "}}", "{%", "[]", "()", "TODO", "unknown"):
        assert gap not in text, gap
    body = sections(text.split("\n---\n", 1)[1])
    with_children = {"## How to use"}
    for heading, content in body.items():
        assert content.strip() or heading in with_children, f"{heading} is empty"


@pytest.mark.parametrize("which", ["full", "bare"])
def test_every_example_is_python_that_samples(which: str, request: pytest.FixtureRequest) -> None:
    *blocks, in_vllm = python_blocks(request.getfixturevalue(which).text)
    assert "temperature=1.0" in in_vllm and 'LLM(".")' in in_vllm
    assert len(blocks) == (2 if which == "full" else 1)
    for block in blocks:
        tree = ast.parse(block)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        generate = next(call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "generate")
        given = {word.arg: word.value for word in generate.keywords if word.arg}
        assert ast.literal_eval(given["do_sample"]) is True, "greedy decoding would not show EM-INF"
        assert ast.literal_eval(given["entropy_min"]) is True
        assert "enable_entropy_min" in block or "custom_generate" in given
        names = {node.args[0].value for node in calls if getattr(node.func, "attr", "") == "from_pretrained"}
        assert names == {"."}


def test_with_a_name_on_the_hub_the_examples_load_that_name(tmp_path: Path) -> None:
    card = model_card(read_run(record(tmp_path / "run")), files=MODEL + RECIPE, repo_id="me/first-em")
    assert '"."' not in card.text
    for block in python_blocks(card.text):
        assert '.from_pretrained("me/first-em")' in block or 'LLM("me/first-em")' in block


def test_an_adapter_is_called_one_and_loaded_as_one(tmp_path: Path) -> None:
    card = model_card(read_run(record(tmp_path / "run", lora=True)), files=ADAPTER)
    assert card.data.base_model_relation == "adapter"
    assert card.data.library_name == "peft"
    assert "A LoRA adapter for [some-lab/tiny-llama]" in card.text
    for block in python_blocks(card.text):
        assert "AutoPeftModelForCausalLM.from_pretrained" in block
        assert "AutoModelForCausalLM" not in block
    assert "merged" not in card.text


def test_a_merged_adapter_is_called_a_whole_model(tmp_path: Path) -> None:
    card = model_card(read_run(record(tmp_path / "run", lora=True)), files=MODEL)
    assert card.data.base_model_relation == "finetune"
    assert "LoRA adapter merged into the weights" in card.text
    assert "PEFT" not in card.text and "peft" not in card.text


@pytest.mark.parametrize(
    ("base", "revision", "said"),
    [
        ("/data/someone/models/mine", None, "a model in a local folder (`mine`)"),
        ("../models/mine", None, "a model in a local folder (`../models/mine`)"),
        # These may be folders of this machine, and of the reader's: only the Hub has commits.
        ("mine", None, "a model that is not known to be on the Hub (`mine`)"),
        ("runs/first", None, "a model that is not known to be on the Hub (`runs/first`)"),
        ("lab/model", "v2", "a model that is not known to be on the Hub (`lab/model`)"),
        ("lab/model", "0" * 39, "a model that is not known to be on the Hub (`lab/model`)"),
        ("../models/mine", "0" * 40, "a model in a local folder (`../models/mine`)"),
        ("a/b/c", None, "a model in a local folder (`a/b/c`)"),
        ("gpt2", "0" * 40, f"[gpt2](https://huggingface.co/gpt2) at revision `{'0' * 40}`"),
        ("lab/model", "0" * 40, f"[lab/model](https://huggingface.co/lab/model) at revision `{'0' * 40}`"),
    ],
)
def test_a_base_model_is_linked_only_where_it_is_on_the_hub(
    base: str, revision: str | None, said: str, tmp_path: Path
) -> None:
    run = read_run(record(tmp_path / "run", base_model=base, base_revision=revision))
    card = model_card(run, files=MODEL)
    assert f"Made from {said} by" in card.text
    on_hub = said.startswith("[")
    assert (card.data.base_model == base) == on_hub
    assert ("base_model_relation" in card.data) == on_hub
    assert str(Path("/data/someone")) not in str(card)


@pytest.mark.parametrize(
    "name", ["data/prompts.jsonl", "data/prompts.text", "/data/me/prompts.jsonl", "gsm8k", "a/b/prompts.csv"]
)
def test_a_dataset_that_is_a_file_or_a_benchmark_name_is_not_linked(name: str, tmp_path: Path) -> None:
    dataset = {**FACTS["dataset"], "name": name}
    card = model_card(read_run(record(tmp_path / "run", dataset=dataset)), files=MODEL)
    assert card.data.datasets is None
    assert "huggingface.co/datasets" not in card.text
    assert "/data/me" not in card.text
    shown = "prompts.jsonl" if name.startswith("/") else name
    assert f"- Prompts: `{shown}` (512 prompts, split `train`" in card.text


def test_without_known_answers_the_table_has_no_accuracy(tmp_path: Path) -> None:
    rows = [{"name": "base", "accuracy": None, "low": None, "high": None, "entropy": 0.5, "seconds": None}]
    card = model_card(read_run(record(tmp_path / "run", results={"n": 9, "rows": rows})), files=MODEL)
    assert "|  | token entropy (nats) |\n| --- | --- |\n| base | 0.500 |" in card.text
    assert "accuracy" not in card.text
    assert "Measured on 9 problems by sampling. The entropy is" in card.text


def test_a_row_without_a_figure_that_others_have_shows_a_dash(tmp_path: Path) -> None:
    rows = [{"name": "base", "accuracy": 0.5, "entropy": 0.5}, {"name": "EM-FT", "accuracy": None, "entropy": 0.25}]
    card = model_card(read_run(record(tmp_path / "run", results={"rows": rows})), files=MODEL)
    assert "| base | 50.0% | 0.500 |\n| EM-FT | – | 0.250 |" in card.text


def test_the_legend_explains_just_the_rows_that_are_there(tmp_path: Path) -> None:
    rows = [{"name": "base", "entropy": 0.5}, {"name": "EM-FT + EM-INF", "entropy": 0.25}]
    card = model_card(read_run(record(tmp_path / "run", results={"rows": rows})), files=MODEL)
    legend = [line for line in sections(card.text)["## Results"].splitlines() if line.startswith("- ")]
    assert legend == [
        "- base: the model before training",
        "- EM-FT + EM-INF: the model after training, decoded with `entropy_min=True`",
    ]


def test_the_formula_is_that_of_the_loss_that_was_used(tmp_path: Path) -> None:
    mean = model_card(read_run(record(tmp_path / "run", settings={"loss_reduction": "token_mean"})), files=MODEL).text
    assert "minimize  Σ_i Σ_t H_t / Σ_i |y_i|    over outputs" in mean and "1/N" not in mean
    paper = model_card(read_run(record(tmp_path / "run", settings={"loss_reduction": "sum"})), files=MODEL).text
    assert "minimize  1/N Σ_i Σ_t H_t    over outputs" in paper and "|y_i|" not in paper


def test_no_value_can_break_out_of_its_table(tmp_path: Path) -> None:
    settings = {"prompt": "a | b\nc", "rows": ["x", "y|z"], "flag": True, "off": False}
    card = model_card(read_run(record(tmp_path / "run", settings=settings)), files=MODEL)
    assert "| `prompt` | a \\| b c |\n| `rows` | x, y\\|z |\n| `flag` | yes |" in card.text


def test_no_template_code_in_a_value_is_run(tmp_path: Path) -> None:
    card = model_card(read_run(record(tmp_path / "run", settings={"prompt": "{{ 6 * 7 }}"})), files=MODEL)
    assert "| `prompt` | {{ 6 * 7 }} |" in card.text


def test_the_bases_license_is_given_where_it_is_known(tmp_path: Path) -> None:
    run = read_run(record(tmp_path / "run"))
    assert model_card(run, files=MODEL).data.license is None
    assert model_card(run, files=MODEL, license="mit").data.license == "mit"


def test_a_tokenizer_with_a_chat_template_gets_its_prompt_as_a_message(tmp_path: Path) -> None:
    folder = record(tmp_path / "run")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    for block in python_blocks(model_card(read_run(folder), files=MODEL).text):
        assert "tokenizer.apply_chat_template(messages, add_generation_prompt=True" in block
        ast.parse(block)
    record(folder, settings={"chat_template": False})
    assert "apply_chat_template" not in model_card(read_run(folder), files=MODEL).text


RL = {
    "method": "em-rl-token",
    "method_title": "EM-RL-token",
    "objective": "maximize E[-Σ_t H_t]",
    "loop": "RLOOTrainer",
    "source": "arXiv 2505.15134, equation 4",
}


def test_the_card_of_another_method_states_its_objective_loop_and_source(tmp_path: Path) -> None:
    text = model_card(read_run(record(tmp_path / "run", **RL)), files=MODEL).text
    method = sections(text)["## Method"]
    assert "maximize E[-Σ_t H_t]" in method and "TRL's RLOOTrainer" in method and "no label or other" in method
    assert f"[arXiv 2505.15134, equation 4]({PAPER})" in method
    assert "reinforcement learning (EM-RL-token), on prompts alone: no label was used." in text


def test_a_method_with_labels_is_never_said_to_have_none(tmp_path: Path) -> None:
    facts = {**RL, "method": "rloo", "method_title": "RLOO", "labels": "answers", "source": ""}
    text = model_card(read_run(record(tmp_path / "run", **facts)), files=MODEL).text
    assert "by RLOO on labeled answers." in " ".join(text.split()) or "by RLOO, on labeled answers." in text
    assert "no label" not in text and "The reward needs labels" in text


def test_compute_memory_and_the_guards_verdict_stand_in_the_card(tmp_path: Path) -> None:
    compute = {
        "parameters": 1000,
        "tokens_sampled": 500,
        "tokens_trained": 2000,
        "flops": 1.6e7,
        "seconds": 9.0,
        "peak_memory_bytes": 3 * 2**30,
    }
    guard = {"collapsed": True, "step": 30, "why": "the KL is 0.9 nats a token", "best_step": 20}
    text = model_card(read_run(record(tmp_path / "run", compute=compute, guard=guard)), files=MODEL).text
    assert "Compute: 1.60e+07 FLOPs" in text and "P = 1,000 parameters, D = 2,000 tokens" in text
    assert "Peak memory: 3.0 GiB" in text
    assert "stopped a collapse at step 30 (the KL is 0.9 nats a token); the weights are those after step 20" in text
    early = {"collapsed": False, "step": 40, "why": "below its best", "best_step": 10}
    text = model_card(read_run(record(tmp_path / "early", guard=early)), files=MODEL).text
    assert "stopped early at step 40 (below its best); the weights are those after step 10" in text
    well = {"collapsed": False, "step": None, "why": None, "best_step": 3}
    assert "Collapse guard: saw none" in model_card(read_run(record(tmp_path / "well", guard=well)), files=MODEL).text


def test_a_kl_term_stands_beside_em_fts_objective(tmp_path: Path) -> None:
    settings = {**FACTS["settings"], "beta": 0.25}
    text = model_card(read_run(record(tmp_path / "run", settings=settings)), files=MODEL).text
    assert "A penalty is added: 0.25 times" in sections(text)["## Method"]
    assert "A penalty is added" not in model_card(read_run(record(tmp_path / "plain")), files=MODEL).text


def rows(*names: str, **more: Any) -> list[dict[str, Any]]:
    """Result rows with accuracies of 50%, 51% and so on."""
    return [{"name": name, "accuracy": 0.5 + i / 100, "low": 0.4, "high": 0.6, **more} for i, name in enumerate(names)]


def card_of(tmp_path: Path, **facts: Any) -> str:
    return model_card(read_run(record(tmp_path / "run", **facts)), files=MODEL).text


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({}, "tiny-llama trained with EM-FT"),
        ({"method": "em-rl-sequence"}, "tiny-llama trained with EM-RL-sequence"),
        ({"base_model": "pocket-reasoner"}, "Pocket reasoner trained with EM-FT"),
        ({"base_model": "pocket-misled", "method": "sft"}, "Misled pocket model trained with SFT"),
        ({"base_model": "/data/me/models/mine/"}, "mine trained with EM-FT"),
        ({"method": "new", "method_title": "A new one"}, "tiny-llama trained with A new one"),
    ],
)
def test_the_title_names_the_model_and_the_method(facts: dict[str, Any], title: str, tmp_path: Path) -> None:
    assert card_of(tmp_path, **facts).lstrip().splitlines()[0] == f"# {title}"


def test_the_first_lines_give_the_result_with_greedy_and_its_interval(tmp_path: Path) -> None:
    measured = {**RESULTS, "rows": rows("base (greedy)", "base", "EM-INF", "EM-FT", "EM-FT + EM-INF", "EM-FT (greedy)")}
    text = card_of(tmp_path, results=measured)
    assert (
        "On 200 held-out problems, sampled at temperature 1, this model is right 53.0% of the time (95% interval 40.0 "
        "to 60.0) and the model before training 51.0% (40.0 to 60.0). Decoded greedily, the model before training "
        "50.0% (40.0 to 60.0), this model 55.0% (40.0 to 60.0)."
    ) in text.split("## Results")[0]
    assert "intervals are wide" not in text
    legend = sections(text)["## Results"]
    assert "- base (greedy): the model before training, decoded greedily" in legend
    assert "- EM-FT (greedy): the model after training, decoded greedily" in legend


def test_few_problems_are_warned_of_and_a_missing_greedy_row_is_said(tmp_path: Path) -> None:
    few = card_of(tmp_path, results={**RESULTS, "n": 8})
    assert "> With 8 problems these intervals are wide" in few and "Greedy decoding was not measured." in few
    assert "intervals are wide" not in card_of(tmp_path, results={**RESULTS, "n": 100})
    assert "held-out problems" not in card_of(tmp_path / "unmeasured", results=None)


def test_samples_before_and_after_are_shown_and_cannot_break_out_of_their_block(tmp_path: Path) -> None:
    prompt, before, after = "What is 2 + 3?", "```\n# not a heading\n```", "2 + 3 = 5\n#### 5"
    measured = [*rows("base", prompt=prompt, sample=before), *rows("EM-FT", prompt=prompt, sample=after)]
    text = card_of(tmp_path, results={**RESULTS, "rows": measured})
    shown = sections(text.replace("````", "```"))
    assert "## Before and after" in shown and "````text\n```\n# not a heading\n```\n````" in text
    assert f"```text\n{prompt}\n```" in text and f"```text\n{after}\n```" in text
    assert "## Before and after" not in card_of(tmp_path)


def test_only_the_settings_that_applied_are_listed(tmp_path: Path) -> None:
    rows_of = re.compile(r"^\| `(\w+)` \|", flags=re.MULTILINE)
    settings = {
        "lora_rank": 16,
        "reward_tokens": "all",
        "beta": 0.0,
        "vllm_server": "http://x:1",
        "early_stopping": False,
    }
    settings |= {"chat_template": True}  # the folder's tokenizer has none
    settings |= {"trust_remote_code": False, "model": "some-lab/tiny-llama", "batch_size": 8, "loss_reduction": "sum"}
    decoding = {"method": "logit_optimization", **SETTINGS, "target_ratio": 0.5, "tmin": 0.01, "tmax": 1.0, "tol": 1e-4}
    text = card_of(tmp_path, settings=settings, entropy_min={**decoding, "max_iter": 100})
    listed = set(rows_of.findall(text))
    assert listed == {"batch_size", "loss_reduction", "method", *SETTINGS}
    lora = card_of(tmp_path, lora=True, settings={**settings, "beta": 0.1}, method="em-rl-token")
    listed = set(rows_of.findall(sections(lora)["## Training"]))
    assert listed == {"batch_size", "lora_rank", "beta"}
    rent = card_of(tmp_path, settings=settings, method="rent")
    assert set(rows_of.findall(sections(rent)["## Training"])) == {"batch_size", "reward_tokens"}
    adaptive = {**decoding, "method": "adaptive_temperature", "max_iter": 100}
    listed = set(
        re.findall(r"^\| `(\w+)` \|", card_of(tmp_path, settings={}, entropy_min=adaptive), flags=re.MULTILINE)
    )
    assert listed == {"method", "threshold", "target_ratio", "tmin", "tmax", "tol", "max_iter"}


VLLM = """if True:
    class SamplingParams:
        def __init__(self, **given):
            self.given = given
    class Text:
        def __init__(self, text):
            self.text, self.prompt, self.outputs = text, text, [self] if text else []
    class LLM:
        def __init__(self, name):
            import multiprocessing
            self.name = name
            worker = multiprocessing.get_context("spawn").Process(target=print, args=("a worker",))
            worker.start()
            worker.join()
            assert worker.exitcode == 0
        def generate(self, prompts, params):
            print(self.name, params.given)
            return [Text(prompt) for prompt in prompts]
"""


def test_the_vllm_block_runs_as_a_script_whose_engine_starts_processes(full: ModelCard, tmp_path: Path) -> None:
    """As vLLM does: each process imports the script again. The engine itself is a stand-in here."""
    (tmp_path / "vllm.py").write_text(VLLM)
    (tmp_path / "script.py").write_text(python_blocks(full.text)[-1])
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'extra_args': {'entropy_min': True}") == 1 and "a worker" in done.stdout
