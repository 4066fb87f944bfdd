"""What a run says it cost."""

import subprocess
import sys

import numpy as np

from em_hf.training.compute import process_peak


def test_a_process_does_not_take_over_the_peak_of_the_one_that_started_it() -> None:
    held = np.ones(3 << 26)  # 1.5 GB
    code = "from em_hf.training.compute import process_peak; print(process_peak())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 << 20 < int(done.stdout) < held.nbytes < process_peak()
