"""Which examples of a law are tried: fewer where each needs a database, and one of several in the quick run."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

FEW = settings(
    max_examples=settings().max_examples // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""For laws that need a database for each example: a fifth of those of the profile."""


def others_slow(examples: Iterable[Any]) -> list[Any]:
    """Parameters of which the first is tried in the quick run, and the others of the same mechanism in the slow one."""
    first, *others = examples
    return [
        first,
        *(pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=pytest.mark.slow) for one in others),
    ]
