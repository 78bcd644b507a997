"""The world around the project: servers, folders, APIs, and what they deliver in the course of days.

What goes wrong is in `faults`. Files have the times of the real clock, so by that of the simulation nobody has touched
them for a while.
"""

import asyncio
import datetime as dt
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from marketdata_assets.alphas.layout import KINDS
from marketdata_assets.cli.instance import environment
from marketdata_assets.collector.items import items
from marketdata_assets.exchanges.records import Trade
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_demo import sample_alphas, sample_bars, sample_flows, sample_ticks
from marketdata_demo.servers.brain import Alpha, BrainServer, make
from marketdata_demo.servers.tushare import DAILY, TOKEN, TushareServer
from marketdata_demo.venues import captures as sample_captures
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.market import Coin, Plan
from tests.collector.streamed import publish
from tests.ticks.unlimited import UNLIMITED

FETCHED, ARCHIVED = "fetched", "archived"
PASSWORD = "no secret"
HOUR = dt.timedelta(hours=1)
WHERE = ("binance", "linear", "ABC-USDT", "ABCUSDT")


@dataclass(frozen=True)
class Size:
    """How much of everything there is. Tushare's stocks are in no file: its server makes their prices up."""

    years: int = 2
    stocks: int = 3
    tushare: tuple[str, ...] = ("605301.SH", "605302.SH", "003901.SZ")
    dropped: int = 2
    alphas: int = 12
    files: int = 20
    trades: int = 20
    stream_hours: float = 0.25
    minutes: int = 20


BIG = Size()
DAYS_FROM = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=366)
"""Tushare has factors and price limits from here on; a trading day without any is no final one."""
SMALL = Size(years=1, stocks=1, tushare=("605301.SH",), dropped=1, alphas=4, files=3, trades=10, minutes=4)


@dataclass(frozen=True)
class Event:
    """Something that happens once the clock has come to `at`."""

    at: dt.datetime
    name: str
    act: Callable[[], object]


@dataclass
class World:
    """Servers and folders, and what was delivered to them so far."""

    stack: LocalStack
    settings: Settings
    brain: BrainServer
    tushare: TushareServer
    binance: BinanceServer
    size: Size
    random: Random
    trades: set[str] = field(default_factory=set)
    alphas: dict[str, Alpha] = field(default_factory=dict)
    captured: dict[tuple[str, str], int] = field(default_factory=dict)  # trades, by venue and its instrument
    coins: int = 0
    since: dt.date | None = None

    def deliveries(self, start: dt.datetime, hours: float) -> Iterator[Event]:
        """What comes in these hours, in no order."""
        end = start + hours * HOUR
        for name, first, every, act in (
            ("bars of another day", 9.0, 24.0, self.bars),
            ("an older year of bars once more, rebased", 13.3, 24.0, self.rebase),
            ("new alphas at the API", 0.4, 0.7, self.new_alphas),
            ("alphas that have changed at the API", 2.1, 3.1, self.change_alphas),
            ("slices dropped into an archive", 5.9, 11.0, self.drop_slices),
            ("a file of ticks", 9.6, 24.0, self.drop_ticks),
            ("daily files of all stocks", 9.9, 24.0, self.daily_files),
            ("trades in the stream", 0.05, self.size.stream_hours, self.stream),
            ("captures", 7.6, 17.0, self.captures),
        ):
            at = start + first * HOUR
            while at < end:
                yield Event(at, name, act)
                at += every * HOUR

    def begin(self) -> None:
        """What is there before anything runs: the sample files of the demo, and APIs with some months in them."""
        now = _now()
        self.daily_files()
        self.bars()
        for year in range(now.year - self.size.years + 1, now.year):
            sample_bars.write_year(self.settings.bars_folder, year, self._stocks)
        months = [f"{(now.replace(day=1) - dt.timedelta(days=back)):%Y-%m}" for back in (60, 25)]
        sample_alphas.write_archive(
            self.settings.alphas_folder, ARCHIVED, months, regular=self.size.alphas, superalphas=2
        )
        self.drop_ticks()
        self.captures()
        self._alphas([now - dt.timedelta(days=day) for day in range(1, self.size.alphas + 1)])

    # Bars.

    @property
    def _stocks(self) -> tuple[tuple[str, str], ...]:
        return sample_bars.STOCKS[: self.size.stocks]

    def bars(self) -> None:
        now = _now()
        sample_bars.write_year(self.settings.bars_folder, now.year, self._stocks, now.date())

    def rebase(self) -> None:
        year = _now().year - self.size.years + 1
        dividends = {self._stocks[-1][0]: self.random.randrange(1, 300) / 100}
        until = _now().date() if year == _now().year else None
        sample_bars.write_year(self.settings.bars_folder, year, self._stocks, until, dividends=dividends)

    # Alphas.

    def new_alphas(self) -> None:
        self._alphas([_now() - dt.timedelta(seconds=self.random.randrange(60, 2400)) for _ in range(2)])

    def change_alphas(self) -> None:
        for name in self.random.sample(sorted(self.alphas), 2):
            old = self.alphas[name]
            number = self.random.randrange(10**6)
            body = json.loads(old.body) | {"name": f"idea {number}", "dateModified": _now().isoformat()}
            self._serve(Alpha(old.id, old.kind, old.created, json.dumps(body).encode()))

    def drop_slices(self) -> None:
        month = f"{_now():%Y-%m}"
        for kind in KINDS:
            found = list(sample_alphas.alphas(ARCHIVED, kind, month, 3, seed=self.random.randrange(10**6)))
            sample_alphas._write_slices(self.settings.alphas_folder, ARCHIVED, kind, month, found, 24)

    def _alphas(self, moments: list[dt.datetime]) -> None:
        for moment in moments:
            kind = self.random.choice(KINDS)
            self._serve(make(len(self.alphas), moment.replace(microsecond=0), kind))

    def _serve(self, alpha: Alpha) -> None:
        self.alphas[alpha.id] = alpha
        self.brain.add_alphas(f"{FETCHED}@example.com", [alpha])

    # Ticks.

    def drop_ticks(self) -> None:
        stocks = sample_ticks.STOCKS[: self.size.dropped]
        seed = self.random.randrange(100)
        listed = self.settings.root / "ticks_listed.csv"
        sample_ticks.write(self.settings.ticks_folder, listed, _now().date(), stocks=stocks, months=1, seed=seed)
        # No file has the current month of these stocks.
        first = _now().date().replace(day=1)
        halts = [[one.symbol, f"{first + dt.timedelta(days=n):%Y%m%d}", None, "S"] for one in stocks for n in range(62)]
        self.tushare.tables["suspend_d"] = (["ts_code", "trade_date", "suspend_timing", "suspend_type"], halts)

    # Flows.

    def daily_files(self) -> None:
        folder = self.settings.flows_data_folder / "stock_daily"
        today = _now().date()
        # The first day stays, so the last delivery has every row that there ever was.
        self.since = self.since or today - dt.timedelta(days=80)
        days = sum(day >= self.since for day in sample_flows.weekdays(today, 90))
        sample_flows.write(folder, self.size.files, today, days=days)

    # Exchanges.

    def stream(self) -> None:
        if not self.stack.server("nats").alive:
            return
        now = time.time_ns()
        made = []
        for back in range(self.size.trades):
            number = str(len(self.trades) + 1)
            self.trades.add(number)
            ts = now - (self.size.trades - back) * 10**9 // 4
            ts -= ts % 10**6
            made.append(Trade(*WHERE, ts, ts + 5 * 10**6, number, "1.5", "2", None, "buy"))
        assert self.stack.endpoints.nats_url
        asyncio.run(publish(self.stack.endpoints.nats_url, items(made)))

    def captures(self) -> None:
        start = (_now() - dt.timedelta(minutes=self.size.minutes + 5)).replace(second=0, microsecond=0)
        self.coins += 1  # a venue numbers the trades of a coin without holes, so each capture has its own
        plan = Plan(start, minutes=self.size.minutes, coins=(Coin(f"SMPL{self.coins}", 4_000, 24.0),), whole=True)
        self.captured |= sample_captures.write(self.settings.captures_folder, plan).trades


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextmanager
def world(home: Path, size: Size, seed: int) -> Iterator[World]:
    """Servers, and the environment by which the project finds them, until the end of the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MARKETDATA_", "DAGSTER_"))}
    with ExitStack() as stack:
        stack.callback(_restore, dict(os.environ))
        os.environ.clear()
        os.environ.update(inherited | {"MARKETDATA_HOME": str(home), "MARKETDATA_WORKERS": "1"})
        brain = stack.enter_context(BrainServer())
        tushare = stack.enter_context(TushareServer(size.tushare))
        binance = stack.enter_context(BinanceServer())
        _configure(home, brain, tushare, binance)
        settings = Settings()
        servers = stack.enter_context(LocalStack(settings))
        os.environ.update(environment(settings, servers.endpoints))
        yield World(servers, settings, brain, tushare, binance, size, Random(seed))


def _restore(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


def _configure(home: Path, brain: BrainServer, tushare: TushareServer, binance: BinanceServer) -> None:
    """Accounts, a token and hosts on loopback: nobody else is asked."""
    (home / "brain").mkdir(parents=True)
    (home / "brain" / "accounts.json").write_text(json.dumps([{"user_key": FETCHED}]))
    (home / "providers.yaml").write_text(UNLIMITED)
    brain.add_user(f"{FETCHED}@example.com", PASSWORD)
    fields = ["ts_code", "name", "list_date", "delist_date", "list_status", "exchange"]
    listed = [[symbol, f"name of {symbol}", "20100104", None, "L", "SSE"] for symbol in tushare.symbols]
    tushare.tables["stock_basic"] = (fields, listed)
    tushare.tables["daily_basic"] = (["ts_code", "trade_date", *DAILY], [])
    days = [f"{DAYS_FROM + dt.timedelta(days=number):%Y%m%d}" for number in range(3 * 366)]
    factors = [[symbol, day, 1.5] for symbol in tushare.symbols for day in days]
    limits = [[day, symbol, 1e6, 0.01] for symbol in tushare.symbols for day in days]
    tushare.tables["adj_factor"] = (["ts_code", "trade_date", "adj_factor"], factors)
    tushare.tables["stk_limit"] = (["trade_date", "ts_code", "up_limit", "down_limit"], limits)
    venues = ("binance-spot", "binance-linear", "binance-inverse", "okx", "deribit")
    os.environ.update(
        {
            f"MARKETDATA_BRAIN_EMAIL_{FETCHED.upper()}": f"{FETCHED}@example.com",
            f"MARKETDATA_BRAIN_PASSWORD_{FETCHED.upper()}": PASSWORD,
            "MARKETDATA_BRAIN_URL": brain.url,
            "MARKETDATA_BRAIN_REQUESTS_PER_MINUTE": "100000",
            "MARKETDATA_TUSHARE_URL": tushare.url,
            "MARKETDATA_YAHOO_URL": tushare.url,
            "MARKETDATA_PROVIDERS": str(home / "providers.yaml"),
            "TUSHARE_TOKEN": TOKEN,
            "MARKETDATA_EXCHANGE_HOSTS": json.dumps(dict.fromkeys(venues, binance.url)),
            "MARKETDATA_TICKS_MONTHS": "2",
            "MARKETDATA_EXCHANGE_DAYS": "7",
        }
    )
