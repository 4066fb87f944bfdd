"""`em-hf lab`: every method and every strategy on the pocket reasoner, and a report of the results."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from em_hf.settings import setting

from .checks import check_extra
from .common import load_libraries, note, print_json
from .config_file import config_option
from .options import Command, dry_run_option, json_option, setting_options


@dataclass(frozen=True)
class LabOptions:
    """Options for how much the lab does, and where."""

    quick: bool = setting(False, help="A sketch in minutes: few methods and strategies, one step, few problems.")
    reasoner: Path | None = setting(
        None, help="Another pocket reasoner, as scripts/pretrain.py makes it.", exists="folder", unset="the shipped one"
    )
    seeds: int | None = setting(None, help="Training seeds per method at most.", low=1, high=100, unset="3")
    jobs: int | None = setting(
        None, help="Processes at a time, of one thread each.", group="scale", low=1, high=1024, unset="the cores"
    )
    output: Path = setting(Path("lab"), help="Folder; what is done there is not done again.", group="output")
    report: bool = setting(False, help="Only write the report of what is there so far.", group="output")


@click.command("lab", cls=Command, epilog="Example: em-hf lab --quick --output /tmp/lab")
@setting_options(LabOptions)
@dry_run_option
@config_option
@json_option
def command(**options: Any) -> None:
    """Show which of the paper's claims hold on the pocket reasoner, plain and hard problems, with intervals.

    Trains with every method, decodes with every strategy, and writes lab.md, lab.json and plots.
    """
    output = options["output"]
    from em_hf.lab.settings import lab_settings

    reasoner = str(options["reasoner"].absolute()) if options["reasoner"] else None
    settings = lab_settings(quick=options["quick"], seeds=options["seeds"], reasoner=reasoner)
    if options["dry_run"]:
        _show_plan(settings, as_json=options["as_json"])
        return
    check_extra("em-hf lab", "train", "trl")
    check_extra("em-hf lab", "eval", "lm_eval")
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file, but the lab needs a folder: name another with --output")
    load_libraries()
    from em_hf.lab.record import record_of
    from em_hf.lab.report import write_report
    from em_hf.lab.run import run_lab, settings_of

    flags = ["--quick"] if options["quick"] else []
    flags += [f"--{name} {options[name]}" for name in ("seeds", "jobs", "reasoner") if options[name]]
    if options["report"]:
        settings = settings_of(output)
    else:
        jobs_at_once = options["jobs"] or os.cpu_count() or 1
        run_lab(
            settings,
            output,
            jobs=jobs_at_once,
            command=" ".join(["em-hf lab", *flags]),
            on_done=lambda name, done, total: note(f"{done} of {total} done: {name}"),
        )
    record = record_of(settings, output)
    text = write_report(record, output)
    print_json(record) if options["as_json"] else click.echo(text)
    note(f"The report is {output / 'lab.md'}.")


def _show_plan(settings: Any, *, as_json: bool) -> None:
    """Print the names of all jobs, and how many answers each part of the plan decodes."""
    from em_hf.lab.plan import BEST_OF, Training, family, first_chains, last_chains, sampled_answers

    # The best runs are not known yet, but each is measured alike; any name but the base model's will do.
    chosen = [methods[0] for methods in BEST_OF.values() if any(settings.seeds.get(method) for method in methods)]
    first, last = (
        [job for chain in chains for job in chain] for chains in (first_chains(settings), last_chains(settings, chosen))
    )
    answers: dict[str, int] = {}
    for job in first + last:
        answers[family(job)] = answers.get(family(job), 0) + sampled_answers(settings, job)
    names = [job.name for job in first]
    if as_json:
        print_json({"settings": settings.to_dict(), "jobs": names, "answers": answers})
        return
    click.echo("\n".join(names))
    runs = sum(isinstance(job, Training) for job in first)
    parts = ", ".join(f"{name} {n:,}" for name, n in answers.items())
    note(f"{runs} training runs, and the best of them; {sum(answers.values()):,} answers to decode: {parts}.")
