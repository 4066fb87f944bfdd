"""Entry point of a Space: the installed package's app, with the models named in `models.json` beside this file."""

from pathlib import Path

from em_hf.app.main import main

if __name__ == "__main__":
    main(Path(__file__).parent)
