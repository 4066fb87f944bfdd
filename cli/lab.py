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

    quick: bool = setting(False, help="A sketch in minutes: few steps, few problems, one seed.")
    full: bool = setting(False, help="Every strategy on every trained model.")
    reasoner: Path | None = setting(
        None, help="Another pocket reasoner, as scripts/pretrain.py makes it.", exists="folder", unset="the shipped one"
    )
    seeds: int | None = setting(None, help="Training seeds per method at most.", low=1, high=100, unset="5 or 3")
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
    """Show which of the paper's claims hold on the pocket reasoner, with intervals.

    Trains with every method, decodes with every strategy, and writes lab.md, lab.json and plots.
    """
    output = options["output"]
    if options["quick"] and options["full"]:
        raise click.UsageError("--quick and --full are opposites: give one")
    from em_hf.lab.plan import first_chains, lab_settings, trainings

    reasoner = str(options["reasoner"].absolute()) if options["reasoner"] else None
    settings = lab_settings(**{name: options[name] for name in ("quick", "full", "seeds")}, reasoner=reasoner)
    if options["dry_run"]:
        jobs = [job.name for chain in first_chains(settings) for job in chain]
        if options["as_json"]:
            print_json({"settings": settings.to_dict(), "jobs": jobs})
            return
        click.echo("\n".join(jobs))
        note(f"{len(trainings(settings))} training runs; then every strategy on the best EM-FT and EM-RL model.")
        return
    check_extra("em-hf lab", "train", "trl")
    check_extra("em-hf lab", "eval", "lm_eval")
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file, but the lab needs a folder: name another with --output")
    load_libraries()
    from em_hf.lab.record import record_of
    from em_hf.lab.report import write_report
    from em_hf.lab.run import run_lab, settings_of

    flags = [f"--{name.replace('_', '-')}" for name in ("quick", "full") if options[name]]
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
