"""`python -m em_hf.cli` is `em-hf`."""

from .main import main

if __name__ == "__main__":
    main()
