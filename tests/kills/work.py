"""What is loaded while processes are killed: files that are delivered again and again, and the commands for them."""

import datetime as dt
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from marketdata_demo import sample_alphas, sample_bars, sample_flows, sample_ticks
from tests.kills.ui import Wanted

ACCOUNT = "archived"
BARS, KLINE = "stock_1min_qfq", "stock_monthly_kline"
STOCKS = sample_bars.STOCKS[:2]
TICK_STOCKS = sample_ticks.STOCKS[:2]
FOLDERS = ("bars", "ticks", "alphas", "flows_data")
DAILY_FILES = 12


class Deliveries:
    """Files below a data folder; the whole state of each is drawn again with each delivery."""

    def __init__(self, home: Path, today: dt.date, chance: Random) -> None:
        self._home, self._today, self._random = home, today, chance
        self._years = (today.year - 2, today.year - 1)
        month = today.replace(day=1)
        self._months = [f"{month - dt.timedelta(days=back):%Y-%m}" for back in (60, 25)]

    def all(self) -> None:
        self.bars()
        self.ticks()
        self.daily()
        sample_alphas.write_archive(self._home / "alphas", ACCOUNT, self._months, regular=12, superalphas=3)

    def again(self) -> str:
        """One of them once more, with other values; which."""
        deliver = self._random.choice((self.bars, self.ticks, self.daily))
        deliver()
        return deliver.__name__

    def bars(self) -> None:
        dividends = {code: self._random.randrange(1, 300) / 100 for code, _ in STOCKS}
        for year in self._years:
            sample_bars.write_year(self._home / "bars", year, STOCKS, dt.date(year, 3, 31), dividends=dividends)

    def ticks(self) -> None:
        seed = self._random.randrange(1000)
        folder, listed = self._home / "ticks", self._home / "listed.csv"
        sample_ticks.write(folder, listed, self._today, stocks=TICK_STOCKS, months=1, seed=seed)

    def daily(self) -> None:
        folder, seed = self._home / "flows_data" / "stock_daily", self._random.randrange(1000)
        sample_flows.write(folder, DAILY_FILES, self._today - dt.timedelta(days=1), days=60, seed=seed)

    def commands(self, *, force: bool) -> Iterator[Sequence[str]]:
        """A load of each; `force` loads what has not changed as well."""
        first = (self._today.replace(day=1) - dt.timedelta(days=1)).replace(day=1)
        symbols = [stock.symbol for stock in TICK_STOCKS]
        forced = ("--force",) if force else ()
        yield "ingest", "bars", "--months", f"{self._years[0]}-01:{self._years[-1]}-03", "--workers", "2", *forced
        yield "flows", "run", "stock_daily", "--max-workers", "2", *forced
        ticks = ("ingest", "ticks", "--symbols", *symbols, "--start-date", str(first), "--end-date", str(self._today))
        yield *ticks, "--data-types", "tick_data", "order_book", "factors", "--provider", "files", "--refetch"
        yield "ingest", "alphas", "--account", ACCOUNT, *forced

    def in_ui(self) -> Sequence[Wanted]:
        """The same loads, as runs and backfills that are started in the UI."""
        force = {"force": True}
        months = [f"{year}-{month:02}" for year in self._years for month in (1, 2, 3)]
        ticks = [f"{self._today:%Y-%m}|{stock.symbol}" for stock in TICK_STOCKS]
        alphas = {"super_alphas": force, "regular_alphas": force}
        of_files = {"providers": ["files"], "refetch": True}
        return (
            Wanted("flow_stock_daily", {"stock_daily": force}),
            Wanted("bars", {BARS: force, KLINE: force}, (BARS, KLINE), tuple(months)),
            Wanted("ticks", {"tick_tables": of_files}, ("tick_data", "order_book", "factors"), tuple(ticks)),
            Wanted("alphas", alphas, tuple(alphas), tuple(f"{ACCOUNT}|{month}" for month in self._months)),
        )


def copy(home: Path, other: Path) -> None:
    """The files as they are now, with their times, for a load that nothing disturbs."""
    for name in FOLDERS:
        if (home / name).exists():
            shutil.copytree(home / name, other / name, dirs_exist_ok=True)
    shutil.copy2(home / "listed.csv", other / "listed.csv")
