"""From a run to what people do with the repository, each in a process of its own with an empty cache."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from em_hf import EntropyMinConfig
from em_hf.hub import write_repository
from em_hf.pocket import POCKET_REASONER, em_inf_settings, problems
from tests.hub.conftest import Pusher, environment, repo_of
from tests.hub.made import make_adapter, make_model, record
from tests.hub.server import Hub, card_errors
from tests.served import free_port

BLOCKS = re.compile(r"```(python|bash)\n(.*?)```", flags=re.DOTALL)


def python(code: str, *words: str, env: dict[str, str], cwd: Path) -> str:
    """The last line that `code` printed."""
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture
def pocket_run(tmp_path: Path) -> Path:
    """A run on the pocket reasoner, with its weights as they come."""
    folder = Path(shutil.copytree(POCKET_REASONER, tmp_path / "run"))
    dataset = {"name": "pocket-reasoner", "split": "train", "prompt_column": "prompt", "n": 2048}
    return record(folder, name=tmp_path.name.replace("_", "-"), base_model="pocket-reasoner", dataset=dataset)


def test_the_pocket_reasoners_card_names_it_without_a_link(pocket_run: Path, tmp_path: Path) -> None:
    card = write_repository(pocket_run, tmp_path / "out").card
    assert "Made from the pocket reasoner (the small word-problem model that comes with em-hf) by" in card.text
    assert (card.data.base_model, card.data.license, card.data.language) == (None, "apache-2.0", "en")
    assert "huggingface.co" not in card.text
    assert "The pocket reasoner solves the word problems of its own generator" in card.text
    assert json.dumps(problems("test", 1, 0)[0]["prompt"]) in card.text


def run_blocks(card: str, *, env: dict[str, str], cwd: Path) -> dict[str, str]:
    """What each example of the card prints, by its language and number."""
    printed = {}
    for number, (language, code) in enumerate(BLOCKS.findall(card)):
        if "vllm" in code:  # not in this environment; test_card.py runs it with a stand-in
            continue
        command = [sys.executable, "-c", code]
        if language == "bash":
            command = ["bash", "-c", code.replace("em-hf", '"$0" -c "from em_hf.cli.main import main; main()"')]
            command.append(sys.executable)
        done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        printed[f"{language} {number}"] = done.stdout
    return printed


def test_every_example_of_a_folders_card_runs_in_that_folder(pocket_run: Path, hub: Hub, tmp_path: Path) -> None:
    card = write_repository(pocket_run, tmp_path / "out").card
    env = environment(hub, tmp_path / "home", token=None)
    printed = run_blocks(card.text, env=env, cwd=tmp_path / "out")
    assert list(printed) == ["python 0", "bash 1", "python 2"]
    prompt = problems("test", 1, 0)[0]["prompt"]
    for name, text in printed.items():
        assert prompt in text, name
        assert re.search(r"\d", text.replace(prompt, "")), f"{name} printed no working"


def test_every_example_of_an_adapters_card_runs_by_its_name(
    adapter: Path, model: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    base = f"lab/{tmp_path.name}-base"
    hub.store.link(base, model)
    run = record(
        Path(shutil.copytree(adapter, tmp_path / "run")),
        name=tmp_path.name,
        base_model=base,
        base_revision=hub.repo(base).head("main"),
        lora=True,
        log=[],
    )
    done = push(run)
    assert done.code == 0, done.err
    card = hub.content(repo_of(run))["README.md"].decode()
    printed = run_blocks(card, env=environment(hub, tmp_path / "home"), cwd=tmp_path)
    assert list(printed) == ["python 0", "bash 1", "python 2"]


def test_a_gated_base_model_is_named_with_the_way_in(
    adapter: Path, model: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    """Merging needs the base model's weights. An adapter alone does not, and goes out."""
    base = f"lab/{tmp_path.name}-gated"
    hub.store.link(base, model)
    hub.repo(base).gated = True
    run = Path(shutil.copytree(adapter, tmp_path / "run"))
    commit = hub.repo(base).head("main")
    record(run, name=tmp_path.name, base_model=base, base_revision=commit, lora=True, log=[])
    config = json.loads((run / "adapter_config.json").read_text())
    of_base = {"base_model_name_or_path": base, "revision": commit}
    (run / "adapter_config.json").write_text(json.dumps({**config, **of_base}))
    done = push(run, "--merge")
    assert done.code == 1
    assert "is gated: accept its terms on its Hub page" in done.error
    assert ("model", repo_of(run)) not in hub.store.repos
    assert push(run).code == 0


DECODE = """if True:
    import json, sys, torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from em_hf import enable_entropy_min
    name, prompts = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    model = enable_entropy_min(AutoModelForCausalLM.from_pretrained(name))
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    torch.manual_seed(0)
    out = model.generate(**inputs, entropy_min=True, do_sample=True, top_k=0, max_new_tokens=40)
    print(json.dumps([model.generation_config.entropy_min_config, out.tolist()]))
"""


def train(folder: Path, *words: str) -> Path:
    """A short run of `em-hf train` on the pocket reasoner, in a process of its own."""
    small = ["--steps", "2", "--batch-size", "4", "--eval-problems", "4", "--eval-samples", "1"]
    command = [sys.executable, "-c", "from em_hf.cli.main import main; main()", "train", *small, *words]
    done = subprocess.run([*command, "--output", folder], cwd=folder.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_what_was_trained_and_pushed_decodes_as_the_run_folder_does(hub: Hub, push: Pusher, tmp_path: Path) -> None:
    run = train(tmp_path / "trained")
    done = push(run)
    assert done.code == 0, done.err
    assert not any(path.startswith("checkpoint") or path.endswith(".pt") for path in hub.content(repo_of(run)))
    prompts = [problem["prompt"] for problem in problems("test", 4, 1)]
    env = environment(hub, tmp_path / "home")
    from_hub = json.loads(python(DECODE, json.dumps([repo_of(run), prompts]), env=env, cwd=tmp_path))
    from_run = json.loads(python(DECODE, json.dumps([str(run), prompts]), env=env, cwd=tmp_path))
    assert from_hub == from_run
    card = hub.content(repo_of(run))["README.md"].decode()
    results = json.loads((run / "results.json").read_text())
    for row in results["rows"]:
        assert f"| {row['name']} | {100 * row['accuracy']:.1f}% (" in card
    assert card_errors(card) == []


def test_a_trained_adapter_on_the_pocket_reasoner_goes_out_merged(hub: Hub, push: Pusher, tmp_path: Path) -> None:
    run = train(tmp_path / "trained-lora", "--lora")
    refused = push(run)
    assert refused.code == 1
    assert "pocket-reasoner is not on the Hub; push the two as one model with --merge" in refused.error
    done = push(run, "--merge")
    assert done.code == 0, done.err
    content = hub.content(repo_of(run))
    assert "model.safetensors" in content and "adapter_config.json" not in content
    assert "as a LoRA adapter merged into the weights" in content["README.md"].decode()
    assert not any(str(POCKET_REASONER.parent).encode() in data for data in content.values())
    env = environment(hub, tmp_path / "home")
    settings, tokens = json.loads(
        python(DECODE, json.dumps([repo_of(run), ["Tom has 5 eggs."]]), env=env, cwd=tmp_path)
    )
    assert settings == EntropyMinConfig.from_dict(em_inf_settings()).to_dict()  # those stored with the model
    assert len(tokens) == 1


ON_A_HUB = """if True:
    import json, sys
    from pathlib import Path
    from em_hf.training.run import train
    from em_hf.training.settings import RunSettings
    given, folder, stopped = json.loads(sys.argv[1])
    small = dict(dataset="prompts.txt", device="cpu", batch_size=4, max_completion_length=4, eval_problems=0)
    def callbacks(trainer):
        if stopped:
            raise KeyboardInterrupt
        return []
    try:
        train(RunSettings.resolve({**small, "guard": False, **given}), Path(folder), make_callbacks=callbacks)
    except KeyboardInterrupt:
        pass
    print()
"""


def test_an_adapter_stays_with_the_commit_it_was_trained_on(
    model: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    """The branch it was named by moves on, to other weights of the same shape, and so does main."""
    base = f"lab/{tmp_path.name}-moving"
    hub.store.link(base, model)
    repo, first = hub.repo(base), hub.repo(base).head("main")
    repo.refs["v1"] = first
    (tmp_path / "prompts.txt").write_text("ab\nc\nbca\nd\n" * 10)
    env = environment(hub, tmp_path / "home")
    runs = {name: tmp_path / name for name in ("branch", "stopped")}
    given = {"model": base, "steps": 1, "lora": True, "learning_rate": 1e-2}
    asked = {"branch": {**given, "revision": "v1"}, "stopped": given}
    for name, run in runs.items():
        python(ON_A_HUB, json.dumps([asked[name], str(run), name == "stopped"]), env=env, cwd=tmp_path)
    hub.store.link(base, make_model(tmp_path / "other", seed=1))
    repo.refs["v1"] = repo.head("main")
    python(
        "from em_hf.cli.main import main; main()", *("train", "--resume", str(runs["stopped"])), env=env, cwd=tmp_path
    )
    for name, run in runs.items():
        facts, config = (json.loads((run / file).read_text()) for file in ("run.json", "adapter_config.json"))
        assert (facts["status"], facts["base_revision"]) == ("finished", first), name
        assert (config["base_model_name_or_path"], config["revision"]) == (base, first), name

    to = f"alice/{tmp_path.name}-adapter"
    for words in (["--repo", to], ["--merge", "--to", str(tmp_path / "merged")]):
        done = push(runs["branch"], *words)
        assert done.code == 0, done.err
    told = json.loads(hub.content(to)["adapter_config.json"])
    assert (told["base_model_name_or_path"], told["revision"]) == (base, first)
    card = hub.content(to)["README.md"].decode()
    assert f"[{base}](https://huggingface.co/{base}) at revision `{first}`" in card
    # An adapter leaves the embeddings as they are, so they tell which base it was merged into.
    folders = (tmp_path / "merged", model, tmp_path / "other")
    merged, started, moved = (load_file(f / "model.safetensors")["model.embed_tokens.weight"] for f in folders)
    assert torch.equal(merged, started) and not torch.equal(started, moved)


TASK = """\
task: some_problems
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["<|end|>"], max_gen_toks: 60, do_sample: true, temperature: 1.0, top_k: 0, top_p: 1.0}}
filter_list:
  - name: last
    filter:
      - {{function: regex, regex_pattern: "#### (-?[0-9]+)"}}
      - {{function: take_first}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""


def test_bare_lm_eval_scores_a_pushed_repository_with_em_inf(
    pocket_run: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    """lm_eval knows nothing of em_hf: EM-INF comes with the repository's own code. Its outputs show which it used."""
    assert push(pocket_run).code == 0
    (tmp_path / "task").mkdir()
    some = problems("test", 16, 2)
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in some))
    (tmp_path / "task" / "some_problems.yaml").write_text(TASK.format(data=tmp_path / "some.jsonl"))
    outputs = {}
    for entropy_min in ("true", "false"):
        command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "16"]
        command += ["--model_args", f"pretrained={repo_of(pocket_run)},trust_remote_code=True,dtype=float32"]
        command += ["--tasks", "some_problems", "--include_path", str(tmp_path / "task"), "--seed", "0"]
        command += ["--gen_kwargs", f"entropy_min={entropy_min}", "--trust_remote_code", "--log_samples"]
        command += ["--output_path", str(tmp_path / entropy_min)]
        env = {**environment(hub, tmp_path / "home"), "HF_DATASETS_TRUST_REMOTE_CODE": "1"}
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results = json.loads(next((tmp_path / entropy_min).rglob("results_*.json")).read_text())
        scored = results["results"]["some_problems"]["exact_match,last"]
        samples = next((tmp_path / entropy_min).rglob("samples_*.jsonl")).read_text().splitlines()
        outputs[entropy_min] = [json.loads(sample)["resps"][0][0] for sample in samples]
        right = [f"#### {problem['answer']}" in output for problem, output in zip(some, outputs[entropy_min])]
        assert scored == sum(right) / 16
    assert outputs["true"] != outputs["false"]


LORA = """if True:
    import json, sys, torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer, GenerationConfig
    from em_hf import EntropyTrace, enable_entropy_min
    name, prompt = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoPeftModelForCausalLM.from_pretrained(name)
    model.generation_config = GenerationConfig.from_pretrained(name)
    enable_entropy_min(model)
    inputs, trace = tokenizer(prompt, return_tensors="pt"), EntropyTrace()
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
    torch.manual_seed(0)
    model.generate(**inputs, entropy_min=True, entropy_trace=trace, do_sample=True, max_new_tokens=8)
    print(json.dumps([logits.topk(5).indices.tolist(), logits.topk(5).values.tolist(), len(trace)]))
"""


def test_an_adapter_of_smollm2_is_pushed_and_loads_with_peft(
    smollm2: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.smollm2 import HUB_ID

    hub.store.link(HUB_ID, smollm2)
    make_adapter(tmp_path / "run", smollm2)
    at = {"base_model": HUB_ID, "base_revision": hub.repo(HUB_ID).head("main")}
    run = record(tmp_path / "run", name=tmp_path.name.replace("_", "-"), lora=True, **at)
    done = push(run)
    assert done.code == 0, done.err
    content = hub.content(repo_of(run))
    assert "model.safetensors" not in content
    assert json.loads(content["adapter_config.json"])["base_model_name_or_path"] == HUB_ID

    prompt = "Natalia sold clips to 48 of her friends in April."
    env = environment(hub, tmp_path / "home")
    got: Any = json.loads(python(LORA, json.dumps([repo_of(run), prompt]), env=env, cwd=tmp_path))
    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(smollm2), run)
    with torch.no_grad():
        logits = both(**AutoTokenizer.from_pretrained(run)(prompt, return_tensors="pt")).logits[0, -1]
    assert got[0] == logits.topk(5).indices.tolist()
    torch.testing.assert_close(torch.tensor(got[1]), logits.topk(5).values, rtol=1e-4, atol=1e-4)
    assert got[2] == 8


def test_the_space_that_was_pushed_runs_on_the_model_that_was_pushed(
    pocket_run: Path, hub: Hub, push: Pusher, tmp_path: Path
) -> None:
    """app.py, started in a folder with what the Space holds, gets the model from the Hub and compares."""
    from gradio_client import Client

    assert push(pocket_run, "--space").code == 0
    model = repo_of(pocket_run)
    space = tmp_path / "space"
    space.mkdir()
    for path, content in hub.content(f"{model}-space", kind="space").items():
        (space / path).write_bytes(content)
    port = free_port()
    env = {**environment(hub, tmp_path / "home"), "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
    env |= {"GRADIO_ANALYTICS_ENABLED": "False"}
    log = (tmp_path / "app.log").open("w")
    app = subprocess.Popen([sys.executable, "app.py"], cwd=space, env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        client = wait_for(lambda: Client(f"http://127.0.0.1:{port}", verbose=False), app, tmp_path / "app.log")
        prompt = problems("test", 1, 5)[0]["prompt"]
        found = client.predict(prompt, model=model, seed=1, max_new_tokens=48, api_name="/compare")
    finally:
        app.terminate()
        app.wait(timeout=30)
    assert found["plain"]["tokens"] and found["em"]["tokens"] and any(found["em"]["adjusted"])
    assert ("resolve", "GET") in {
        (stage, method) for stage, method, path, _ in hub.requests if "model.safetensors" in path
    }


def wait_for(attempt: Callable[[], Any], process: subprocess.Popen, log: Path) -> Any:
    """What `attempt` gives once it raises nothing, as long as the process lives."""
    deadline = time.monotonic() + 240
    while True:
        try:
            return attempt()
        except Exception:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(1)
