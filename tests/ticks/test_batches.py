"""The order of units, and batches that hold no more rows than they may."""

import asyncio
import datetime as dt

import pytest

from marketdata_assets.ticks.load_run import Batches, Limits
from marketdata_assets.ticks.plan import ordered
from marketdata_assets.ticks.reports import Unit

DAY = dt.datetime(2025, 6, 2, tzinfo=dt.UTC)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_first_by_name_then_never_loaded_then_the_stalest() -> None:
    units = [Unit(symbol, "2025-06") for symbol in "ABCDEF"]
    attempted = {units[0]: DAY + dt.timedelta(hours=2), units[1]: DAY, units[4]: DAY + dt.timedelta(hours=1)}
    found = ordered([*units, units[2]], ["F", "X", "A"], attempted)
    assert "".join(unit.symbol for unit in found) == "FACDBE"


def test_of_equals_the_newest_month_comes_first() -> None:
    units = [Unit(symbol, month) for month in ("2025-05", "2025-06") for symbol in "BA"]
    assert ordered(units, [], {}) == [
        Unit("A", "2025-06"),
        Unit("B", "2025-06"),
        Unit("A", "2025-05"),
        Unit("B", "2025-05"),
    ]
    assert ordered(units, ["B"], {})[:2] == [Unit("B", "2025-06"), Unit("B", "2025-05")]


def limits(rows: int = 100, items: int = 100, seconds: float = 100.0, held: int = 1000) -> Limits:
    return Limits(rows, items, seconds, held)


@pytest.mark.parametrize(
    ("given", "put", "due"),
    [
        (limits(rows=10), [("a", 6), ("b", 6), ("a", 4)], "a"),
        (limits(items=2), [("a", 0), ("b", 0), ("b", 0)], "b"),
    ],
)
def test_a_batch_is_due_by_rows_or_by_items(given: Limits, put: list[tuple[str, int]], due: str) -> None:
    async def main() -> tuple[str, list[str], int] | None:
        batches: Batches[str] = Batches(given)
        for number, (month, rows) in enumerate(put):
            await batches.put(month, f"{month}{number}", rows)
        return await batches.take()

    taken = asyncio.run(asyncio.wait_for(main(), 5))
    assert taken
    wanted = [(month, rows, f"{month}{number}") for number, (month, rows) in enumerate(put) if month == due]
    assert taken == (due, [name for _, _, name in wanted], sum(rows for _, rows, _ in wanted))


def test_a_batch_is_due_by_age() -> None:
    async def main() -> list[object]:
        clock = Clock()
        batches: Batches[str] = Batches(limits(seconds=5.0), clock=clock)
        await batches.put("a", "first", 1)
        taking = asyncio.create_task(batches.take())
        for _ in range(10):
            await asyncio.sleep(0)
        early = taking.done()
        clock.now = 5.0
        await batches.put("b", "second", 1)
        return [early, await taking]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [False, ("a", ["first"], 1)]


def test_closing_hands_out_everything_and_then_nothing() -> None:
    async def main() -> list[object]:
        batches: Batches[str] = Batches(limits())
        await batches.put("a", "first", 1)
        await batches.put("b", "second", 2)
        await batches.close()
        return [await batches.take() for _ in range(3)]

    assert asyncio.run(asyncio.wait_for(main(), 5)) == [("b", ["second"], 2), ("a", ["first"], 1), None]


def test_no_more_rows_are_held_than_the_limit_and_nobody_waits_for_ever() -> None:
    most = 0
    written: list[int] = []

    async def main() -> None:
        batches: Batches[int] = Batches(limits(rows=1000, held=50))

        async def give(first: int) -> None:
            nonlocal most
            for number in range(first, first + 20):
                await batches.put(f"{number % 3}", number, 60 if number == 7 else 20)
                most = max(most, batches.held)

        async def write() -> None:
            while (batch := await batches.take()) is not None:
                _, items, rows = batch
                await asyncio.sleep(0)
                written.extend(items)
                await batches.release(rows)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            await asyncio.gather(*(give(first) for first in (0, 20, 40)))
            await batches.close()

    asyncio.run(asyncio.wait_for(main(), 5))
    assert sorted(written) == list(range(60))
    assert most == 60  # the one that is larger than the limit, alone
