"""The Space: what would be uploaded runs by itself, and its front matter holds what the Hub asks for."""

import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import yaml
from gradio_client import Client

from tests.served import free_port

APP = Path(__file__).parents[2] / "app"
UPLOADED = ("app.py", "README.md", "requirements.txt")


def front_matter() -> dict:
    text = (APP / "README.md").read_text(encoding="utf-8")
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_names_the_tested_gradio_and_files_that_exist() -> None:
    facts = front_matter()
    assert facts["sdk"] == "gradio" and facts["sdk_version"] == version("gradio")
    assert (APP / facts["app_file"]).is_file()
    assert len(facts["short_description"]) <= 60 and facts["license"] == "apache-2.0"
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in facts["models"] and "entropy-minimization" in facts["tags"]
    assert isinstance(facts["python_version"], str)
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {facts["colorFrom"], facts["colorTo"]} <= colours


def test_requirements_leave_out_what_a_space_brings_itself() -> None:
    names = {re.split(r"[<>=\[ ]", line)[0] for line in (APP / "requirements.txt").read_text().splitlines()}
    assert "em-hf" in names and not names & {"gradio", "spaces", "huggingface_hub", "huggingface-hub"}


@pytest.mark.parametrize("models", [None, '["pocket-reasoner", "owner/only-on-the-hub"]'], ids=["default", "list"])
def test_what_would_be_uploaded_starts_offline_and_answers(models: str | None, tmp_path: Path) -> None:
    for name in UPLOADED:
        shutil.copy(APP / name, tmp_path)
    if models:
        (tmp_path / "models.json").write_text(models)
    port = free_port()
    settings = {"GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with open(tmp_path / "log", "w+") as log:
        server = subprocess.Popen(
            [sys.executable, "app.py"], cwd=tmp_path, env={**os.environ, **settings}, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}/"
            end = time.monotonic() + 120
            while time.monotonic() < end and server.poll() is None:
                try:
                    httpx.get(url, timeout=5)
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            client = Client(url, verbose=False)
            answer = client.predict("Tom has 3 apples. Tom buys 4 more apples.", max_new_tokens=8, api_name="/compare")
            assert answer["plain"]["tokens"] and answer["em"]["tokens"]
            if models:
                with pytest.raises(Exception, match="Hub is out of reach"):
                    client.predict("x", model="owner/only-on-the-hub", api_name="/compare")
        finally:
            server.terminate()
            server.wait(30)
            log.seek(0)
            print(log.read())
