"""`marketdata ingest history`: past days of an instrument, once; wrong names and days are bad usage."""

import datetime as dt
import json
from pathlib import Path

from marketdata_assets.local.stack import LocalStack
from marketdata_demo.venues.binance_venue import BinanceServer
from marketdata_demo.venues.live_market import Happened
from tests.cli.commands import answer, marketdata
from tests.databases import fresh_clickhouse

DAY = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=2)
NOON = int(dt.datetime.combine(DAY, dt.time(12), dt.UTC).timestamp() * 1000)


def test_history_status_and_wrong_input(running: LocalStack, tmp_path: Path) -> None:
    root = running.settings.root
    with (
        fresh_clickhouse(str(running.endpoints.clickhouse_url).rpartition("/")[0]) as url,
        BinanceServer() as venue,
    ):
        venue.trades = [Happened(NOON + number * 1000, number) for number in range(1, 31)]
        ours = {"MARKETDATA_CLICKHOUSE_URL": url, "MARKETDATA_EXCHANGE_HOSTS": json.dumps({"binance": venue.url})}
        command = ["ingest", "history", "--exchange", "binance", "--instruments", "ABCUSDT", "--market-type", "linear"]
        command += ["--source", "rest", "--first", str(DAY)]
        loaded = marketdata(root, *command, "--last", str(DAY), "--types", "klines,trades", "--json", **ours)
        assert loaded.returncode == 0, loaded.stderr
        told = answer(loaded)["exchange_history"]
        assert (told["rows"], told["ok"], told["failed"]) == (1470, 2, 0)
        assert (answer(loaded)["checks_passed"], answer(loaded)["checks_failed"]) == (2, [])
        again = marketdata(root, *command, "--last", str(DAY), **ours)
        assert "0 rows, 0 rejected; days of streams: 2 unchanged" in again.stdout
        status = answer(marketdata(root, "status", "--json", **ours))
        [row] = [row for row in status["assets"] if row["asset"] == "exchange_history"]
        assert (row["rows"], row["ok"]) == (1470, 2)
        for options, message in (
            (("--types", "ticker"), "no venue has a history of 'ticker'"),
            (("--last", "2000-01-01"), "is not from 2017-01-01 to yesterday"),
            (("--source", "dump"), "'dump' is none of auto, archive, rest"),
        ):
            wrong = marketdata(root, *command, *options, **ours)
            assert (wrong.returncode, message in " ".join(wrong.stderr.split())) == (2, True), wrong.stderr
