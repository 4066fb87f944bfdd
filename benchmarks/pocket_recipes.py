"""How the pocket recipe was chosen: learning rates and EM-INF settings tried, measured on validation problems.

    python -m benchmarks.pocket_recipes [--work FOLDER] [--output FILE.json] [--problems N]

Every run has the recipe's other settings and no guard. Test problems are never used. Runs and measurements that are
already under `--work` are not repeated.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import describe, environment, table, write
from em_hf.generation.config import EntropyMinConfig
from em_hf.models import load_model
from em_hf.pocket import problems
from em_hf.runs import holds_run, is_finished, to_json
from em_hf.training.measure import measure
from em_hf.training.run import train
from em_hf.training.settings import RunSettings

# The RL methods share their settings, chosen on EM-RL-sequence.
TRIED = {"em-ft": (5e-5, 1e-4, 2e-4, 4e-4), "em-rl-sequence": (1e-5, 1e-4, 3e-4)}
EM_INF = [(threshold, steps) for threshold in (0.05, 0.1, 0.3) for steps in (3, 10)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/pocket-recipes"), help="run folders, kept to go on from"
    )
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    parser.add_argument("--problems", type=int, default=300, help="validation problems")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    record = environment("benchmarks.pocket_recipes")
    results = [decoded(options, threshold, steps) for threshold, steps in EM_INF]
    results += [trained(options, method, rate) for method, rates in TRIED.items() for rate in rates]
    rows = [
        [one["name"], one["setting"], f"{100 * one['accuracy']:.1f}", interval(one), f"{one['entropy']:.3f}"]
        for one in results
    ]
    note = f"{options.problems} validation problems, two samples each, temperature 1; one training seed."
    header = ["method", "tried", "accuracy, %", "95% interval", "nats/token"]
    text = f"{describe(record)}\n\n{table(header, rows)}\n\n{note}"
    print(text)
    write(options.output, {**record, "results": results}, text)


def decoded(options: argparse.Namespace, threshold: float, steps: int) -> dict[str, Any]:
    """Measure the untrained model with EM-INF."""
    config = EntropyMinConfig(threshold=threshold, n_grad_steps=steps)
    setting = f"threshold {threshold:g}, {steps} steps"
    return measured(options, "EM-INF", setting, "pocket-reasoner", f"em-inf-{threshold:g}-{steps}", config)


def trained(options: argparse.Namespace, method: str, rate: float) -> dict[str, Any]:
    folder = options.work / f"{method}-{rate:g}"
    given = {"recipe": "pocket", "method": method, "learning_rate": rate, "device": "cpu"}
    given |= {"guard": False, "probe_problems": 0, "eval_problems": 0}
    if not is_finished(folder):
        train(RunSettings.resolve(given), folder, resume=holds_run(folder))
    return measured(options, method, f"learning rate {rate:g}", str(folder), folder.name, None)


def measured(
    options: argparse.Namespace, name: str, setting: str, model: str, file: str, config: EntropyMinConfig | None
) -> dict[str, Any]:
    kept = options.work / f"measured-{file}-{options.problems}.json"
    if not kept.is_file():
        rows = problems("validation", options.problems, seed=0)
        prompts, answers = [row["prompt"] for row in rows], [row["answer"] for row in rows]
        how: dict[str, Any] = {"entropy_min": config, "max_new_tokens": 64, "samples": 2}
        row = measure(*load_model(model, device="cpu"), prompts, answers, name=name, **how)
        kept.write_text(json.dumps({**to_json(row), "setting": setting}))
        print(kept.stem, kept.read_text(), flush=True)
    return json.loads(kept.read_text())


def interval(result: dict[str, Any]) -> str:
    return f"{100 * result['low']:.1f}-{100 * result['high']:.1f}"


if __name__ == "__main__":
    main()
