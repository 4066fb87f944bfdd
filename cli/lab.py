"""`em-hf lab`: every method and every strategy on the pocket reasoner, and a report of what came out."""

import os
from pathlib import Path
from typing import Any

import click

from .common import config_option, note, print_json, quiet_libraries


@click.command("lab", epilog="Example: em-hf lab --quick --output /tmp/lab")
@click.option("--quick", is_flag=True, help="A sketch in minutes: few steps, few problems, one seed.")
@click.option("--full", is_flag=True, help="Every strategy on every trained model.")
@click.option("--from-scratch", is_flag=True, help="Pre-train the pocket reasoner first.")
@click.option("--seeds", type=click.IntRange(1), help="Training seeds of a method at most.  [default: 5 or 3]")
@click.option("--jobs", type=click.IntRange(1), help="Processes at a time, a thread each.  [default: the cores]")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("lab"),
    show_default=True,
    help="Folder; what is done there already is not done again.",
)
@click.option("--report", "report_only", is_flag=True, help="Only write the report of what stands there so far.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(**options: Any) -> None:
    """Show which of the paper's claims hold on the pocket reasoner, with intervals.

    Trains with every method, decodes with every strategy, and writes lab.md, lab.json and plots.
    """
    output = options["output"]
    if options["quick"] and options["full"]:
        raise click.UsageError("--quick and --full are opposites: give one")
    from em_hf.lab.plan import first_chains, lab_settings, trainings

    settings = lab_settings(**{name: options[name] for name in ("quick", "full", "from_scratch", "seeds")})
    if options["dry_run"]:
        jobs = [job.name for chain in first_chains(settings) for job in chain]
        if options["as_json"]:
            print_json({"settings": settings.to_dict(), "jobs": jobs})
            return
        click.echo("\n".join(jobs))
        note(f"{len(trainings(settings))} training runs; then every strategy on the best EM-FT and EM-RL model.")
        return
    quiet_libraries()
    try:
        import lm_eval  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "em-hf lab needs the training and evaluation extras: pip install 'em-hf[train,eval]'"
        ) from error
    from em_hf.lab.found import record_of
    from em_hf.lab.report import write_report
    from em_hf.lab.run import run_lab, settings_of

    flags = [f"--{name.replace('_', '-')}" for name in ("quick", "full", "from_scratch") if options[name]]
    flags += [f"--{name} {options[name]}" for name in ("seeds", "jobs") if options[name]]
    if options["report_only"]:
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
