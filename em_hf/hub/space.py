"""A Space that shows a pushed model decoding with and without EM-INF: this package's app, set up for that model."""

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

from huggingface_hub import HfApi, RepoCard

from em_hf import __version__
from em_hf.hub.errors import plain_errors, with_retries
from em_hf.hub.publish import Published, refuse_foreign
from em_hf.hub.remote import Remote
from em_hf.hub.repository import MARK, Repository, make_repository
from em_hf.hub.wheel import own_wheel

HARDWARE = ("cpu-basic", "zero-a10g")
_PAYMENT = (
    "the Hub wants payment for a Space on that hardware: with a free account, ask for ZeroGPU "
    "(--space-hardware zero-a10g), or run the app on your machine: em-hf app --model {model}"
)


def plan_space(model: str, *, license: str | None = None) -> Repository:
    """Everything that the Space of the model with this Hub id holds: what `app/` holds, `models.json`, the wheel.

    The wheel stands in requirements.txt in place of the released em-hf.
    """
    app = resources.files("em_hf.app")
    card = RepoCard(app.joinpath("README.md").read_text(encoding="utf-8"))
    card.data.models = [model]
    card.data.title = f"{model.split('/')[-1]}: EM-INF, side by side"
    if license:
        card.data.license = license
    name, wheel = own_wheel()
    requirements = [
        f"./{name}" if line.startswith("em-hf") else line
        for line in app.joinpath("requirements.txt").read_text(encoding="utf-8").splitlines()
    ]
    files: dict[str, Any] = {
        "README.md": f"{card}\n".encode(),
        "app.py": app.joinpath("app.py").read_bytes(),
        "models.json": (json.dumps([model], indent=2) + "\n").encode(),
        "requirements.txt": ("\n".join(requirements) + "\n").encode(),
        name: wheel,
    }
    mark = {"em_hf": __version__, "space_of": model, "files": sorted([*files, MARK])}
    files[MARK] = (json.dumps(mark, indent=2) + "\n").encode()
    return make_repository(files, card)


def publish_space(
    model: str,
    repo_id: str | None = None,
    *,
    public: bool = False,
    hardware: str | None = None,
    message: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Published:
    """Push the Space of the model `OWNER/NAME`, by default as `OWNER/NAME-space`, in one commit.

    Args:
        public: make a new Space public.
        hardware: what a new Space runs on, such as "cpu-basic" or "zero-a10g"; None: what the Hub gives.

    Raises:
        ValueError: the name holds something that em-hf did not push.
        OSError: the wheel cannot be built, or the Hub cannot be reached, refuses, or wants payment.
    """
    api = HfApi()
    repo_id = repo_id or f"{model}-space"
    repository = plan_space(model)
    remote = Remote(api, repo_id, say, kind="space")
    with plain_errors(repo_id, payment=_PAYMENT.format(model=model)):
        state = remote.look()
        refuse_foreign(state, repo_id)
        state = state or remote.make(private=not public, hardware=hardware)
        done = remote.commit(repository, message=message or f"Show {model}")
        if with_retries(lambda: api.repo_info(model), say=say).private:
            say(f"{model} is private: give the Space a token to read it, as the secret HF_TOKEN in its settings.")
    url = f"{api.endpoint}/spaces/{repo_id}"
    return Published(repo_id, url, done.oid, done.oid != state.head, state.private, repository.sizes)
