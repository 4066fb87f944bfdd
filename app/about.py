"""The tab that explains the method on one screen."""

from typing import Any

import gradio as gr

from .view import asset

FORMULAS: list[dict[str, Any]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


def about_tab() -> None:
    gr.Markdown(asset("about.md"), latex_delimiters=FORMULAS)
