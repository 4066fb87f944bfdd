"""A small part of the campaign of wrong inputs; the whole one is `python -m tests.campaigns.inputs`."""

import click
import pytest

from tests.campaigns import inputs


def test_wrong_inputs_end_in_one_line_and_change_nothing() -> None:
    found = inputs.run(400, seed=11)
    assert found["faults"] == 0, found["examples of faults"]
    assert found["inputs"] == 400 and len(found["kinds"]) == 6
    assert found["exit codes"]["1"] > 50 and found["exit codes"]["2"] > 100


@pytest.mark.parametrize("way", ["traceback", "silent", "half-written"])
def test_the_campaign_notices_a_command_that_takes_a_wrong_input_badly(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its judge is tested too: a campaign that finds nothing could be one that looks at nothing."""
    from pathlib import Path

    @click.command("lab", context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def broken(rest: tuple[str, ...]) -> None:
        if way == "traceback":
            raise KeyError("loss")
        if way == "half-written":
            Path("half").write_text("x")
            raise ValueError("no")
        click.get_current_context().exit(3)

    monkeypatch.setattr("em_hf.cli.lab.command", broken)
    monkeypatch.setattr(inputs, "make_case", lambda *given: inputs.Case("option", ["lab"]))
    found = inputs.run(1, seed=0)
    said = {"traceback": "unexplained", "silent": "exit code 3", "half-written": "files changed"}[way]
    assert found["faults"] == 1 and said in found["examples of faults"][0]["fault"]
