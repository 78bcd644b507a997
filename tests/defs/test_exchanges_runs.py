"""Runs of the exchanges graph: captures and a stream into the tables, gaps healed by a venue, bars of days."""

import asyncio
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from clickhouse_connect.driver.client import Client

from marketdata_assets.cli.exchanges import tell
from marketdata_assets.cli.instance import RunOutcome
from marketdata_assets.collector.drain import claim_of
from marketdata_assets.collector.items import items, message_id, subject
from marketdata_assets.collector.jetstream.claim import claim
from marketdata_assets.collector.jetstream.reader import Batch
from marketdata_assets.collector.jetstream.stream import connected
from marketdata_assets.defs.checks import specs
from marketdata_assets.defs.exchanges import report
from marketdata_assets.defs.exchanges.days import FEED
from marketdata_assets.defs.metadata import table_schema
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.records import Gap, Ticker, Trade
from marketdata_assets.exchanges.tables import gap_backfill
from marketdata_assets.exchanges.tables.rows import insert_records
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.live_market import Happened
from tests.defs.bar_runs import failures
from tests.defs.exchange_runs import BARS, FIRST, GAPS, LAST, TABLES_STEP, TRADES, YESTERDAY, ExchangesEnv, verdicts

MS = 1_000_000
NOON = int(dt.datetime.combine(YESTERDAY, dt.time(12), dt.UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A NATS server for the module."""
    settings = Settings(home=tmp_path_factory.mktemp("nats"), nats_url=None, nats_port=0)
    with LocalStack(settings, services=("nats",)) as stack:
        assert stack.endpoints.nats_url
        yield stack.endpoints.nats_url


def checks_of(*assets: str) -> set[str]:
    return {f"{spec.asset_key.to_user_string()}:{spec.name}" for spec in specs(*assets)}


def test_no_config_names_a_file_outside_of_the_folder_of_captures(exchanges_env: ExchangesEnv) -> None:
    for field in ("files", "dumps"):
        for name in ("/etc/passwd", f"{exchanges_env.folder}/../secret.csv", "secret.csv"):
            run = exchanges_env.fill(**{field: [name]}, stream=False)
            assert not run.success
            assert f"{field}: {name} is not below {exchanges_env.folder}" in failures(run)[TABLES_STEP]
            assert "MARKETDATA_CAPTURES_DIR" in failures(run)[TABLES_STEP]


@pytest.mark.usefixtures("pictures")
def test_captures_become_tables_gaps_and_bars_with_all_checks_and_a_second_time_nothing_changes(
    exchanges_env: ExchangesEnv,
) -> None:
    written = exchanges_env.sample()
    filled = exchanges_env.fill(checks=True)
    assert filled.success, failures(filled)
    counts = exchanges_env.counts()
    assert counts["exchange_trades"] == sum(written.trades.values())
    others = {"exchange_ohlcv_1m", "exchange_instrument_states"}  # states come of the collector alone
    assert all(count for name, count in counts.items() if name not in others)
    made = exchanges_env.days(checks=True)
    assert made.success, failures(made)
    assert exchanges_env.counts()["exchange_ohlcv_1m"] == sum(written.bars.values())
    assert exchanges_env.materialized(BARS) == exchanges_env.materialized(GAPS) == {FIRST, LAST}
    found = verdicts(filled) | verdicts(made)
    assert set(found) == checks_of(*report.TABLES, "exchange_gaps", "exchange_ohlcv_1m")
    assert [name for name, passed in found.items() if not passed] == []
    trades = exchanges_env.metadata(TRADES)
    assert trades["dagster/row_count"] == trades["rows_from_captures"] == sum(written.trades.values())
    assert trades["round"]["captures"] == {"ok": len(written.files), "empty": 0, "unchanged": 0, "failed": 0}
    day = exchanges_env.metadata(BARS, LAST)
    assert (day["outcome"], day["instruments"], day["bars_with_open_gaps"]) == ("ok", 2 * len(written.files), 0)
    assert day["dagster/partition_row_count"] + exchanges_env.metadata(BARS, FIRST)[
        "dagster/partition_row_count"
    ] == sum(written.bars.values())
    gaps = exchanges_env.metadata(GAPS, LAST)
    assert (gaps["dagster/partition_row_count"], gaps["healed_before"], gaps["open"]) == (1, 1, 0)
    assert "| SMPLUSDT | depth | sequence |" in gaps["gaps"]
    pictures = (trades["trades_by_hour"], day["closes"], gaps["timeline"])
    assert all(str(picture).startswith("![") for picture in pictures)
    assert "timeline" not in exchanges_env.metadata(GAPS, FIRST)
    before = exchanges_env.counts()
    exchanges_env.patch.setattr("marketdata_assets.plotting.pyplot", lambda: None)  # a picture that is there was kept
    assert exchanges_env.fill().success
    assert exchanges_env.days(LAST, LAST).success
    assert exchanges_env.counts() == before
    assert exchanges_env.told()["captures"]["unchanged"] == len(written.files)
    assert exchanges_env.fill(force=True).success
    assert exchanges_env.metadata(TRADES)["trades_by_hour"] == trades["trades_by_hour"]


@pytest.mark.slow
def test_capture_that_cannot_be_read_is_named_and_the_others_land(exchanges_env: ExchangesEnv) -> None:
    written = exchanges_env.sample(minutes=4)
    bad = exchanges_env.folder / "binance-spot-20260101T000000.capture.zst"
    bad.write_bytes(zstandard.compress(b'{"capture": 99}'))
    result = exchanges_env.fill()
    [said] = failures(result).values()
    assert bad.name in said
    assert "1 captures or streams failed; the others are loaded" in said
    assert exchanges_env.counts()["exchange_trades"] == sum(written.trades.values())
    assert exchanges_env.told()["problems"]


def test_named_files_alone_are_loaded(exchanges_env: ExchangesEnv) -> None:
    written = exchanges_env.sample(minutes=4)
    [okx] = [path for path in written.files if path.name.startswith("okx")]
    assert exchanges_env.fill(files=[str(okx)]).success
    assert exchanges_env.rows("SELECT DISTINCT toString(exchange) FROM exchange_trades") == [("okx",)]


def test_config_that_names_no_venue_is_refused(exchanges_env: ExchangesEnv) -> None:
    exchanges_env.sample(minutes=4)
    assert "unknown value 'mtgox'; valid values: binance, " in "".join(
        failures(exchanges_env.fill(exchange="mtgox")).values()
    )


def test_without_captures_and_without_a_server_nothing_is_loaded_and_it_is_said(exchanges_env: ExchangesEnv) -> None:
    result = exchanges_env.fill()
    assert result.success, failures(result)
    assert any("NATS" in note for note in exchanges_env.told()["notes"])
    assert set(exchanges_env.counts().values()) == {0}


def test_stream_is_drained_into_the_same_rows(exchanges_env: ExchangesEnv, nats_url: str) -> None:
    exchanges_env.patch.setenv("MARKETDATA_NATS_URL", nats_url)
    sent = [trade(number) for number in range(1, 41)]
    asyncio.run(publish(nats_url, [*sent, *sent[:5]]))
    result = exchanges_env.fill(captures=False)
    assert result.success, failures(result)
    assert exchanges_env.counts()["exchange_trades"] == 40
    told = exchanges_env.metadata(TRADES)
    assert told["rows_from_stream"] >= 40
    assert told["round"]["stream"] is True
    assert exchanges_env.fill(captures=False).success
    assert exchanges_env.told()["rows"]["exchange_trades"] == 0


def test_what_was_loaded_before_the_stream_failed_is_reported(
    exchanges_env: ExchangesEnv, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(home=tmp_path / "own", nats_url=None, nats_port=0)
    with LocalStack(settings, services=("nats",)) as stack:
        server = stack.server("nats")
        exchanges_env.patch.setenv("MARKETDATA_NATS_URL", server.url)
        asyncio.run(publish(server.url, [trade(number) for number in range(1, 41)]))
        acked = Batch.ack

        async def ack(batch: Batch) -> None:
            """The server dies between the insert and the ack."""
            server.kill()
            await acked(batch)

        exchanges_env.patch.setattr(Batch, "ack", ack)
        result = exchanges_env.fill(captures=False)
    assert not result.success
    assert exchanges_env.counts()["exchange_trades"] == 40
    told = exchanges_env.told()
    assert told["rows"]["exchange_trades"] == 40
    assert len(told["problems"]) == 1
    tell(RunOutcome(False, "a run", {FEED: {"round": told}}))
    assert capsys.readouterr().out.startswith("exchanges     40 trades; 0 rejected")


def test_messages_that_are_left_in_the_stream_are_named(
    exchanges_env: ExchangesEnv, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was loaded, as the time was over: that is not nothing new."""
    told = {"rows": {}, "captures": {}, "notes": [], "problems": [], "left": 40}
    told |= {"rejected": 0, "dead_letters": 0, "seconds": 1.0}
    tell(RunOutcome(True, "a run", {FEED: {"round": told}}))
    assert capsys.readouterr().out.startswith("exchanges     nothing loaded, 40 messages left in the stream; ")


def test_table_is_materialized_only_when_something_arrived_in_it(exchanges_env: ExchangesEnv, nats_url: str) -> None:
    """Trades die while tickers flow: the freshness of the trades must see it."""
    exchanges_env.patch.setenv("MARKETDATA_NATS_URL", nats_url)
    assert exchanges_env.fill(captures=False).success
    assert all(exchanges_env.last_materialized(name) is None for name in report.TABLES)
    asyncio.run(publish(nats_url, [trade(900), ticker(900)]))
    assert exchanges_env.fill(captures=False).success
    both = {name for name in report.TABLES if exchanges_env.last_materialized(name)}
    assert both == {"exchange_trades", "exchange_tickers"}
    before = {name: exchanges_env.last_materialized(name) for name in both}
    asyncio.run(publish(nats_url, [ticker(901)]))
    result = exchanges_env.fill(captures=False, checks=True)
    assert result.success, failures(result)
    assert exchanges_env.last_materialized("exchange_trades") == before["exchange_trades"]
    assert exchanges_env.last_materialized("exchange_tickers") != before["exchange_tickers"]
    assert set(verdicts(result)) == checks_of(*report.TABLES)


@pytest.mark.slow
def test_what_the_drain_service_loads_is_recorded_and_the_stream_left_to_it(
    exchanges_env: ExchangesEnv, nats_url: str
) -> None:
    """A run that finds the stream drained by a service says so, and materializes what has arrived since."""
    exchanges_env.patch.setenv("MARKETDATA_NATS_URL", nats_url)
    assert exchanges_env.fill(captures=False).success

    async def run_beside_a_drain() -> None:
        async with connected(nats_url) as client, claim(client, claim_of("MARKET"), "marketdata drain --follow"):
            insert_records(exchanges_env.client, [trade(950)])
            result = await asyncio.to_thread(exchanges_env.fill, captures=False)
            assert result.success, failures(result)
            assert "in progress by marketdata drain --follow" in exchanges_env.told()["notes"][0]
            first = exchanges_env.last_materialized("exchange_trades")
            assert first
            assert (await asyncio.to_thread(exchanges_env.fill, captures=False)).success
            assert exchanges_env.last_materialized("exchange_trades") == first
            assert exchanges_env.last_materialized("exchange_tickers") is None

    asyncio.run(run_beside_a_drain())


def ticker(number: int) -> Ticker:
    moment = (NOON + number * 1000) * MS
    return Ticker("binance", "linear", "ABC-USDT", "ABCUSDT", moment, moment, bid="1.4", ask="1.6", update_id=number)


async def publish(url: str, records: list[Trade | Gap]) -> None:
    """Put records into the stream, as the collector does, with a client that is not ours."""
    import nats

    from marketdata_assets.collector.jetstream.stream import ensure

    await ensure(url)
    client = await nats.connect(url)
    stream = client.jetstream()
    for one in items(records):
        await stream.publish(subject(one.record), one.payload, headers={"Nats-Msg-Id": message_id(one.record)})
    await client.close()


def test_stream_that_is_away_fails_the_run_after_the_captures_landed(exchanges_env: ExchangesEnv) -> None:
    exchanges_env.patch.setenv("MARKETDATA_NATS_URL", "nats://127.0.0.1:1")
    written = exchanges_env.sample(minutes=4)
    [said] = failures(exchanges_env.fill()).values()
    assert "stream: " in said
    assert exchanges_env.counts()["exchange_trades"] == sum(written.trades.values())


def trade(number: int) -> Trade:
    """A trade as Binance's socket tells it; the test server has all of them in its history."""
    moment = (NOON + number * 1000) * MS
    about = ("binance", "linear", "ABC-USDT", "ABCUSDT")
    identity = (str(number), "1.5", "2", None, "sell", str(number), str(number))
    return Trade(*about, moment, moment + 30 * MS, *identity)  # type: ignore[arg-type]


@pytest.fixture
def venue() -> Iterator[BinanceServer]:
    with BinanceServer() as server:
        server.trades = [Happened(NOON + number * 1000, number) for number in range(1, 201)]
        yield server


def test_gap_is_healed_from_the_history_of_the_venue_and_bars_follow(
    exchanges_env: ExchangesEnv, venue: BinanceServer
) -> None:
    """Trades 81 to 120 are missing in a gap on record, 150 to 152 in none."""
    exchanges_env.patch.setenv("MARKETDATA_EXCHANGE_HOSTS", json.dumps({"binance": venue.url}))
    assert exchanges_env.fill(captures=False, stream=False).success
    there = [trade(number) for number in range(1, 201) if not (80 < number < 121 or 149 < number < 153)]
    about = ("binance", "linear", "ABC-USDT", "ABCUSDT", "aggTrade", 80, 121)
    insert_records(exchanges_env.client, [*there, Gap(*about, there[79].ts_recv, there[80].ts_recv, "reopened")])  # type: ignore[arg-type]
    without = exchanges_env.days(LAST, LAST, checks=True)
    assert verdicts(without)["exchange_gaps:none_open"] is False
    assert exchanges_env.metadata(GAPS, LAST)["open"] == 2
    assert exchanges_env.metadata(BARS, LAST)["bars_with_open_gaps"] > 0
    result = exchanges_env.days(LAST, LAST, fetch=True, checks=True)
    assert result.success, failures(result)
    assert all(verdicts(result).values())
    told = exchanges_env.metadata(GAPS, LAST)
    assert (told["healed"], told["open"], told["trades_added"], told["found_by_numbers"]) == (2, 0, 43, 0)
    assert exchanges_env.metadata(BARS, LAST)["bars_with_open_gaps"] == 0
    assert exchanges_env.rows("SELECT toInt64(sum(trades)), toFloat64(sum(volume)) FROM exchange_ohlcv_1m") == [
        (200, 400.0)
    ]


def test_venue_that_is_away_leaves_the_gap_open_and_the_bars_are_made(exchanges_env: ExchangesEnv) -> None:
    exchanges_env.patch.setenv("MARKETDATA_EXCHANGE_HOSTS", json.dumps({"binance": "http://127.0.0.1:1"}))
    exchanges_env.patch.setattr("marketdata_assets.http_client.RetryPolicy.pause", lambda *_: 0.0)
    assert exchanges_env.fill(captures=False, stream=False).success
    insert_records(exchanges_env.client, [trade(number) for number in (*range(1, 11), *range(21, 31))])
    result = exchanges_env.days(LAST, LAST, fetch=True)
    assert result.success, failures(result)
    assert exchanges_env.metadata(GAPS, LAST)["open"] == 1
    assert "times, last: " in exchanges_env.metadata(GAPS, LAST)["gaps"]
    [(reason, count)] = exchanges_env.metadata(GAPS, LAST)["open_reasons"].items()
    assert (count, "times, last: ConnectError" in reason) == (1, True)
    assert exchanges_env.materialized(BARS) == {LAST}


@pytest.mark.slow
def test_a_gap_of_a_venue_that_is_not_installed_stays_open_alone(exchanges_env: ExchangesEnv) -> None:
    assert exchanges_env.fill(captures=False, stream=False).success
    gap = Gap(
        *("binance", "linear", "ABC-USDT", "ABCUSDT", "aggTrade", 80, 121, trade(80).ts_recv, trade(121).ts_recv),
        cause="reopened",
    )
    insert_records(exchanges_env.client, [gap])
    exchanges_env.client.command(
        "INSERT INTO exchange_gaps SELECT * REPLACE ('elsewhere' AS exchange) FROM exchange_gaps"
    )
    result = exchanges_env.days(LAST, LAST, fetch=False)
    assert result.success, failures(result)
    assert exchanges_env.metadata(GAPS, LAST)["open"] == 2
    assert any("elsewhere" in reason for reason in exchanges_env.metadata(GAPS, LAST)["open_reasons"])


def test_a_day_whose_gaps_fail_costs_no_day_its_bars(exchanges_env: ExchangesEnv) -> None:
    assert exchanges_env.fill(captures=False, stream=False).success
    insert_records(exchanges_env.client, [trade(number) for number in range(1, 31)])

    def failing(client: Client, day: dt.date, hosts: object) -> gap_backfill.DayGaps:
        if str(day) == FIRST:
            raise BadMessage("elsewhere", "no gap of this day can be read")
        return backfill(client, day, None)

    backfill = gap_backfill.backfill_gaps
    exchanges_env.patch.setattr(gap_backfill, "backfill_gaps", failing)
    result = exchanges_env.days()
    assert not result.success
    assert f"{FIRST}: " in failures(result)["exchange_gaps"]
    assert exchanges_env.materialized(GAPS) == {LAST}
    assert exchanges_env.materialized(BARS) == {FIRST, LAST}
    assert exchanges_env.metadata(BARS, LAST)["trades"] == 30
    assert exchanges_env.rows("SELECT toInt64(sum(trades)) FROM exchange_ohlcv_1m") == [(30,)]


def test_server_that_is_away_fails_every_day_in_its_own_words(exchanges_env: ExchangesEnv) -> None:
    exchanges_env.patch.setenv("MARKETDATA_CLICKHOUSE_URL", "http://127.0.0.1:1/default")
    told = failures(exchanges_env.days())
    assert "ClickHouse is not answering" in told["exchange_gaps"]
    assert exchanges_env.materialized(GAPS) == set()


def test_columns_that_are_told_are_those_of_the_tables(exchanges_env: ExchangesEnv) -> None:
    exchanges_env.counts()
    for name in (*report.TABLES, "exchange_ohlcv_1m", "exchange_gaps"):
        columns = {column.name for column in table_schema(name)["dagster/column_schema"].columns}
        sql = f"SELECT name FROM system.columns WHERE table = '{name}' AND database = currentDatabase()"
        assert columns <= {row[0] for row in exchanges_env.rows(sql)}, name
