"""Hostile programs: each is scored as failed, and nothing of it is left outside."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from em_hf.evaluation.code import sandbox
from em_hf.evaluation.code.sandbox import Limits, UnprotectedError, check_sandbox, passes, run_script
from tests.conftest import missing
from tests.evaluation import hostile
from tests.evaluation.machines import KEPT, TESTS, lack, ours

SHORT = Limits(seconds=2.0, memory_bytes=256 << 20)
GOOD = "def double(n):\n    return 2 * n"


def fails(program: str, tests: str = TESTS) -> str:
    verdict = passes(program, tests, ["double"], limits=SHORT)
    assert not verdict.passed
    return verdict.reason


@pytest.fixture(autouse=True)
def nothing_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Around every test: no process is left, no folder, and the descriptors of this process are those it had."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        before = len(os.listdir("/proc/self/fd"))
        yield
        deadline = time.monotonic() + 60
        while ours(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ours(folder) == set()
        assert list(Path(folder).iterdir()) == []
        assert len(os.listdir("/proc/self/fd")) == before


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


@pytest.fixture(params=KEPT, ids=lambda lacking: " and ".join(lacking) or "nothing")
def lacking(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Machines that lack one thing or another, on which every promise is kept all the same."""
    lack(monkeypatch, tmp_path, *request.param)
    return request.param


def test_every_promise_is_kept_in_one_way_or_another(lacking: tuple[str, ...], tmp_path: Path) -> None:
    assert check_sandbox() == []
    assert passes(GOOD, TESTS, ["double"]).passed
    assert "AssertionError" in fails("def double(n):\n    return n")
    assert passes(hostile.LEAVES_A_DAEMON + GOOD, TESTS, ["double"], limits=SHORT).passed  # and nothing_leaks
    assert "2 seconds" in fails(hostile.IGNORES_SIGNALS)
    fails(hostile.FORKS_FOR_EVER)
    assert "MemoryError" in fails("def double(n):\n    return len([0] * 10**9)")
    target = tmp_path / "leak"
    assert not run_script(f"open({str(target)!r}, 'w')", "")[1].passed and not target.exists()
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    for path in (secret, "/etc/passwd", f"/proc/{os.getpid()}/environ"):
        assert not run_script(f"open({str(path)!r}).read(1)", "")[1].passed
    printed, _ = run_script("import os\nprint(os.getpid())", "")
    assert (int(printed) > 10) == ("namespaces" in lacking), "without them it has no process numbers of its own"


def test_no_socket_reaches_out(lacking: tuple[str, ...], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        named.bind(str(tmp_path / "named"))
        box.bind(str(tmp_path / "box"))
        named.listen()
        for server in (named, box):
            os.chmod(server.getsockname(), 0o777)
            server.settimeout(0.2)
        calls = (
            f"socket.socket(socket.AF_UNIX).connect({named.getsockname()!r})",
            f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', {box.getsockname()!r})",
            f"socket.socketpair()[0].connect({named.getsockname()!r})",
            *(f"socket.socket(socket.{family})" for family in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_VSOCK")),
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        )
        for call in calls:
            assert not run_script(f"import socket\n{call}", "")[1].passed, call
        for server in (named, box):
            with pytest.raises(TimeoutError):
                server.accept() if server is named else server.recv(1)
    # What stays within the program works.
    asks = "import asyncio, socket\nasync def f(): return 7\na, b = socket.socketpair()\na.send(b'x')\n"
    assert run_script(f"{asks}print(asyncio.run(f()), b.recv(1))", "") == ("7 b'x'\n", run_script("", "")[1])


def test_memory_is_limited_for_all_processes_together(lacking: tuple[str, ...]) -> None:
    limits = Limits(seconds=20, memory_bytes=256 << 20)
    printed, verdict = run_script(hostile.HOARDS_IN_SIX_PROCESSES, "", limits=limits)
    assert (printed, verdict.reason) == ("", "used more than 256 MiB of memory in all its processes")
    # Pages that forked processes share count once.
    assert run_script(hostile.SHARES_ITS_MEMORY, "", limits=limits)[0] == "shared\n"
    assert not run_script("import os\nos.memfd_create('x')", "", limits=limits)[1].passed


def test_files_are_limited_together(lacking: tuple[str, ...]) -> None:
    limits = Limits(seconds=20, folder_bytes=8 << 20)
    printed, verdict = run_script(hostile.FLOODS_THE_FOLDER, "", limits=limits)
    assert verdict.reason == "wrote more than 8 MiB of files" if "namespaces" in lacking else 0 < int(printed) <= 8


@pytest.mark.parametrize(
    ("lacking", "promises"),
    [
        (("namespaces", "landlock"), ["files"]),
        (("new root", "landlock"), ["files"]),
        (("seccomp",), ["sockets"]),
        (("seccomp", "namespaces"), ["files", "sockets", "network"]),
    ],
)
def test_where_a_promise_cannot_be_kept_nothing_runs_unless_weak_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...], promises: list[str]
) -> None:
    lack(monkeypatch, tmp_path, *lacking)
    mark = tmp_path / "ran"
    mark.write_text("")
    mark.chmod(0o666)
    for run in (
        check_sandbox,
        lambda: run_script("print(1)", ""),
        lambda: passes(GOOD, TESTS, ["double"]),
    ):
        with pytest.raises(UnprotectedError, match=r"cannot keep .*allow this with --sandbox weak") as caught:
            run()
        assert all(f"{promise}: " in str(caught.value) for promise in promises) and "\n" not in str(caught.value)
    assert mark.read_text() == ""
    monkeypatch.setenv("EM_HF_SANDBOX", "weak")
    assert [line.split(":")[0] for line in check_sandbox()] == promises
    assert passes(GOOD, TESTS, ["double"]).passed
    assert "AssertionError" in fails("def double(n):\n    return n")


def test_the_strength_is_strict_or_weak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EM_HF_SANDBOX", "none")
    with pytest.raises(ValueError, match="EM_HF_SANDBOX is 'none', but must be strict or weak"):
        check_sandbox()


@pytest.mark.parametrize("code", [122, 123, 124, 125])
def test_a_program_cannot_speak_for_the_sandbox_by_its_exit_code(code: int) -> None:
    printed, verdict = run_script(f"import os\nprint('x', flush=True)\nos._exit({code})", "")
    assert (printed, verdict.reason) == ("x\n", "ended with 1")


ORDINARY = """
import json, os, subprocess, sys
from em_hf.evaluation.code.sandbox import Limits, check_sandbox, passes, run_script
other = subprocess.Popen(["/bin/sleep", "60"])
import tempfile
mine = tempfile.NamedTemporaryFile(mode="w")
mine.write("mine")
mine.flush()
changes = ["os.chmod({0}, 0o777)", "os.truncate({0}, 0)", "os.utime({0}, (1, 1))", "os.remove({0})", "open({0}, 'a')"]
changed = [run_script("import os\\n" + change.format(repr(mine.name)), "")[1].passed for change in changes]
killed = run_script(f"import os\\nos.kill({other.pid}, 9)", "")[1].passed or other.poll() is not None
other.kill()
everyone = run_script("import os\\nos.kill(-1, 9)", "", limits=Limits(seconds=5))[1].passed
print(json.dumps([
    check_sandbox(), killed, any(changed) or os.stat(mine.name).st_size != 4,
    run_script("print(open('/etc/passwd').read(1))", "")[1].passed,
    run_script("import socket\\nsocket.socket()", "")[1].passed,
    passes("def double(n): return 2 * n", "assert double(2) == 4", ["double"]).passed,
]))
"""


def _python_for(user: int | None) -> str:
    """A Python, 3.11 or later, that a user may run: root's own may lie in its home."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            asked = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
            if subprocess.run(asked, user=user, group=user, cwd="/").returncode == 0:
                return python
        except OSError:
            continue
    missing("a Python that every user may run")
    return ""


@pytest.mark.parametrize("lacking", [(), ("namespaces",), ("namespaces", "landlock scopes")], ids=" and ".join)
def test_an_ordinary_users_other_processes_and_files_are_safe_too(
    monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lack(monkeypatch, Path(folder), *lacking)
        nobody = 65534 if os.geteuid() == 0 else None
        code = f"from em_hf.evaluation.code import sandbox\nsandbox._JAIL = {str(sandbox._JAIL)!r}\n{ORDINARY}"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(sandbox.__file__).parents[3])}
        command = [_python_for(nobody), "-B", "-c", code]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd="/", user=nobody, group=nobody
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], False, False, False, False, True]


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


PROGRAMS = {
    "a generator": ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2] and f(2) != [0, 1]"),
    "an endless one": (
        "import itertools\ndef f(): return itertools.count(5)",
        "from itertools import islice\nassert list(islice(f(), 2)) == [5, 6] and next(f()) == 5",
    ),
    "a range": ("def f(n): return range(n)", "assert f(3) == range(3) and f(3) != range(4) and list(f(2)) == [0, 1]"),
    "map, filter, zip": (
        "def f(xs): return map(str, xs), filter(None, xs), zip(xs, xs), enumerate(xs), reversed(xs)",
        "assert [*map(list, f([0, 1]))] == [['0', '1'], [1], [(0, 0), (1, 1)], [(0, 0), (1, 1)], [1, 0]]",
    ),
    "views of a dict": (
        "def f(d): return d.keys(), d.values(), d.items()",
        "k, v, i = f({1: 2})\nassert k == {1} and list(v) == [2] and i == {(1, 2)} and sorted(k) == [1]",
    ),
    "a deque": (
        "from collections import deque\ndef f(n): return deque(range(n), 5)",
        "from collections import deque\nassert f(2) == deque([0, 1]) and f(2).maxlen == 5 and f(2) != [0, 1]",
    ),
    "a fraction, a decimal": (
        "import decimal, fractions\ndef f(): return fractions.Fraction(1, 3), decimal.Decimal('1.50')",
        "from fractions import Fraction\na, b = f()\nassert a == Fraction(1, 3) and b == 1.5 and str(b) == '1.50'",
    ),
    "a bytearray": ("def f(n): return bytearray(n)", "assert f(2) == bytearray(2) and f(2) == b'\\0\\0'"),
    "dates": (
        "import datetime as d\ndef f(): return d.date(2024, 2, 29) + d.timedelta(1), d.datetime(2024, 1, 2, 3)",
        "import datetime as d\nassert f() == (d.date(2024, 3, 1), d.datetime(2024, 1, 2, 3))",
    ),
    "sorting in place": ("def f(a): a.sort()", "a = [3, 1, 2]\nassert f(a) is None and a == [1, 2, 3]"),
    "changes deep in an argument": (
        "def f(a): a[0].append(4); a[1]['x'] = 5; a[2].add(9); a[3].reverse()",
        "b, d, s, r = [1], {}, {1}, bytearray(b'ab')\nf([b, d, s, r])\n"
        "assert (b, d, s, r) == ([1, 4], {'x': 5}, {1, 9}, b'ba')",
    ),
    "an argument that shrinks": ("def f(a): del a[1:]", "a = [1, 2, 3]\nf(a)\nassert a == [1]"),
    "an expected ValueError": (
        "def f(n):\n    if n < 0: raise ValueError('negative')",
        "try:\n    f(-1)\nexcept ValueError as error:\n    assert str(error) == 'negative'\nelse:\n    assert False",
    ),
    "an expected subclass": (
        "def f(d): return d['x']",
        "try:\n    f({})\nexcept LookupError as error:\n    assert error.args == ('x',)\nelse:\n    assert False",
    ),
    "a lambda as argument": ("def f(g, x): return g(g(x))", "assert f(lambda x: x + 1, 3) == 5 and f(abs, -3) == 3"),
    "a lambda that raises": (
        "def f(g):\n    try: return g(0)\n    except ZeroDivisionError: return 'caught'",
        "assert f(lambda x: 1 / x) == 'caught'",
    ),
    "an iterator as argument": (
        "def f(xs): return sum(xs)",
        "assert f(x * x for x in range(4)) == 14 and f(iter([1, 2])) == 3 and f(map(int, '12')) == 3",
    ),
    "a function returned": (
        "def f(k):\n    return lambda x: x + k",
        "assert f(3)(4) == 7 and list(map(f(1), [1, 2])) == [2, 3]",
    ),
    "a function of both sides": (
        "def f(g, n): return g(lambda k: k * 2, n)",
        "assert f(lambda h, n: h(n) + 1, 5) == 11",
    ),
    "an object with methods": (
        "class Stack:\n"
        "    def __init__(self): self.items = []\n"
        "    def push(self, x): self.items.append(x)\n"
        "    def __len__(self): return len(self.items)\n"
        "    def __getitem__(self, i): return self.items[i]\n"
        "    def __str__(self): return f'<{self.items}>'\n"
        "def f(): return Stack()",
        "s = f()\nassert not s\ns.push(1)\ns.push(2)\nassert len(s) == 2 and s[-1] == 2 and list(s) == [1, 2] and s\n"
        "assert str(s) == '<[1, 2]>' and s.items == [1, 2] and 2 in s and 3 not in s",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_right_program_passes_whatever_it_returns_takes_or_raises(name: str) -> None:
    program, tests = PROGRAMS[name]
    compile(program, "program", "exec")
    space: dict[str, object] = {}
    exec(program + "\n" + tests, space)  # the tests are right about it in one process
    assert passes(program, tests, ["f"]).passed, passes(program, tests, ["f"]).reason


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def f(n): return (i for i in range(n + 1))", "assert list(f(3)) == [0, 1, 2]"),
        ("def f(a): a.sort(reverse=True)", "a = [3, 1, 2]\nf(a)\nassert a == [1, 2, 3]"),
        ("def f(a): return sorted(a)", "a = [3, 1, 2]\nf(a)\nassert a == [1, 2, 3]"),
        ("def f(n): raise TypeError", "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass"),
        ("def f(n): pass", "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass"),
        ("def f(g, x): return x", "assert f(lambda x: x + 1, 3) == 5"),
        ("class E:\n    def __eq__(s, o): return True\ndef f(): return [E()]", "assert f() == [1]"),
        ("class E(dict):\n    def __eq__(s, o): return True\ndef f(): return E()", "assert f() == {1: 2}"),
        ("class E(list):\n    def __len__(s): return 3\ndef f(): return E()", "assert len(f()) == 3"),
        ("def f():\n    while True: yield 1", "assert list(f()) == [1]"),
        ("from decimal import Decimal\ndef f(): return Decimal('1e999999999')", "assert int(f()) == 1"),
        ("def f(g):\n    while True: g(1)", "f(lambda x: x)"),
    ],
)
def test_a_wrong_program_of_the_same_kinds_fails(program: str, tests: str) -> None:
    assert not passes(program, tests, ["f"], limits=SHORT).passed


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
