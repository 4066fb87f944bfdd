"""The latest figures of the campaigns (`make campaigns`) in one table.

    python -m benchmarks.reliability

Reads `benchmarks/results/reliability-*.json` and writes `benchmarks/results/reliability.md`.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.common import table

RESULTS = Path(__file__).parent / "results"
WHAT = {
    "kills": "kills: SIGKILL at a random moment of training, resuming, push to a folder, eval",
    "inputs": "inputs: wrong options, settings files, datasets, run folders, models, standard input",
    "sandbox": "sandbox: attacks of programs, on six kinds of machine",
    "visitors": "visitors: those of the app who leave, never read, send junk, hammer",
}
INTRO = """Campaigns try the commands at random; `make campaigns` runs them again, and a part of each is in `make test`.
A fault is: something lost, changed or left over after a kill; a traceback, more than one line or files changed by a
wrong input; something outside the sandbox reached; an honest visitor not served, a path or traceback told, a traceback
of em-hf's in the log, or files left."""


def report(records: dict[str, dict[str, Any]]) -> str:
    """Return the table, with a row per campaign."""
    header = ["campaign", "tries", "faults", "date", "machine", "seconds", "command"]
    rows = []
    for name, one in records.items():
        machine = f"{one['cpu']}, {one['cores']} cores"
        rows.append([WHAT[name], *map(str, (one["tries"], one["faults"], one["date"], machine, round(one["seconds"])))])
        rows[-1].append(f"`{one['command']}`")
    return f"{INTRO}\n\n{table(header, rows)}"


def main() -> None:
    found = {name: RESULTS / f"reliability-{name}.json" for name in WHAT}
    records = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.is_file()}
    text = report(records)
    (RESULTS / "reliability.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
