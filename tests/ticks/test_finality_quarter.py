"""A quarter of days with a provider that publishes late, short, corrected and out of order: what is final is right.

Each trading day has its load after the close, each night its repair, on an injected clock.
"""

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.calendar import ZONE, TradingDays
from marketdata_assets.reference.records import Days
from marketdata_assets.reference.stored import Suspensions
from marketdata_assets.stores import clickhouse
from marketdata_assets.stores.clickhouse_ledger import entries
from marketdata_assets.ticks import registry, status
from marketdata_assets.ticks.finality import Moment, Rules
from marketdata_assets.ticks.reports import Unit
from tests.ticks.publishing import Published, PublishingServer, Version, at
from tests.ticks.tick_loads import Loader, codes, suspensions

QUARTER = Days(dt.date(2025, 4, 1), dt.date(2025, 6, 30))
AFTER = dt.timedelta(days=8)
"""After so long, the last day is older than the deadline."""

PLANNED = {dt.date(2025, 5, 1), dt.date(2025, 5, 2)}
ANNOUNCED = dt.date(2025, 4, 29)
"""A day that turns out to be a holiday only in the evening after it; the calendar was wrong until then."""

SYMBOLS = codes(10)
HALF_DAY = ("09:31", "11:30")


def trading_days(days: Days, *, holidays: set[dt.date]) -> list[dt.date]:
    return [day for day in days if day.weekday() < 5 and day not in holidays]


@dataclass
class Market:
    """What happens in the quarter, drawn from `chance`."""

    chance: random.Random
    days: Days
    symbols: Sequence[str] = field(default_factory=lambda: SYMBOLS)
    published: Published = field(default_factory=Published)
    suspensions: list[tuple[str, dt.date, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        days = trading_days(Days(self.days.first, self.end), holidays={*PLANNED, ANNOUNCED})
        for symbol in self.symbols:
            start = self.chance.randrange(5, len(days) - 10)
            halted = days[start : start + self.chance.randrange(0, 6)]
            self.suspensions += [(symbol, day, "") for day in halted]
            for day in days:
                if day in halted:
                    self.published.days[symbol, day] = []
                else:
                    self.draw(symbol, day, days)

    @property
    def end(self) -> dt.date:
        return self.days.last + AFTER

    def draw(self, symbol: str, day: dt.date, days: Sequence[dt.date]) -> None:
        """How a day is published: nine in ten at once and whole."""
        later = days[min(days.index(day) + self.chance.randrange(1, 4), len(days) - 1)]
        next_day = day + dt.timedelta(days=1)
        kinds: dict[str, list[Version]] = {
            "late in the evening": [Version(at(day, 18))],
            "days late": [Version(at(later, 12))],  # so that newer days come before it
            "short": [Version(at(day, 15), bars=self.chance.randrange(1, 240)), Version(at(later, 12))],
            "corrected": [Version(at(day, 15)), Version(at(next_day, 9), raised=0.5)],
            "short and corrected": [Version(at(day, 15), bars=100), Version(at(next_day, 9), raised=0.5)],
            "half a day": [Version(at(day, 15), gap=HALF_DAY)],
            "short for good": [Version(at(day, 15), bars=239)],
        }
        weights = [0.01, 0.01, 0.015, 0.03, 0.01, 0.01, 0.005]
        kind = self.chance.choices([*kinds, "whole"], [*weights, 1 - sum(weights)])[0]
        if kind in kinds:
            self.published.days[symbol, day] = kinds[kind]
        if kind == "half a day":
            self.suspensions.append((symbol, day, "-".join(("09:30", HALF_DAY[1]))))

    def suspended(self, now: dt.datetime) -> Suspensions:
        """What is known of suspensions: those up to today."""
        today = now.astimezone(ZONE).date()
        known = Days(self.days.first, max(today, self.days.first))
        return suspensions([row for row in self.suspensions if row[1] <= today], set(known))

    @staticmethod
    def holidays(now: dt.datetime) -> set[dt.date]:
        return {*PLANNED, ANNOUNCED} if now > at(ANNOUNCED, 20) else PLANNED

    def least(self) -> int:
        """The fewest requests that load each day on its evening: one for each stock that trades."""
        halted = {(symbol, day) for symbol, day, hours in self.suspensions if not hours}
        days = trading_days(Days(self.days.first, self.end), holidays=PLANNED)
        return sum((symbol, day) not in halted for symbol in self.symbols for day in days)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_every_final_day_is_the_last_word_of_the_provider(
    loader: Loader, client: Client, tmp_path: Path, seed: int, record_property: Callable[[str, int], None]
) -> None:
    market = Market(random.Random(seed), QUARTER)
    (tmp_path / "symbols.csv").write_text("\n".join(market.symbols))
    registry.refresh(client, None, tmp_path / "symbols.csv", None, now=at(QUARTER.first, 8))
    with PublishingServer(market.symbols, market.published, [*PLANNED, ANNOUNCED]) as server:
        world = World(replace(loader, server=server), market, server)
        for day in Days(QUARTER.first, market.end):
            world.night(day)
            if trading_days(Days(day, day), holidays=market.holidays(at(day, 16))):
                world.evening(day)
        record_property("requests", server.sent)
        record_property("least", market.least())
        assert server.sent <= 1.15 * market.least(), (server.sent, market.least())
    assert_last_word(client, market)
    never_whole = {key for key, versions in market.published.days.items() if [one.bars for one in versions] == [239]}
    expected = {(symbol, str(day)) for symbol, day in never_whole if day in QUARTER}
    found = {key for key, state in states(client).items() if key[1] <= str(QUARTER.last)}
    assert found == expected
    assert {state for key, state in states(client).items() if key in found} <= {"incomplete"}


@dataclass
class World:
    loader: Loader
    market: Market
    server: PublishingServer

    def evening(self, day: dt.date) -> None:
        """The daily load of the current month of every symbol."""
        self.load([Unit(symbol, f"{day:%Y-%m}") for symbol in self.market.symbols], at(day, 16, 11))
        self.assert_none_is_older_than_the_deadline(at(day, 16, 11), f"{day:%Y-%m}")

    def assert_none_is_older_than_the_deadline(self, now: dt.datetime, months: str = "") -> None:
        moment = Moment(now, self.calendar(now))
        for (symbol, day), state in states(self.loader.client).items():
            if state == "provisional" and day.startswith(months):
                assert moment.closings_after(dt.date.fromisoformat(day)) < Rules().deadline_days, (symbol, day, now)

    def night(self, day: dt.date) -> None:
        """The repair of what is due in any month."""
        now = at(day, 2, 30)
        months = sorted({f"{one:%Y-%m}" for one in Days(self.market.days.first, day)})
        found = status.behind(self.loader.client, months, now, trading_days=self.calendar(now))
        self.load(found.load, now)
        self.assert_none_is_older_than_the_deadline(now)

    def load(self, wanted: Sequence[Unit], now: dt.datetime) -> None:
        self.server.now = now
        if wanted:
            suspended = self.market.suspended(now)
            report = self.loader(wanted, now=now, suspended=suspended, trading_days=self.calendar(now))
            assert not report.failed, [unit.error for unit in report.failed]

    def calendar(self, now: dt.datetime) -> TradingDays:
        return lambda days: trading_days(days, holidays=self.market.holidays(now))


def states(client: Client) -> dict[tuple[str, str], str]:
    return {(load.source, state.slice): state.state for load in entries(client, "tick_data") for state in load.states}


def assert_last_word(client: Client, market: Market) -> None:
    """Every day of the quarter has exactly the rows that the provider published last."""
    sql = "SELECT toString(symbol) AS symbol, ts, close FROM tick_data WHERE date BETWEEN {first:Date} AND {last:Date}"
    local = {}
    for symbol, ts, close in clickhouse.read(client, sql, vars(market.days)).iter_rows():
        local[symbol, f"{ts.astimezone(ZONE):%Y-%m-%d %H:%M:%S}"] = close
    holidays = {*PLANNED, ANNOUNCED}
    wanted = {
        (symbol, row[1]): row[2]
        for symbol in market.symbols
        for day in trading_days(market.days, holidays=holidays)
        for row in market.published.rows(symbol, day, at(market.end, 23))
    }
    assert local == wanted
