"""From a run folder to a repository: the card, the files, and where they go."""

from em_hf.hub.card import model_card, recipe_card
from em_hf.hub.publish import Preview, Published, previewed, publish
from em_hf.hub.push import write_repository
from em_hf.hub.repository import Recipe, Repository, plan_repository
from em_hf.hub.runs import Run, newest_run, read_run

__all__ = [
    "Preview",
    "Published",
    "Recipe",
    "Repository",
    "Run",
    "model_card",
    "newest_run",
    "plan_repository",
    "previewed",
    "publish",
    "read_run",
    "recipe_card",
    "write_repository",
]
