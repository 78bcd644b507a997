"""Exponential backoff: how long to wait after failures in a row, and calls that are retried after such waits."""

import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from marketdata_assets.logs import get_logger

T = TypeVar("T")

log = get_logger(__name__)


def delay(failures: int, first: float, longest: float, jitter: Callable[[], float] | None = random.random) -> float:
    """Seconds to wait after so many failures in a row, from 1: `first`, doubled with each, and at most `longest`.

    The wait is multiplied by `jitter`, a number from 0 to 1, so that clients do not retry at the same moment; by
    nothing when it is None.
    """
    seconds = min(longest, first * 2.0 ** min(failures - 1, 60))
    return seconds if jitter is None else seconds * jitter()


def delays(first: float, longest: float, retries: int) -> tuple[float, ...]:
    """The waits before each retry, without jitter."""
    return tuple(delay(failures, first, longest, None) for failures in range(1, retries + 1))


def retry(
    call: Callable[[], T],
    on: type[Exception] | tuple[type[Exception], ...],
    waits: Iterable[float],
    sleep: Callable[[float], object] = time.sleep,
    **facts: object,
) -> T:
    """The result of `call`, retried after each of `waits` when it raises `on`; the last error is raised.

    `facts` are logged with each retry: what is retried.
    """
    for attempt, seconds in enumerate(waits, 1):
        try:
            return call()
        except on as error:
            log.warning("retry", attempt=attempt, wait_s=seconds, error=str(error), **facts)
            sleep(seconds)
    return call()
