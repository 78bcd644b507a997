"""Functions in processes of their own, forked from one that has imported their modules: imports are paid for once."""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SECONDS = 120
"""What takes longer is ended by SIGALRM."""


@dataclass(frozen=True)
class Ended:
    """How a call ended, and all that it said on stdout and stderr."""

    code: int
    said: str


Call = Callable[..., Ended]
"""Called with a module, the name of one of its functions, and arguments for that of which JSON has values."""


@contextmanager
def server(*modules: str) -> Iterator[Call]:
    """Calls functions in forks of a process that has imported `modules`."""
    found = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; from tests import forks; forks.serve(sys.argv[1:])", *modules],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout

        def call(module: str, function: str, **arguments: Any) -> Ended:
            print(json.dumps([module, function, arguments], default=str), file=process.stdin, flush=True)
            return Ended(*json.loads(process.stdout.readline()))

        yield call
        process.stdin.close()


def serve(modules: list[str]) -> None:
    """Answer each order on stdin with the exit code of a fork that carried it out, and with what it said."""
    for module in modules:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(_end(*json.loads(line))), flush=True)


def _end(module: str, function: str, arguments: dict[str, Any]) -> tuple[int, str]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.setsid()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        for number in (1, 2):
            os.dup2(writer, number)
        os._exit(_carried_out(module, function, arguments))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def _carried_out(module: str, function: str, arguments: dict[str, Any]) -> int:
    try:
        getattr(importlib.import_module(module), function)(**arguments)
        sys.stdout.flush()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        return 1
    return 0


def execute(code: str, names: dict[str, Any], memory: int = 0, files: int = 0) -> None:
    """Execute code that knows `names`, with so many more bytes of memory than it has now, and so many open files."""
    if memory:
        limit = psutil.Process().memory_info().data + memory
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    exec(code, names)
