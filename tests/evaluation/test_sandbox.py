"""Hostile programs: each is scored as failed, and nothing of it is left outside."""

import os
import pickle
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from em_hf.evaluation.code import sandbox
from em_hf.evaluation.code.sandbox import Limits, passes, run_script
from tests.evaluation import hostile

SHORT = Limits(seconds=2.0, memory_bytes=256 << 20)
TESTS = "assert double(2) == 4\nassert double(-1) == -2"
GOOD = "def double(n):\n    return 2 * n"


def fails(program: str, tests: str = TESTS) -> str:
    verdict = passes(program, tests, ["double"], limits=SHORT)
    assert not verdict.passed
    return verdict.reason


def ours() -> set[str]:
    """The commands of all processes whose folder is one of the sandbox's, or that run its script."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                folder = os.readlink(entry / "cwd")
            except OSError:
                continue
            if "jail.py" in command or "/em-hf-sandbox-" in folder:
                found.add(f"{entry.name} {command}")
    return found


@pytest.fixture(autouse=True)
def nothing_leaks() -> None:
    """Around every test: no process is left, no folder, and the descriptors of this process are those it had."""
    temporary = Path(tempfile.gettempdir())
    before = {p.name for p in temporary.glob("em-hf-sandbox-*")}, len(os.listdir("/proc/self/fd")), ours()
    yield
    deadline = time.monotonic() + 60
    while ours() - before[2] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ours() - before[2] == set()
    assert {p.name for p in temporary.glob("em-hf-sandbox-*")} == before[0]
    assert len(os.listdir("/proc/self/fd")) == before[1]


def test_a_right_program_passes_and_a_wrong_one_fails_with_its_reason() -> None:
    assert passes(GOOD, TESTS, ["double"]).passed
    assert fails("def double(n):\n    return n + 2").startswith("AssertionError")
    assert "SyntaxError" not in fails("def double(n:") and fails("def double(n:")
    assert "ZeroDivisionError" in fails("def double(n):\n    return 1 / 0")
    assert "double" in fails("def treble(n):\n    return 3 * n")


def test_endless_loops_end_in_time() -> None:
    assert "2 seconds" in fails("while True: pass")
    assert "2 seconds" in fails("def double(n):\n    while True: pass")
    assert "2 seconds" in fails("import time\ntime.sleep(1000)")
    assert "2 seconds" in fails(hostile.IGNORES_SIGNALS)


def test_a_fork_bomb_is_stopped_at_the_limit_and_killed() -> None:
    fails(hostile.FORKS_FOR_EVER)
    fails("import os\nwhile True: os.fork()")
    printed, _ = run_script(hostile.COUNTS_ITS_FORKS, "", limits=Limits(seconds=3, processes=16))
    assert 0 < int(printed) < 16


def test_children_that_leave_the_session_are_killed_too() -> None:
    assert passes(hostile.LEAVES_A_DAEMON + GOOD, TESTS, ["double"], limits=SHORT).passed  # and nothing_leaks


def test_a_memory_hog_fails() -> None:
    assert "MemoryError" in fails("def double(n):\n    return len([0] * 10**9)")
    fails("hoard = []\nwhile True: hoard.append(bytearray(10**7))")


def test_files_stay_in_the_folder_and_the_folder_is_bounded(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for target in (tmp_path / "leak", Path("/tmp/em-hf-leak"), Path.home() / "em-hf-leak", Path("/dev/shm/em-hf-leak")):
        assert not run_script(f"open({str(target)!r}, 'w')", "")[1].passed
        assert not target.exists()
    open_to_all = tmp_path / "open"
    open_to_all.write_text("mine")
    open_to_all.chmod(0o666)
    for harm in ("open({0!r}, 'a')", "import os\nos.truncate({0!r}, 0)", "import os\nos.remove({0!r})"):
        assert not run_script(harm.format(str(open_to_all)), "")[1].passed
    assert open_to_all.read_text() == "mine"
    assert run_script("open('inside', 'w').write('x')", "")[1].passed
    printed, _ = run_script(hostile.FLOODS_THE_FOLDER, "", limits=Limits(seconds=20, folder_bytes=8 << 20))
    assert 0 < int(printed) <= 8
    printed, verdict = run_script(hostile.WRITES_A_LARGE_FILE, "", limits=Limits(file_bytes=1 << 20))
    assert verdict.passed and int(printed) <= 1 << 20


def test_the_folder_is_empty_and_the_machine_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_script("import os\nprint(os.listdir('.'))", "")[0] == "[]\n"
    for secret in (__file__, "/etc/passwd", "/proc/1/environ", f"/proc/{os.getpid()}/environ"):
        assert not run_script(f"open({secret!r}).read(1)", "")[1].passed
    assert not run_script(f"import os\nos.listdir({str(Path.home())!r})", "")[1].passed
    monkeypatch.setenv("EM_HF_SECRET", "s3cret")
    assert "s3cret" not in run_script("import os\nprint(dict(os.environ))", "")[0]


def test_the_network_is_out_of_reach() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    reached = []

    def listen() -> None:
        try:
            reached.append(server.accept())
        except OSError:
            pass

    thread = threading.Thread(target=listen)
    thread.start()
    port = server.getsockname()[1]
    caller = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)\n"
    assert not run_script(caller, "")[1].passed
    fails(caller + GOOD)
    thread.join()
    server.close()
    assert reached == []


@pytest.mark.parametrize("name", hostile.LEAVES_EARLY)
def test_leaving_early_is_no_pass(name: str) -> None:
    fails(hostile.LEAVES_EARLY[name])


@pytest.mark.parametrize("name", hostile.TRICKS)
def test_tricks_on_the_checker_are_no_pass(name: str) -> None:
    fails(hostile.TRICKS[name])


def test_forged_replies_are_no_pass_and_one_that_asks_for_code_is_refused() -> None:
    fails(hostile.FORGES_REPLIES.format(reply=pickle.dumps(("value", 4)) * 9) + "def double(n): return 0")
    # Written straight into the connection: a pickle whose loading would leave with 0.
    assert "plain data" in fails(hostile.FORGES_REPLIES.format(reply=b"cos\n_exit\n(I0\ntR.") + GOOD)


@pytest.fixture
def no_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox as in a container whose kernel gives no namespaces away."""
    jail = Path(sandbox.__file__).with_name("jail.py")
    wrapper = tmp_path / "jail.py"
    wrapper.write_text(
        f"import runpy, sys\nsys.argv[0] = {str(jail)!r}\n"
        f"import ctypes\nreal = ctypes.CDLL(None, use_errno=True)\n"
        "class Refusing:\n"
        "    def __getattr__(self, name): return (lambda *a: -1) if name == 'unshare' else getattr(real, name)\n"
        "ctypes.CDLL = lambda *a, **k: Refusing()\n"
        f"runpy.run_path({str(jail)!r}, run_name='__main__')\n"
    )
    tmp_path.chmod(0o755)
    monkeypatch.setattr(sandbox, "_JAIL", wrapper)


def test_without_namespaces_the_other_measures_hold(no_namespaces: None, tmp_path: Path) -> None:
    inside = "import os\nprint(os.getpid())"
    assert int(run_script(inside, "")[0]) > 10, "here it has no process numbers of its own"
    assert passes(GOOD, TESTS, ["double"]).passed
    assert "AssertionError" in fails("def double(n):\n    return n")
    assert passes(hostile.LEAVES_A_DAEMON + GOOD, TESTS, ["double"], limits=SHORT).passed  # and nothing_leaks
    assert "2 seconds" in fails(hostile.IGNORES_SIGNALS)
    fails(hostile.FORKS_FOR_EVER)
    assert "MemoryError" in fails("def double(n):\n    return len([0] * 10**9)")
    target = tmp_path / "leak"
    assert not run_script(f"open({str(target)!r}, 'w')", "")[1].passed and not target.exists()


def test_a_flood_of_output_fails_without_filling_anything() -> None:
    started = shutil.disk_usage(tempfile.gettempdir()).free
    printed, verdict = run_script("while True: print('x' * 1000)", "", limits=SHORT)
    assert printed == "" and "more than" in verdict.reason
    fails("import sys\nwhile True: sys.stderr.write('x' * 1000)")
    assert started - shutil.disk_usage(tempfile.gettempdir()).free < 50 << 20


def test_scripts_get_their_input_and_their_output_comes_back() -> None:
    assert run_script("print(input()[::-1])", "drawer") == ("reward\n", run_script("", "")[1])
    assert not run_script("raise ValueError", "")[1].passed
    assert not run_script("import sys\nsys.exit(3)", "")[1].passed


def test_numpy_arrays_cross_over_where_packages_are_allowed() -> None:
    program = (
        "import numpy as np\ndef double(n): return 2 * np.asarray(n)\ndef pair(n): return (np.float64(n), [np.eye(2)])"
    )
    tests = (
        "assert np.array_equal(double(given), [[2.0, 4.0], [6.0, 8.0]]) and double(given).dtype == np.float64\n"
        "one, (two,) = pair(3)\nassert type(one) is float and one == 3 and two.shape == (2, 2)"
    )
    given = {"given": np.array([[1.0, 2.0], [3.0, 4.0]])}
    before = "import numpy as np"
    assert passes(program, tests, ["double", "pair"], before=before, given=given, packages=True).passed
    wrong = program.replace("2 *", "3 *")
    assert not passes(wrong, tests, ["double", "pair"], before=before, given=given, packages=True).passed
    assert not passes(program, "double(1)", ["double"]).passed, "without them there is no NumPy"


def test_results_cross_over_as_plain_data_whatever_their_class() -> None:
    program = """
from collections import Counter, OrderedDict, namedtuple
P = namedtuple('P', 'x y')
class Node:
    def __init__(self, val, next=None): self.val, self.next = val, next
def double(n): return [Counter('aab'), OrderedDict(a=1), P(1, 2), {3}, frozenset({4}), None, True, 1j, b'x']
def last(node): return node if node.next is None else last(node.next)
"""
    tests = (
        "assert double(1) == [{'a': 2, 'b': 1}, {'a': 1}, (1, 2), {3}, frozenset({4}), None, True, 1j, b'x']\n"
        "node = last(Node(1, Node(2, Node(3))))\nassert node.val == 3 and node.next is None"
    )
    assert passes(program, tests, ["double", "Node", "last"]).passed
