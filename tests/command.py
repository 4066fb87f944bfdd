"""`em-hf` in this process, which has imported the libraries already: that takes longer than most commands do."""

import io
import os
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from em_hf.cli.main import main


def em_hf(*words: str, cwd: Path | None = None, **environment: str) -> CompletedProcess[str]:
    """Run a command line to its end, as a user's shell does in the folder `cwd`."""
    out, err, code = io.StringIO(), io.StringIO(), None
    argv = mock.patch.object(sys, "argv", ["em-hf", *words])
    path = mock.patch.object(sys, "path", ["", *sys.path])  # as an interpreter has that was started there
    with argv, path, mock.patch.dict(os.environ, environment), chdir(cwd or "."):
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                code = stop.code
    return CompletedProcess(words, 0 if code is None else code, out.getvalue(), err.getvalue())  # type: ignore[arg-type]
