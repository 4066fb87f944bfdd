"""A part of the campaign against the sandbox, and proof that the campaign would see an attack that gets through."""

import tempfile
from pathlib import Path

import pytest

from tests.campaigns.sandbox import SCRIPTS, VERDICTS, Outside, attack, campaign
from tests.evaluation.machines import KEPT, lack


def test_no_attack_of_a_sample_gets_through_on_any_machine() -> None:
    figures = campaign(rounds=1, seed=0, per_machine=5)
    assert figures["got through"] == []
    assert figures["runs"] == 5 * len(KEPT) and sum(map(len, SCRIPTS.values())) + len(VERDICTS) >= 40


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("sockets", "calls a Unix socket"),
        ("sockets", "opens TCP"),
        ("sockets", "sends UDP"),
        ("files", "reads /etc/passwd"),
    ],
)
def test_the_campaign_sees_what_gets_through_an_unprotected_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, name: str
) -> None:
    lack(monkeypatch, tmp_path, "namespaces", "landlock", "seccomp")
    monkeypatch.setenv("EM_HF_SANDBOX", "weak")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert "it said so" in attack(kind, name, Outside(tmp_path))
