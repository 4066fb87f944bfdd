"""What `em-hf eval --list` prints: every task with its size, metric and source."""

from typing import Any

from em_hf.evaluation.run import our_tasks

# lm-eval's own tasks behind the paper's leaderboard figures, under lm-eval's names.
LM_EVAL_TASKS = {
    "arc_challenge": ("1172", "acc", "lm-eval; allenai/ai2_arc on the Hub"),
    "gpqa_diamond_zeroshot": ("198", "acc", "lm-eval; Idavidrein/gpqa on the Hub, gated"),
    "mmlu_pro": ("12032", "exact_match", "lm-eval; TIGER-Lab/MMLU-Pro on the Hub"),
}


def listing() -> str:
    """Return a table of our tasks and of those of lm-eval's that belong to the paper's protocol."""
    rows = [("task", "size", "metric", "source")]
    rows += [(name, str(_about(config)["size"]), "pass@1", _source(config)) for name, config in our_tasks().items()]
    rows += [(name, *about) for name, about in LM_EVAL_TASKS.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths)), row[3]]) for row in rows]
    return "\n".join([*lines, "Any other name is looked up among lm-eval's tasks."])


def _about(config: dict[str, Any]) -> dict[str, Any]:
    return config["metadata"]


def _source(config: dict[str, Any]) -> str:
    about = _about(config)
    if "source" in about:
        return about["source"]
    files = about.get("files", {}).get("test")
    files = ", ".join([files] if isinstance(files, str) else files or [])
    parts = [f"{about['hub']} on the Hub" if about.get("hub") else "", f"{files} in --data-dir" if files else ""]
    parts += ["runs programs: --allow-code-execution"] if config.get("unsafe_code") else []
    parts += [about["note"]] if "note" in about else []
    return "; ".join(part for part in parts if part)
