"""Exponential backoff: bounds of the waits, and which failures are retried how often."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.backoff import delay, delays, retry


def failing(times: int) -> Callable[[], int]:
    calls = iter(range(1, times + 2))

    def call() -> int:
        number = next(calls)
        if number <= times:
            raise OSError(f"failure {number}")
        return number

    return call


@given(st.integers(1, 10_000), st.floats(0.001, 10), st.floats(10, 1000), st.floats(0, 1))
def test_delay_is_between_zero_and_the_longest(failures: int, first: float, longest: float, share: float) -> None:
    most = delay(failures, first, longest, None)
    assert first <= most <= longest
    assert delay(failures, first, longest, lambda: share) == most * share
    assert delay(failures + 1, first, longest, None) == min(longest, most * 2)


def test_delays_double_up_to_the_longest() -> None:
    assert delays(0.5, 3.0, 5) == (0.5, 1.0, 2.0, 3.0, 3.0)


def test_a_call_is_retried_after_each_wait() -> None:
    slept: list[float] = []
    assert retry(failing(3), OSError, [1, 2, 3], slept.append) == 4
    assert slept == [1, 2, 3]


def test_the_error_after_the_last_retry_is_raised() -> None:
    with pytest.raises(OSError, match="failure 3"):
        retry(failing(3), OSError, [0, 0], lambda _: None)


def test_another_error_is_not_retried() -> None:
    with pytest.raises(OSError, match="failure 1"):
        retry(failing(3), (ValueError, KeyError), [0, 0], lambda _: None)
