"""From a run folder to a repository: the card, the files, and where they go."""

from em_hf.hub.card import model_card, recipe_card
from em_hf.hub.completions import plan_completions, publish_completions
from em_hf.hub.publish import Preview, Published, previewed, publish
from em_hf.hub.push import write_repository
from em_hf.hub.repository import Recipe, Repository, plan_repository
from em_hf.hub.runs import Run, newest_run, read_run
from em_hf.hub.space import plan_space, publish_space

__all__ = [
    "Preview",
    "Published",
    "Recipe",
    "Repository",
    "Run",
    "model_card",
    "newest_run",
    "plan_completions",
    "plan_repository",
    "plan_space",
    "previewed",
    "publish",
    "publish_completions",
    "publish_space",
    "read_run",
    "recipe_card",
    "write_repository",
]
