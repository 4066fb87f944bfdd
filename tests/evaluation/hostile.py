"""Programs that try to harm, to hide or to cheat. `double` is what the tests call; `double(2)` should be 4."""

IGNORES_SIGNALS = """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
"""

FORKS_FOR_EVER = """
import os
while True:
    try: os.fork()
    except OSError: pass
"""

COUNTS_ITS_FORKS = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0: time.sleep(99)
        count += 1
except OSError: print(count)
"""

LEAVES_A_DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(999)
    os._exit(0)
"""

FLOODS_THE_FOLDER = """
total = 0
try:
    for i in range(1000):
        with open(f'f{i}', 'wb') as file: total += file.write(bytes(2**20))
except OSError: pass
print(total >> 20)
"""

WRITES_A_LARGE_FILE = """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try: open('f', 'wb').write(bytes(2**22))
except OSError: pass
print(os.path.getsize('f'))
"""

FORGES_REPLIES = """
import os
for fd in range(3, 64):
    try: os.write(fd, {reply!r})
    except OSError: pass
"""

LEAVES_EARLY = {
    "_exit at once": "import os\nos._exit(0)",
    "exit at once": "raise SystemExit(0)",
    "_exit when asked": "def double(n):\n    import os\n    os._exit(0)",
    "exit when asked": "def double(n):\n    raise SystemExit(0)",
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "kills all": "import os, signal\nos.kill(-1, signal.SIGKILL)",
}

TRICKS = {
    "equal to everything": "class Yes:\n    def __eq__(self, other): return True\ndef double(n): return Yes()",
    "a number equal to everything": """
class Yes(int):
    def __eq__(self, other): return True
    __hash__ = None
def double(n): return Yes(7)
""",
    "another AssertionError": """
import builtins
builtins.AssertionError = type('Calm', (Exception,), {})
def double(n): raise AssertionError
""",
    "says so": "import sys\nprint('passed')\nsys.stderr.write('passed')\ndef double(n): return 0",
    "looks for the tests": """
import gc
def double(n):
    for thing in gc.get_objects():
        if isinstance(thing, dict) and 'tests' in thing: thing['tests'] = ''
    return 0
""",
    "a callable that equals everything": """
double = type('M', (), {'__call__': lambda self, n: self, '__eq__': lambda self, other: True})()
""",
    "a reply that leaves": """
import os
class Leave:
    def __reduce__(self): return os._exit, (0,)
    def __eq__(self, other): return True
def double(n): return Leave()
""",
    "right once": "def double(n): return 4",
}
