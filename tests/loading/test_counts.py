"""Limits of rejected rows, batches, reports and states."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.errors import TerminalError
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.rejects import DEFAULT_LIMIT, RejectLimit
from marketdata_assets.loading.reports import Countdown, LoadReport, UnitReport, and_more, batches, run_batches
from marketdata_assets.loading.states import State, worst


@pytest.mark.parametrize(
    ("limit", "rejected", "rows", "exceeded"),
    [
        (DEFAULT_LIMIT, 0, 0, False),
        (DEFAULT_LIMIT, 1, 100, False),
        (DEFAULT_LIMIT, 1, 99, True),
        (DEFAULT_LIMIT, 1000, 1_000_000, False),
        (DEFAULT_LIMIT, 1001, 1_000_000, True),
        (RejectLimit(tolerated=10), 10, 10, True),
        (RejectLimit(tolerated=10), 5, 10, False),
        (RejectLimit(tolerated=10), 6, 10, True),
        (RejectLimit(tolerated=10), 1, 1, True),
        (RejectLimit(tolerated=10), 0, 0, False),
        (RejectLimit(tolerated=10), 11, 12, True),
    ],
)
def test_the_limit_of_rejects(limit: RejectLimit, rejected: int, rows: int, exceeded: bool) -> None:
    assert limit.exceeded(rejected, rows) == exceeded
    assert str(limit) == "1 % or 1000"


@given(st.lists(st.integers(0, 30)), st.integers(1, 50), st.integers(1, 5))
def test_batches_hold_every_item_once_in_order_and_keep_their_limits(
    sizes: list[int], max_bytes: int, max_items: int
) -> None:
    made = batches(sizes, lambda size: size, max_bytes=max_bytes, max_items=max_items, group=lambda size: size % 2)
    assert [size for batch in made for size in batch] == sizes
    for batch in made:
        assert len({size % 2 for size in batch}) == 1
        assert len(batch) == 1 or (sum(batch) <= max_bytes and len(batch) <= max_items)


def test_a_dead_worker_fails_its_items_and_a_named_error_ends_the_load() -> None:
    def failed(item: str, cause: str) -> UnitReport:
        return UnitReport(item, "failed", error=cause)

    def run(error: Exception) -> list[UnitReport]:
        def worker(items: list[str]) -> list[UnitReport]:
            raise error

        return list(run_batches(worker, [["a", "b"]], failed, fanout=Fanout(1), folder=Path(), progress=None))

    dead = run(RuntimeError("killed"))
    assert [(report.unit, report.outcome, report.error) for report in dead] == [
        ("a", "failed", "killed"), ("b", "failed", "killed"),
    ]  # fmt: skip
    with pytest.raises(TerminalError):
        run(TerminalError("disk full"))


def test_a_report_adds_up_its_units() -> None:
    report = LoadReport(
        (
            UnitReport("a", "ok", 7, 5, 1, 1, ("2024-01", "2024-02")),
            UnitReport("b", "failed", months=("2024-03",), error="b: damaged"),
            UnitReport("c", "empty"),
        ),
        unchanged=4,
        seconds=1.5,
    )
    assert (report.rows, report.rejected, report.total("skipped"), report.count("empty")) == (5, 1, 1, 1)
    assert (report.loaded_months, report.failed_months) == (("2024-01", "2024-02"), ("2024-03",))
    assert [unit.unit for unit in report.failed] == ["b"]


def test_long_lists_say_how_much_they_leave_out() -> None:
    assert and_more(["a", "b"], 2) == "a, b"
    assert and_more(["a", "b", "c", "d"], 2, "; ") == "a; b and 2 more"


def test_states_have_one_order() -> None:
    assert worst(State.OK, State.STALE, State.MISSING) is State.STALE
    assert [state for state in State if state.outdated] == ["missing", "stale", "failed"]
    assert json.dumps({State.OK: State.FAILED}) == '{"ok": "failed"}'


def test_month_is_complete_when_the_last_of_its_units_has_ended_and_none_failed() -> None:
    left = Countdown([("2024-01", "2024-02"), ("2024-02",), ("2024-03",), ("2024-03",)])
    assert left.ended(("2024-01", "2024-02")) == ["2024-01"]
    assert left.ended(("2024-03",), ("2024-03",)) == []
    assert left.ended(("2024-02",)) == ["2024-02"]
    assert left.ended(("2024-03",)) == [], "one of its units failed"
