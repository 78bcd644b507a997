"""How many trading days a table of ticks may be behind, over weekends and the longest holiday."""

import datetime as dt

import pytest

from marketdata_assets.ticks.status import MISSED, _missed


@pytest.mark.parametrize(
    ("newest", "today", "late"),
    [
        ("2025-09-26", "2025-09-29", False),  # Friday and Monday
        ("2025-09-30", "2025-10-09", False),  # the last day before the National Day holiday, and the first after it
        ("2025-09-30", "2025-10-10", False),
        ("2025-09-30", "2025-10-13", True),
        ("2025-09-23", "2025-09-25", False),
        ("2025-09-23", "2025-09-26", True),
        ("2025-09-26", "2025-09-26", False),
    ],
)
def test_overdue_after_two_trading_days_that_are_over(newest: str, today: str, late: bool) -> None:
    assert (_missed(dt.date.fromisoformat(newest), dt.date.fromisoformat(today)) >= MISSED) is late
