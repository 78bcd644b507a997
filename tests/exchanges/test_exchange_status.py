"""What is told of the exchange tables: states of days, captures in a folder, hosts of venues, pictures."""

import datetime as dt
import os
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.exchanges.history_clients import HistoryHosts
from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.exchanges.tables import captures, ohlcv, plots, status
from marketdata_assets.exchanges.tables.gap_backfill import SETTLED_NS, GapResult
from marketdata_assets.exchanges.tables.rows import insert_records
from tests.exchanges.landed_market import land

DAYS = [dt.date(2026, 1, 4), dt.date(2026, 1, 5), dt.date(2026, 1, 6)]
NOON = int(dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC).timestamp()) * 10**9
DAY_NS = 86_400 * 10**9
ABOUT = ("okx", "spot", "ABC-USDT", "ABC-USDT")


def trade(number: int, ns: int, price: str = "1") -> Trade:
    return Trade(*ABOUT, ns, ns, str(number), price, "1", None, "buy")  # type: ignore[arg-type]


def gap(ns: int, stream: str = "trades", healed_at: int | None = None) -> Gap:
    return Gap(*ABOUT, stream, None, None, ns, ns + 10**9, "reopened", healed_at)  # type: ignore[arg-type]


def test_overview_tells_rows_newest_refused_and_days(client: Client) -> None:
    land(client, [trade(1, NOON), trade(2, NOON + DAY_NS), gap(NOON), gap(NOON + DAY_NS, healed_at=NOON + 1)])
    insert_records(client, [trade(3, NOON, price="0." + "1" * 20)])
    ohlcv.compute(client, DAYS[1], run_id="test", now=dt.datetime.now(dt.UTC))
    found = {one.table: one for one in status.overview(client, DAYS)}
    trades = found["exchange_trades"]
    assert (trades.rows, trades.rejected) == (2, 1)
    assert trades.newest == dt.datetime(2026, 1, 6, 12, tzinfo=dt.UTC)
    assert found["exchange_tickers"].newest is None
    assert found["exchange_ohlcv_1m"].days == {"ok": 1, "missing": 1}
    assert (found["exchange_gaps"].days, found["exchange_gaps"].open_gaps) == ({"open": 1, "ok": 1}, 1)
    assert status.outdated_days(client, DAYS) == [DAYS[2]]
    [refused] = status.rejected(client, 5)
    assert refused["dataset"] == "exchange_trades"
    assert "1" * 20 in refused["raw"]


def test_open_gaps_are_tried_once_they_are_old_enough(client: Client) -> None:
    land(client, [gap(NOON), gap(NOON + DAY_NS, "books"), gap(NOON - 3 * DAY_NS)])
    young, old = NOON + 10**9 + SETTLED_NS - 1, NOON + 10**9 + SETTLED_NS
    assert status.with_open_gaps(client, DAYS, young, SETTLED_NS) == []
    assert status.with_open_gaps(client, DAYS, old, SETTLED_NS) == [DAYS[1]]
    assert status.with_open_gaps(client, DAYS, old + status.RETRIED_NS, SETTLED_NS) == []


def test_scan_finds_captures_only_and_waits_for_a_second_observation(tmp_path: Path) -> None:
    for name in ("c.txt.gz", "a.capture.zst", "deep/b.ndjson", "readme.md", ".hidden.ndjson", "__MACOSX/d.ndjson"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    names = ("a.capture.zst", "c.txt.gz", "deep/b.ndjson")
    first = captures.scan(tmp_path, None, NOON, 30.0)
    assert (first.finished, first.unfinished) == ((), names)
    (tmp_path / names[0]).write_text("still written")
    os.utime(tmp_path / names[1], (9e9, 9e9))  # a clock in the future; what counts is that it stays the same
    second = captures.scan(tmp_path, first.cursor(()), NOON + 30 * 10**9, 30.0)
    assert (second.finished, second.unfinished) == (names[2:], names[:2])
    third = captures.scan(tmp_path, second.cursor(second.finished), NOON + 60 * 10**9, 30.0)
    assert (third.finished, third.unfinished) == (names[:2], ())
    assert captures.scan(tmp_path, third.cursor(third.finished), NOON + 90 * 10**9, 30.0).finished == ()
    assert captures.captures_in(tmp_path / "nowhere") == []


def test_hosts_are_named_by_venue_and_market(tmp_path: Path) -> None:
    hosts = HistoryHosts(tmp_path, {"binance-spot": "http://127.0.0.1:1", "okx": "http://127.0.0.1:2"})
    assert hosts.url("binance", "spot") == "http://127.0.0.1:1"
    assert hosts.url("binance", "linear") == "https://fapi.binance.com"
    assert hosts.url("okx", "linear") == "http://127.0.0.1:2"
    assert hosts.url("deribit", "inverse") == "https://www.deribit.com/api/v2"
    for given in ("https://host", "https://host/", "https://host/api/v2"):
        other = HistoryHosts(tmp_path, {"deribit": given})
        assert other.url("deribit", "inverse") == "https://host/api/v2", "the path of requests is the venue's"


def test_timeline_draws_gaps_of_any_length(client: Client) -> None:
    pytest.importorskip("matplotlib")
    healed = gap(NOON, healed_at=NOON + 5)
    told = [
        GapResult(healed, "healed before"),
        GapResult(gap(NOON + DAY_NS // 4), "open"),
        GapResult(gap(NOON, "books"), "open"),
    ]
    assert (plots.timeline(told) or "").startswith("![gaps](data:image/png")
    assert (plots.timeline(told[:1]) or "").startswith("![gaps](data:image/png")
    assert plots.timeline([]) is None
    land(client, [])
    assert plots.closes(client, DAYS[1]) is None
    assert plots.trades_by_hour(client, DAYS[1]) is None
