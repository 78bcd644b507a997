"""Ten deliveries as vendors send them, each from file to table by the printed commands, without a line lost.

The definition is made of a sample; a person adds where the files come from, if they are elsewhere.
"""

import datetime as dt
import gzip
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from marketdata_assets.local.stack import LocalStack
from tests.cli.commands import marketdata

Command = Callable[..., Any]
DAYS = [dt.date(2024, 1, 2) + dt.timedelta(days=number) for number in range(30)]


@pytest.fixture
def here(running: LocalStack, database: str, tmp_path: Path) -> Command:
    """`marketdata` in an empty folder, on the running stack with a database of its own."""

    def run(*arguments: str, **variables: str) -> Any:
        own = {"MARKETDATA_FLOWS_DIR": tmp_path / "flows", "MARKETDATA_FLOWS_DATA": tmp_path / "data"}
        ended = marketdata(
            running.settings.root,
            *arguments,
            MARKETDATA_POSTGRES_DSN=database,
            MARKETDATA_WORKERS=1,
            **own,
            **variables,
        )
        assert ended.returncode == 0, ended.stderr
        return ended

    return run


def lines(header: str, row: str) -> str:
    return "\n".join([header, *(row.format(day=day, n=n) for n, day in enumerate(DAYS)), ""])


def chinese_zip(files: dict[str, bytes]) -> bytes:
    """A zip with names in GBK and no flag that says so, as Chinese tools write it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for letter, (name, data) in zip("xyz", files.items(), strict=False):
            archive.writestr(letter * len(name.encode("gbk")), data)
    packed = out.getvalue()
    for letter, name in zip(b"xyz", files, strict=False):
        raw = name.encode("gbk")
        packed = packed.replace(bytes([letter]) * len(raw), raw, 2)
    return packed


def gbk(code: str) -> bytes:
    text = lines(
        "注意：数据仅供研究\n股票代码,股票名称,交易日期,收盘价,成交量", f"{code},浦发银行,{{day}},1{{n}}.25,1{{n}}00"
    )
    return text.encode("gb18030")


def workbook() -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("fastexcel")
    book = openpyxl.Workbook()
    book.active.append(["Fund report"])
    book.active.append(["Fund", "Date", "NAV"])
    for n, day in enumerate(DAYS):
        book.active.append(["F001", day, 1 + n / 100])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def tar_of_tabs() -> bytes:
    data = lines("ticker\tdate\tclose", "XYZ\t{day:%d.%m.%Y}\t1,{n:03}.50").encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("./out/eod.tsv")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


JSONL = "".join(
    json.dumps({"s": "BTC", "q": {"t": f"{day}T08:00:00+08:00", "p": n + 0.1}}) + "\n" for n, day in enumerate(DAYS)
)
DELIVERIES: dict[str, tuple[str, str | bytes, str, tuple[Any, ...]]] = {
    "gbk": ("日线.zip", chinese_zip({"浦发银行.csv": gbk("sh600000"), "平安.csv": gbk("sz000001")}),
            "SELECT count(*), min(name), max(close) FROM gbk", (60, "浦发银行", Decimal("129.2500"))),
    "headerless": ("trades.csv", "".join(f"BTC,17041626{n:02}123,{n}.5\n" for n in range(30)),
                   "SELECT count(*), max(column_3), max(column_2) FROM headerless",
                   (30, Decimal("29.5000"), dt.datetime(2024, 1, 2, 2, 30, 29, 123000, dt.UTC))),
    "named": ("AAPL.csv", lines("Date,Close", "{day},18{n}.5"),
              "SELECT count(*), min(symbol), max(date) FROM named", (30, "AAPL", DAYS[-1])),
    "epochs": ("ticks.csv", lines("code,time,price", "A,17041626{n:02},{n}.125"),
               "SELECT count(*), min(time), max(price) FROM epochs",
               (30, dt.datetime(2024, 1, 2, 2, 30, tzinfo=dt.UTC), Decimal("29.1250"))),
    "units": ("资金.csv", lines("代码,日期,成交额,涨跌幅", "000001,{day},{n}.5亿,-1.{n:02}%"),
              "SELECT count(*), max(amount), min(pct_change) FROM units",
              (30, Decimal("2950000000.0000"), Decimal("-0.012900"))),
    "nested": ("2024.zip", chinese_zip({"一月.zip": chinese_zip({"A.csv": gbk("A")})}),
               "SELECT count(*), sum(volume) FROM nested", (30, Decimal(253500))),
    "excel": ("nav.xlsx", b"", "SELECT count(*), max(nav) FROM excel", (30, Decimal("1.2900"))),
    "tabs": ("eod.tar.gz", tar_of_tabs(), "SELECT count(*), max(close) FROM tabs", (30, Decimal("1029.5000"))),
    "lines": ("quotes.jsonl.gz", gzip.compress(JSONL.encode()), "SELECT count(*), min(q_t), max(q_p) FROM lines",
              (30, dt.datetime(2024, 1, 2, tzinfo=dt.UTC), Decimal("29.1000"))),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name == "gbk" else pytest.param(name, marks=pytest.mark.slow) for name in DELIVERIES]
)
def test_a_delivery_becomes_a_table(name: str, here: Command, tmp_path: Path, database: str) -> None:
    file, data, query, expected = DELIVERIES[name]
    folder = tmp_path / "delivery"
    folder.mkdir()
    path = folder / file
    path.write_bytes(workbook() if name == "excel" else data if isinstance(data, bytes) else data.encode())
    here("flows", "new", name, "--from", str(path))
    shown = json.loads(here("flows", "preview", name, "--file", str(path), "--json").stdout)
    assert shown["steps"][0]["count"] == 30
    loaded = json.loads(here("flows", "run", name, "--data-dir", str(folder), "--json").stdout)
    assert (loaded["rows"], loaded["rejected"], loaded["files_failed"]) == (expected[0], 0, 0)
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        assert connection.execute(query.encode()).fetchone() == expected


def test_parquet_of_a_bucket_becomes_a_table(here: Command, tmp_path: Path, database: str) -> None:
    moto, s3fs = pytest.importorskip("moto.server"), pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        bucket = s3fs.S3FileSystem(key="k", secret="s", endpoint_url=url, skip_instance_cache=True)
        bucket.mkdir("deliveries")
        sample = tmp_path / "bars.parquet"
        pl.DataFrame({"symbol": ["A"] * 30, "day": DAYS, "close": [n + 0.25 for n in range(30)]}).write_parquet(sample)
        bucket.put_file(str(sample), "deliveries/2024/bars.parquet")
        here("flows", "new", "bucket", "--from", str(sample))
        with (tmp_path / "flows" / "bucket" / "defs.yaml").open("a") as definition:
            definition.write(
                f"\n  source:\n    url: s3://deliveries/\n    options: {{endpoint_url: '{url}'}}\n"
                "    secrets: {key: S3_KEY, secret: S3_SECRET}\n"
            )
        here("flows", "run", "bucket", S3_KEY="k", S3_SECRET="s")
    finally:
        server.stop()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*), max(close) FROM bucket").fetchone() == (30, 29.25)


@pytest.fixture
def api() -> Iterator[str]:
    """Pages of ten rows, each with the cursor of the next."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first = int(self.path.partition("after=")[2] or 0)
            items = [{"s": "A", "d": str(DAYS[n]), "p": n + 0.1} for n in range(first, first + 10)]
            following = first + 10 if first < 20 else None
            body = json.dumps({"data": {"items": items, "next": following}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/candles"
        server.shutdown()
        thread.join()


def test_the_pages_of_an_api_become_a_table(here: Command, api: str, tmp_path: Path, database: str) -> None:
    sample = tmp_path / "page.json"
    sample.write_text(json.dumps({"data": {"items": [{"s": "A", "d": "2024-01-02", "p": 0.1}], "next": 1}}))
    here("flows", "new", "candles", "--from", str(sample))
    with (tmp_path / "flows" / "candles" / "defs.yaml").open("a") as definition:
        definition.write(
            f"\n  source:\n    api:\n      url: {api}\n      cursor: {{param: after, next: data.next}}\n"
            "      rate: {requests: 1000, per_seconds: 1}\n"
        )
    here("flows", "run", "candles")
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*), max(p) FROM candles").fetchone() == (30, Decimal("29.1000"))
