"""What a Space runs: the app of the installed package, with the models named in `models.json` beside this file."""

from pathlib import Path

from em_hf.app.main import main

if __name__ == "__main__":
    main(Path(__file__).parent)
