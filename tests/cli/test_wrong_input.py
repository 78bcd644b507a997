"""Names, files, folders and months that do not exist: bad usage with the nearest that does, before anything runs."""

import datetime as dt
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.stores import clickhouse
from marketdata_assets.ticks import registry, tables
from marketdata_demo import sample_alphas, sample_bars
from tests.cli.commands import apart, marketdata
from tests.databases import fresh_clickhouse, fresh_postgres

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def said(run: subprocess.CompletedProcess[str]) -> str:
    """The message, without the box around it."""
    assert (run.returncode, run.stdout) == (2, ""), run.stdout + run.stderr
    return " ".join(run.stderr.replace("│", " ").split())


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder for each domain; `bars` has the year 2014, `alphas` an account, the others nothing."""
    for name in ("ticks", "captures", "flows_data/stock_daily", "alphas", "bars"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bars" / "2014_1min.zip").write_bytes(b"")
    sample_alphas.write_archive(tmp_path / "alphas", "con", months=["2024-10"], regular=1, superalphas=1)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "variables", "sentence"),
    [
        ("ingest bars", {"BARS_DIR": "bras"}, "bras' is no folder; did you mean '"),
        ("ingest bars", {"BARS_DIR": "ticks"}, "has no zip or CSV of minute bars; put them there"),
        (
            "ingest bars --months 2003-01:2003-02",
            {"BARS_DIR": "bars"},
            "is of 2003-01 to 2003-02; there are files of 2014",
        ),
        ("ingest ticks --provider files", {"TICKS_DIR": "tikcs"}, "ticks'?"),
        ("ingest ticks --provider tushre", {}, "none of tushare, yahoo, alpaca, files; did you mean 'tushare'?"),
        ("ingest ticks --start-date 1900-01-01 --end-date 1900-01-02", {}, "1900-01-01 is before 1990-12-01"),
        ("ingest ticks --start-date 2025-01-01 --end-date 2999-01-02", {}, "2999-01-02 is in the future"),
        ("symbols refresh --provider files", {"TICKS_DIR": "tikcs"}, "ticks'?"),
        ("symbols list --status lsted", {}, "'lsted' is none of listed, delisted, paused; did you mean 'listed'?"),
        ("ingest captures", {"CAPTURES_DIR": "capture"}, "captures'?"),
        ("ingest captures bars/2014_1mn.zip", {}, "is no file; did you mean '"),
        ("ingest captures --exchange binanse", {"CAPTURES_DIR": "captures"}, "did you mean 'binance'?"),
        ("ingest captures --market-type sport", {"CAPTURES_DIR": "captures"}, "did you mean 'spot'?"),
        ("replay nowhere/a.capture.zst", {}, "nowhere' is no file"),
        ("replay bars/2014_1min.zip --exchange okex", {}, "did you mean 'okx'?"),
        ("ingest alphas", {"ALPHAS_DIR": "alpha"}, "alphas'?"),
        ("ingest alphas --account cno", {"ALPHAS_DIR": "alphas"}, "did you mean 'con'?"),
        ("ingest alphas --months 2024-01", {"ALPHAS_DIR": "alphas"}, "there are files of 2024-10 to 2024-10"),
        ("flows run stock_dayly", {}, "no flow 'stock_dayly': did you mean 'stock_daily'?"),
        ("flows run stock_daily", {"FLOWS_DATA": "flows"}, "flows_data'?"),
        ("flows check stock_daily --data-dir flow", {}, "is no folder"),
        ("collect check --config collect.yaml", {}, "collect.yaml' is no file"),
        ("restore backp", {}, "backp' is no folder"),
        ("quarantine show bras", {}, "did you mean 'bars'?"),
        ("export parquet out/x --source minute", {}, "'minute' is not one of"),
        ("export parquet out/x --years 2024-2025", {}, "write 2024 or 2020:2024"),
        ("export qlib out/x --as-of 2024-02-30", {}, "'2024-02-30' does not match"),
        ("alphas login --account nobody", {}, "'nobody' is not in "),
    ],
)
def test_what_does_not_exist_is_bad_usage(
    running: LocalStack, folders: Path, command: str, variables: dict[str, str], sentence: str
) -> None:
    found = {f"MARKETDATA_{name}": folders / path for name, path in variables.items()}
    arguments = [str(folders / word) if "/" in word and not word.startswith("-") else word for word in command.split()]
    assert sentence in said(marketdata(running.settings.root, *arguments, **found))


@pytest.fixture(scope="module")
def server_with_bars(running: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with two days of one stock."""
    folder = tmp_path_factory.mktemp("bars")
    days = sample_bars.weekdays(2014)[:2]
    with zipfile.ZipFile(folder / "2014_1min.zip", "w") as archive:
        data = sample_bars.csv_bytes(sample_bars.stock_year("sh600000", "示例", days, 7))
        archive.writestr("sh600000_2014.csv", data)
    with fresh_postgres(str(running.endpoints.postgres_dsn)) as dsn:
        ingest(dsn, folder, ["2014-01"], run_id="test", fanout=Fanout(1))
        yield dsn


@pytest.mark.parametrize(
    ("symbol", "sentence"),
    [
        ("sh600000", "'SH600000' is no symbol such as 600000.SH; did you mean '600000.SH'?"),
        ("600000", "'600000' is no symbol such as 600000.SH; did you mean '600000.SH'?"),
        ("600000.XX", "did you mean '600000.SH'?"),
        ("600009.SH", "'600009.SH' is not registered (marketdata symbols refresh); did you mean '600000.SH'?"),
    ],
)
def test_a_symbol_that_does_not_exist_is_bad_usage(
    running: LocalStack, tmp_path: Path, symbol: str, sentence: str
) -> None:
    (tmp_path / "symbols.csv").write_text("600000.SH\n000001.SZ\n")
    server = str(running.endpoints.clickhouse_url).rpartition("/")[0]
    with fresh_clickhouse(server) as url:
        with clickhouse.connect(url) as client:
            tables.ensure(client)
            registry.refresh(client, None, tmp_path / "symbols.csv", None, now=NOW)
        run = marketdata(
            running.settings.root, "ingest", "ticks", "--symbols", symbol, MARKETDATA_CLICKHOUSE_URL=url,
            MARKETDATA_TICKS_DIR=tmp_path,
        )  # fmt: skip
        assert sentence in said(run)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("parquet OUT --codes sh600000", "'sh600000' is no code of a stock; did you mean '600000.SH'?"),
        ("parquet OUT --codes 600009.SH", "'600009.SH' is no stock with minutes; did you mean '600000.SH'?"),
        ("qlib OUT --codes 600009.SH", "'600009.SH' is no stock with minutes; did you mean '600000.SH'?"),
        ("parquet OUT --years 2013", "'2013': there are no bars of these years"),
        ("parquet OUT --adjust none", 'source="ticks"'),
        ("parquet OUT/a.csv", "a.csv' is a file"),
    ],
)
def test_what_an_export_cannot_have_is_bad_usage(
    running: LocalStack, server_with_bars: str, tmp_path: Path, arguments: str, sentence: str
) -> None:
    (tmp_path / "a.csv").write_text("")
    words = arguments.replace("OUT", str(tmp_path)).split()
    run = marketdata(running.settings.root, "export", *words, MARKETDATA_POSTGRES_DSN=server_with_bars)
    assert sentence in said(run)


@pytest.mark.parametrize(
    "zone",
    [
        "中国",
        *(
            pytest.param(zone, marks=pytest.mark.slow)
            for zone in ("CST-8", "XYZ-25:99", "Asia/Shangai", "../../etc/passwd")
        ),
    ],
)
def test_a_time_zone_that_python_cannot_use_stops_no_command(home: Path, zone: str) -> None:
    asked = apart(home, "doctor", TZ=zone)
    assert "Traceback" not in asked.stderr
    assert "MARKETDATA_POSTGRES_DSN" in asked.stdout
