"""Work that is killed before one of its steps, in a process of its own. The imports are paid for once."""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg

from tests import permissions

PROJECT = Path(__file__).parents[1]

Load = Callable[..., bool]
"""Called with what the module's `doomed` takes and then the steps; True when it needed no more of them."""


Steps = Iterable[tuple[object, str]]
"""Functions at which a process may die: their owner and name."""

DATABASE_STEPS: Steps = (
    (psycopg.Cursor, "execute"),
    (psycopg.Cursor, "executemany"),
    (psycopg.Cursor, "copy"),
    (psycopg.Copy, "write"),
    (psycopg.Copy, "write_row"),
    (psycopg.Transaction, "__exit__"),
    (psycopg.Connection, "commit"),
)
"""A statement, a piece of COPY, or a COMMIT."""


def die_after(steps: int, where: Steps = DATABASE_STEPS) -> None:
    """Be killed before the step after `steps`."""
    left = steps

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return step

    for owner, name in where:
        setattr(owner, name, mortal(getattr(owner, name)))


def child(steps: int, work: Callable[[], object], where: Steps = DATABASE_STEPS) -> int:
    """Do `work` in a child that is killed before the step after `steps`; its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            die_after(steps, where)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def serve(module: ModuleType) -> None:
    """Answer each order on stdin with the exit code of a child that carried it out."""
    where = getattr(module, "STEPS", DATABASE_STEPS)
    with permissions.enforced():
        for order in sys.stdin:
            *arguments, steps = json.loads(order)
            print(child(steps, lambda arguments=arguments: module.doomed(*arguments), where), flush=True)


@contextmanager
def server(module: Path) -> Iterator[Load]:
    """Loads by the function `doomed` of a test module, killed at its `STEPS` if it has any, else at DATABASE_STEPS."""
    name = ".".join(module.relative_to(PROJECT).with_suffix("").parts)
    command = [sys.executable, "-c", f"from tests import dying; import {name} as module; dying.serve(module)"]
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout

        def load(*order: object) -> bool:
            print(json.dumps(order, default=str), file=process.stdin, flush=True)
            code = int(process.stdout.readline())
            assert code in (0, -signal.SIGKILL)
            return code == 0

        yield load
        process.stdin.close()
