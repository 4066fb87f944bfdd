"""A real pretrained model evaluated with `em-hf eval` from end to end: benchmark tables and their JSON.

    python -m benchmarks.eval_real smollm2  [--problems N] [--data-dir DIR] [--work FOLDER] [--output FILE.json]
    python -m benchmarks.eval_real leetcode [...]

`smollm2`: SmolLM2-135M-Instruct on MAWPS, GSM8K and MATH-500, greedy, sampled and with EM-INF; it is weak at maths, and
the table says so. `leetcode`: its programs for LeetCode problems, run in the sandbox. For gemma-3-270m see
`benchmarks.gemma_protocol`.

An evaluation saves its answers under `--work` as they arrive: the same command resumes where it was interrupted.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import describe, environment, write
from em_hf.runs import EVALUATION_FILE
from tests.smollm2 import HUB_ID, smollm2_folder

EM_HF = [sys.executable, "-c", "from em_hf.cli.main import main; main()"]


@dataclass(frozen=True)
class Experiment:
    """A call of `em-hf eval` on SmolLM2."""

    problems: int
    arguments: tuple[str, ...]


EXPERIMENTS = {
    "smollm2": Experiment(
        100,
        ("--tasks", "mawps,gsm8k,math500", "--compare", "sampling,greedy,em-inf", "--max-new-tokens", "192"),
    ),
    "leetcode": Experiment(
        20,
        ("--tasks", "leetcode", "--compare", "sampling,em-inf", "--max-new-tokens", "256", "--allow-code-execution"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=list(EXPERIMENTS))
    parser.add_argument("--problems", type=int, help="of each task; default: as the docstring says")
    parser.add_argument("--tasks", help="other tasks than the experiment's, with commas between")
    parser.add_argument("--compare", help="other strategies than the experiment's, with commas between")
    parser.add_argument("--batch-size", type=int, default=20, help="rows decoded together")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("EM_HF_DATA_DIR", "../shared/data")))
    parser.add_argument("--work", type=Path, default=Path("runs/eval-real"), help="evaluations, kept to go on from")
    parser.add_argument("--output", type=Path, help="JSON to write; the table goes beside it as .md")
    options = parser.parse_args(arguments)
    experiment = EXPERIMENTS[options.experiment]
    record, model = environment("benchmarks.eval_real"), str(smollm2_folder())
    folder = options.work / f"{options.experiment}-{options.problems or experiment.problems}"
    command = ["eval", "--model", model, "--dtype", "bfloat16", *experiment.arguments]
    command += ["--limit", str(options.problems or experiment.problems), "--batch-size", str(options.batch_size)]
    for name in ("tasks", "compare"):
        if value := getattr(options, name):
            command[command.index(f"--{name}") + 1] = value
    place = ["--data-dir", str(options.data_dir), "--output", str(folder)]
    subprocess.run([*EM_HF, *command, *place], check=True, stdout=subprocess.DEVNULL)
    # The record names the model as a user would, and no folder of this machine.
    shown = " ".join(["em-hf", *command]).replace(model, HUB_ID)
    found = json.loads((folder / EVALUATION_FILE).read_text().replace(model, HUB_ID))
    found["command"] = shown
    table = (folder / "eval.md").read_text().replace(model, HUB_ID)
    text = f"{describe(record)}\n`{shown}`\n\n{table.partition(chr(10) * 2)[2]}"
    print(text)
    write(options.output, {**record, "evaluation": found}, text)


if __name__ == "__main__":
    main()
