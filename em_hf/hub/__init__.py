"""From a run folder to a repository: the card, the files, and the push to the Hub."""

from em_hf.hub.card import model_card, recipe_card
from em_hf.hub.completions import publish_completions, staged_completions
from em_hf.hub.export import Recipe, Repository, staged, write_repository
from em_hf.hub.push import Preview, Published, previewed, publish
from em_hf.hub.space import publish_space, staged_space
from em_hf.runs import Run, newest_run, read_run

__all__ = [
    "Preview",
    "Published",
    "Recipe",
    "Repository",
    "Run",
    "model_card",
    "newest_run",
    "previewed",
    "publish",
    "publish_completions",
    "publish_space",
    "read_run",
    "recipe_card",
    "staged",
    "staged_completions",
    "staged_space",
    "write_repository",
]
