"""`marketdata ingest dumps`: a folder of downloaded files, once; what is wrong with a file is named."""

import gzip
from pathlib import Path

from marketdata_assets.local.stack import LocalStack
from tests.cli.commands import answer, marketdata
from tests.databases import fresh_clickhouse

HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
TRADE = "binance-futures,BTCUSDT,1704067200001000,1704067200008411,7,buy,100.5,2"


def test_a_folder_is_loaded_once(running: LocalStack, tmp_path: Path) -> None:
    path = tmp_path / "binance-futures_trades_2024-01-01_BTCUSDT.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{TRADE}\nodd\n".encode()))
    root = running.settings.root
    with fresh_clickhouse(str(running.endpoints.clickhouse_url).rpartition("/")[0]) as url:
        ours = {"MARKETDATA_CLICKHOUSE_URL": url}
        command = ["ingest", "dumps", str(tmp_path), "--no-fetch"]
        loaded = answer(marketdata(root, *command, "--json", **ours))
        assert (loaded["rows"]["exchange_trades"], loaded["dead_letters"], loaded["captures"]["ok"]) == (1, 1, 1)
        again = marketdata(root, *command, **ours)
        assert "dumps: 1 unchanged" in again.stdout
        rejected = answer(marketdata(root, "quarantine", "show", "exchanges", "--json", **ours))
        assert any("line 3" in str(one) for one in rejected["rows"]), rejected
        (tmp_path / "prices.csv").write_text("a,b\n")
        failed = marketdata(root, *command, **ours)
        assert (failed.returncode, "prices.csv" in failed.stderr) == (1, True), failed.stderr
        empty = tmp_path / "empty"
        empty.mkdir()
        wrong = marketdata(root, "ingest", "dumps", str(empty), **ours)
        assert (wrong.returncode, "no file below" in " ".join(wrong.stderr.split())) == (2, True), wrong.stderr
