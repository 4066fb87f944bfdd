"""A small part of the campaign of visitors; the whole one is `python -m tests.campaigns.visitors`."""

import random
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import Served
from tests.campaigns import visitors

SECRETS = (str(Path(__file__).parents[2]), "site-packages")


def test_visitors_who_behave_badly_do_no_harm(served: Served) -> None:
    found = visitors.visited(served.url, 5, 14, SECRETS)
    assert found["faults"] == 0, found["examples of faults"]
    assert len(found["kinds"]) == 5  # each of them another, the one that hammers among them


def test_the_campaign_notices_what_must_not_be_told_and_an_honest_visitor_who_is_not_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_told_too_much(visit: visitors.Visit) -> None:
        visit.told.append(f"Traceback (most recent call last): {__file__}")
        monkeypatch.setattr(visitors.Visit, "compare", lambda self, values: None)

    monkeypatch.setattr(visitors, "KINDS", [is_told_too_much])
    found = visitors.visited(served.url, 1, 0, SECRETS)
    (fault,) = found["examples of faults"]
    said = " ".join(fault["wrong"])
    assert "'Traceback'" in said and SECRETS[0] in said and "the honest visitor got None" in said


@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        ("event: complete\ndata: [1]\n\n", "[1]"),
        ("event: heartbeat\ndata: null\n\nevent: complete\ndata: [1]\n\n", "[1]"),
        ("event: error\ndata: null\n\n", None),
    ],
)
def test_an_answer_is_what_comes_after_the_heartbeats(
    monkeypatch: pytest.MonkeyPatch, stream: str, answer: str | None
) -> None:
    monkeypatch.setattr(httpx, "request", lambda *_, **__: httpx.Response(200, json={"event_id": "one"}))
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, text=stream))
    assert visitors.Visit("http://127.0.0.1:1/", {}, random.Random(0)).compare([]) == answer


def test_the_campaign_tells_em_hfs_own_tracebacks_from_those_of_libraries() -> None:
    root = Path(__file__).parents[2]
    theirs = (
        f'Traceback (most recent call last):\n  File "{root}/.venv/lib/site-packages/gradio/a.py", line 1, in f\nE\n'
    )
    ours = f'Traceback (most recent call last):\n  File "{root}/app/ui.py", line 1, in f\nValueError: x\n'
    through = theirs + f'  File "{root}/app/fence.py", line 9, in __call__\n'
    refused, found = visitors.tracebacks("started\n" + theirs + "a line\n" + ours + through)
    assert refused == 2 and len(found) == 1 and "ValueError: x" in found[0]
