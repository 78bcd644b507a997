"""Gaps of Hyperliquid: lost trades show in its candles, candles are healed from its history, old trades cannot be."""

import datetime as dt
from pathlib import Path
from time import time

from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.exchanges.tables import checks, gap_backfill, ohlcv
from marketdata_assets.exchanges.tables.checks import Question
from marketdata_demo.venues.hyperliquid_venue import HyperliquidServer
from marketdata_demo.venues.live_market import Happened
from marketdata_demo.venues.market import Plan
from tests.exchanges.landed_market import land, records

DAY = dt.date(2026, 1, 5)
PLAN = Plan(dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC), minutes=6)


def test_a_lost_trade_shows_in_the_candles(client: Client) -> None:
    made = list(records(PLAN, ["hyperliquid"]))
    trades = [place for place, one in enumerate(made) if isinstance(one, Trade) and one.instrument == "SMPL"]
    lost = trades[len(trades) // 2]
    land(client, [one for place, one in enumerate(made) if place != lost])
    ohlcv.compute(client, DAY, run_id="test", now=dt.datetime(2026, 1, 9, tzinfo=dt.UTC))
    question = Question(client, (DAY,))
    found = checks.bars_equal_klines(question)
    assert found.checked > PLAN.minutes
    [example] = found.examples
    assert (example["instrument"], "trades" in example["differs"]) == ("SMPL", True)
    assert checks.holes_on_record(question).passed


NS, HOUR, MINUTE = 1_000_000_000, 3_600, 60
ABOUT = ("hyperliquid", "linear", "ABC-USDC", "ABC")


def test_candles_are_healed_and_trades_of_the_last_ten_too(client: Client, tmp_path: Path) -> None:
    now = int(time())
    begin = now // HOUR * HOUR - HOUR  # of an hour that is over
    candles = Gap(*ABOUT, "candle1m", None, None, begin * NS, (begin + 5 * MINUTE) * NS, "reopened")
    trades = Gap(*ABOUT, "trades", None, None, (begin + 30) * NS, (begin + 40) * NS, "reopened")
    older = Gap(*ABOUT, "trades", None, None, (begin + 5) * NS, (begin + 8) * NS, "reopened")
    land(client, [candles, trades, older])
    with HyperliquidServer() as server:
        server.trades = [Happened((begin + 20 + 4 * number) * 1000, number) for number in range(10)]
        hosts = HistoryHosts(tmp_path, {"hyperliquid": server.url})
        day = dt.datetime.fromtimestamp(begin, dt.UTC).date()
        report = gap_backfill.backfill_gaps(client, day, hosts, settled_ns=0)
    found = {result.gap.ts_from: result for result in report.gaps}
    assert found[candles.ts_from].outcome == "healed"
    assert (found[trades.ts_from].outcome, found[trades.ts_from].trades) == ("healed", 5)
    assert found[older.ts_from].outcome == "open"
    assert "has only its last 10 trades" in found[older.ts_from].why
    assert client.query("SELECT count() FROM exchange_klines FINAL").result_rows == [(5,)]
