"""What ends a command as Ctrl-C does: SIGTERM, the end of its terminal, and a request from outside."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL_SECONDS = 1.0
OTHERS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by(requested: Callable[[], bool]) -> Iterator[None]:
    """Let OTHERS, and `requested` when it becomes true, interrupt the block like Ctrl-C; `nohup` keeps its meaning.

    Dagster has a handler of SIGINT of its own while a run is in progress, which is the one that is called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=[requested, ended], daemon=True)
    before = {number: signal.getsignal(number) for number in OTHERS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(requested: Callable[[], bool], ended: threading.Event) -> None:
    while not ended.wait(POLL_SECONDS):
        if requested():
            os.kill(os.getpid(), signal.SIGINT)
            return
