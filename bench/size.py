"""The size of the inputs: with BENCH_SMALL=1 just enough to run every benchmark once, which `make test` does."""

import os
from typing import TypeVar

T = TypeVar("T")

SMALL = os.environ.get("BENCH_SMALL") == "1"


def sized(full: T, small: T) -> T:
    """The value for a measurement, or the one for a smoke test."""
    return small if SMALL else full
