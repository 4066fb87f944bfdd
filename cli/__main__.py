"""Run `em-hf` as `python -m em_hf.cli`."""

from .main import main

if __name__ == "__main__":
    main()
