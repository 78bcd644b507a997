"""Every parser of a person's file and of a server's answer, as targets of `bench.fuzzing`.

Files are changed before they are packed, and after. The parsers of the venues are those of `bench.fuzzing`.
"""

import asyncio
import bz2
import datetime as dt
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import openpyxl
import polars as pl
import zstandard

from bench.fuzz_mutations import mutated
from bench.fuzzing import Target, targets
from marketdata_assets import config_files
from marketdata_assets.alphas import accounts, api_requests, documents, files, raw_files, record_sets
from marketdata_assets.alphas.errors import AlphasError
from marketdata_assets.alphas.layout import month_window
from marketdata_assets.backup import files as backup
from marketdata_assets.bars import profiles
from marketdata_assets.bars import unit as bars
from marketdata_assets.budget import Budget, FileStore
from marketdata_assets.collector import config, servers, shard_files, stream_losses
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.jetstream import inspection, nats_connection
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.errors import MarketDataError, TerminalError
from marketdata_assets.exchanges import archive
from marketdata_assets.exchanges.errors import BadArchive, ExchangesError
from marketdata_assets.exchanges.tables.dumps import Catalogue
from marketdata_assets.exchanges.tardis import records
from marketdata_assets.flows import definition, sample
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.reading import frames, raw_rows
from marketdata_assets.http_client import HttpClient, RetryPolicy
from marketdata_assets.loading import text_table
from marketdata_assets.loading.errors import LoadError
from marketdata_assets.loading.files import Opener, Unit, file_at, units_of
from marketdata_assets.loading.rejects import Rejects
from marketdata_assets.reference import files as reference
from marketdata_assets.reference.errors import BadReferenceFile
from marketdata_assets.reference.tables import TABLES
from marketdata_assets.ticks import alpaca, providers_file, registry, tushare, yahoo
from marketdata_assets.ticks.errors import TicksError
from marketdata_assets.ticks.files import Files
from marketdata_assets.ticks.provider_client import ProviderClient, rate_limiter
from marketdata_demo import sample_bars

Pack = Callable[[bytes], bytes]

CSV = b'Symbol,Date,Close\nA,2024-01-02,10.5\nB,2024-01-03,"1,000.25"\n\xe4\xb8\xad,20240104,-0.3\n'
ROWS = [{"Symbol": "A", "Date": "2024-01-02", "Close": 10.5}, {"Symbol": "B", "Date": "2024-01-03", "Close": None}]
JSON = [
    json.dumps(ROWS).encode(),
    b'[["Symbol","Date","Close"],["A","2024-01-02",1.5]]',
    b'{"A":[{"Symbol":"A","Date":"2024-01-02","Close":1}]}',
    b'{"Symbol":["A"],"Date":["2024-01-02"],"Close":[1e3]}',
    b'{"Symbol":{"0":"A","1":"B"},"Date":{"0":"2024-01-02","1":"x"},"Close":{"0":NaN,"1":2}}',
]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
PAGE = (
    b"<html><meta charset=gb2312><table><tr><td><table><tr><th>Symbol<th>Date<th>Close<tr><td colspan=2>A<td>1"
    b"<tr><td rowspan=2>B<td>2<tr><td>3</table></table></html>"
)
FIXED = b"A    2024-01-0210.5\nB    2024-01-03 1.5\n"
TICKS = b"symbol,ts,open,high,low,close,volume,turnover\n600000.SH,2025-06-02 09:31:00,9.4,9.5,9.3,9.45,1200,11340.5\n"
REFERENCE = {
    "trading_calendar": b"date,is_open\n2024-01-02,1\n2024-01-03,0\n",
    "instruments": b"symbol,name,listed,delisted,status,board,lot\n600000.SH,x,1999-11-10,,listed,main,100\n",
    "adjust_factors": b"symbol,date,factor\n600000.SH,2024-01-02,1.5\n",
    "price_limits": b"symbol,date,up,down\n600000.SH,2024-01-02,10.5,9.5\n",
}
FLOW = """
loader:
  {{folder: ., glob: '*', format: {format}, columns: {columns}, types: {{day: date, close: "numeric(16,4)"}}{more}}}
target: {{table: t, columns: {{symbol: text, day: date, close: "numeric(16,4)"}}, key: [symbol, day], mode: upsert}}
"""
NAMED = "{Symbol: symbol, Date: day, Close: close}"
PACKED: dict[str, Pack] = {
    "csv.gz": partial(gzip.compress, compresslevel=1, mtime=0),
    "csv.zst": zstandard.compress,
    "zip": lambda raw: zipped({"a.csv": raw, "b.csv": CSV}),
    "bzip2.zip": lambda raw: zipped({"a.csv": raw}, zipfile.ZIP_BZIP2),
    "lzma.zip": lambda raw: zipped({"a.csv": raw}, zipfile.ZIP_LZMA),
    "zips.zip": lambda raw: zipped({"in.zip": zipped({"a.csv": raw}), "b.csv": CSV}),
    "tar": lambda raw: tarred(raw),
    "tar.gz": lambda raw: gzip.compress(tarred(raw), 1, mtime=0),
    "tar.bz2": lambda raw: bz2.compress(tarred(raw), 1),
    "tar.xz": lambda raw: lzma.compress(tarred(raw), preset=0),
    "tar.zst": lambda raw: zstandard.compress(tarred(raw)),
}
YAML_SEEDS = (
    *(b"a: 2024-02-30", b'a: !!int "1"', b"a: &x [1]\nb: *x\n<<: {c: 1}", b"? [a]\n: 1", b"a: !!timestamp 2024-01-01"),
    *(b"a: 0x1f\nb: 1:30\nc: .inf\nd: ~\ne: !!binary aGk=\nf: !!set {a}\ng: !!omap [a: 1]", b"- |\n  text\n- >\n  x"),
)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method, compresslevel=1) as packed:
        for name, data in members.items():
            packed.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def tarred(raw: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        info = tarfile.TarInfo("folder/a.csv")
        info.size = len(raw)
        packed.addfile(info, io.BytesIO(raw))
    return out.getvalue()


def workbook() -> bytes:
    out, book = io.BytesIO(), openpyxl.Workbook()
    for row in [["Symbol", "Date", "Close"], ["A", dt.date(2024, 1, 2), 10.5], ["B", "2024-01-03", 7]]:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def parquet() -> list[bytes]:
    frame = pl.DataFrame(
        {
            "Symbol": ["A", "B"] * 50,
            "Date": [dt.date(2024, 1, 2)] * 100,
            "Close": [10.5, None] * 50,
            "x": [[1], None] * 50,
        }
    )
    found = []
    for compression in ("zstd", "snappy", "uncompressed"):
        out = io.BytesIO()
        frame.write_parquet(out, compression=compression)  # type: ignore[arg-type]
        found.append(out.getvalue())
    return found


def every(fixtures: Path | None, scratch: Path) -> list[Target]:
    """All targets; `scratch` is a folder that they write in."""
    return [
        *_configs(scratch),
        *_flows(scratch),
        *_bars(scratch),
        *_ticks(scratch, fixtures),
        *_reference(scratch),
        *_alphas(scratch, fixtures),
        *_others(scratch),
        *_archives(scratch),
        *_collector(scratch),
        *targets(fixtures, scratch),
    ]


def written(path: Path, raw: bytes) -> Any:
    path.write_bytes(raw)
    return file_at(path)


def changed(pack: Pack, raw: bytes, random: Random) -> bytes:
    """The bytes packed, and in one of two cases changed again."""
    packed = pack(raw)
    return mutated(packed, random, [packed]) if random.random() < 0.5 else packed


def drained(items: Iterable[object]) -> None:
    for _ in items:
        pass


def of_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes, Random], None]:
    """What reads a file, given its bytes."""
    path.touch(0o600)

    def take(raw: bytes, _: Random) -> None:
        path.write_bytes(raw)
        read(path)

    return take


def _configs(scratch: Path) -> list[Target]:
    flow = FLOW.format(format="csv", columns=NAMED, more="").encode()
    people = b'[{"user_key": "lk", "description": "first", "enabled": false}, {"key": "a.b"}]'
    files_ = {
        "collector.yaml": (config.read, [config.shipped().encode(), *YAML_SEEDS]),
        "providers.yaml": (
            providers_file.read,
            [Path(providers_file.__file__).with_name("providers.yaml").read_bytes(), *YAML_SEEDS],
        ),
        "defs.yaml": (definition.read, [flow, b"type: x\nattributes:\n" + flow.replace(b"\n", b"\n  "), *YAML_SEEDS]),
        "bars.yaml": (profiles.read, [Path(profiles.__file__).with_name("bars.yaml").read_bytes(), *YAML_SEEDS]),
        "secrets.yaml": (servers.read_secrets, [b"nats_url: nats://x\ntoken: y\n", *YAML_SEEDS]),
        "accounts.json": (accounts.read, [people]),
    }
    found = [
        Target(f"config {name}", of_file(scratch / name, read), seeds, (InvalidConfigFile,))
        for name, (read, seeds) in files_.items()
    ]
    parse = lambda raw, _: config_files.parse_json(raw.decode("utf-8", "replace"), "f")  # noqa: E731
    return [*found, Target("config json", parse, [people, *JSON], (InvalidConfigFile,))]


def _flows(scratch: Path) -> list[Target]:
    allowed = (LoadError, FlowError)

    def reads(name: str, flow: str, pack: Pack) -> Callable[[bytes, Random], None]:
        found = definition.parse(flow)

        def take(raw: bytes, random: Random) -> None:
            file = written(scratch / f"flow.{name}", changed(pack, raw, random) if pack is not bytes else raw)
            with Opener() as opener:
                for unit in units_of(file):
                    rejects = Rejects()
                    try:
                        with frames(opener, unit, found, rejects) as (read, _):
                            drained(read)
                    except allowed:
                        continue
                    if rejects.reasons:
                        raw_rows(opener, unit, found, {*rejects.reasons})

        return take

    def sheet(raw: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(workbook())) as before, zipfile.ZipFile(out, "w") as after:
            for one in before.namelist():
                after.writestr(zipfile.ZipInfo(one), raw if one.endswith("sheet1.xml") else before.read(one))
        return out.getvalue()

    with zipfile.ZipFile(io.BytesIO(workbook())) as book:
        xml = book.read("xl/worksheets/sheet1.xml")
    as_csv = FLOW.format(format="csv", columns=NAMED, more="")
    as_excel = FLOW.format(format="excel", columns=NAMED, more="")
    kinds: list[tuple[str, str, Pack, Sequence[bytes]]] = [
        ("csv", as_csv, bytes, [CSV]),
        ("gbk.csv", FLOW.format(format="csv", columns=NAMED, more=", encoding: gb18030"), bytes, [CSV]),
        (
            "utf16.csv",
            FLOW.format(format="csv", columns=NAMED, more=", encoding: utf-16"),
            bytes,
            [CSV.decode().encode("utf-16"), CSV],
        ),
        (
            "txt",
            FLOW.format(
                format="fixed_width",
                columns="{1: symbol, 2: day, 3: close}",
                more=", header: false, widths: [5, 10, 4]",
            ),
            bytes,
            [FIXED],
        ),
        ("jsonl", FLOW.format(format="json_lines", columns=NAMED, more=""), bytes, [LINES]),
        ("json", FLOW.format(format="json", columns=NAMED, more=""), bytes, JSON),
        ("parquet", FLOW.format(format="parquet", columns=NAMED, more=""), bytes, parquet()),
        ("xlsx", as_excel, bytes, [workbook()]),
        ("sheet.xlsx", as_excel, sheet, [xml]),
        ("xls", as_excel, bytes, [PAGE]),
        *((name, as_csv, pack, [CSV]) for name, pack in PACKED.items()),
    ]
    found = [Target(f"flow {name}", reads(name, flow, pack), seeds, allowed) for name, flow, pack, seeds in kinds]
    samples = {"csv": [CSV], "json": JSON, "jsonl": [LINES], "parquet": parquet(), "xlsx": [workbook()], "xls": [PAGE]}
    of_samples = [
        Target(f"sample {suffix}", of_file(scratch / f"sample.{suffix}", sample.read), seeds, (LoadError,))
        for suffix, seeds in samples.items()
    ]
    return [*found, *of_samples]


def _bars(scratch: Path) -> list[Target]:
    text = sample_bars.csv_bytes(sample_bars.stock_year("sh600000", "name", [dt.date(2024, 1, 5)], 7))
    short = b"\n".join(text.splitlines()[:6]) + b"\n"

    def take(raw: bytes, random: Random) -> None:
        name = "sh600000_2024.csv"
        packed = changed(lambda one: zipped({name: one}), raw, random)
        with Opener() as opener:
            for unit in units_of(written(scratch / "2024_1min.zip", packed)):
                bars.parse(opener, unit, None)

    def loose(suffix: str) -> Callable[[bytes, Random], None]:
        def read(raw: bytes, _: Random) -> None:
            with Opener() as opener:
                for unit in units_of(written(scratch / f"sh600000_2024{suffix}", raw)):
                    bars.parse(opener, unit, None)

        return read

    table = pl.read_csv(short, infer_schema=False)
    parquet, feather, excel = io.BytesIO(), io.BytesIO(), openpyxl.Workbook()
    table.write_parquet(parquet)
    table.write_ipc(feather)
    for row in (table.columns, *table.iter_rows()):
        excel.active.append(row)
    excel.save(workbook := io.BytesIO())
    exported = "600000 浦发银行 1分钟线 前复权\n日期\t时间\t开盘\t最高\t最低\t收盘\t成交量\t成交额\n".encode("gbk")
    exported += b"2024/01/05\t0931\t9.40\t9.50\t9.30\t9.45\t1200\t11340.50\n"
    files = {
        ".csv": short,
        ".csv.gz": gzip.compress(short),
        ".parquet": parquet.getvalue(),
        ".feather": feather.getvalue(),
        ".xlsx": workbook.getvalue(),
        ".txt": exported,
    }
    found = [Target(f"bars {suffix[1:]}", loose(suffix), [seed], (LoadError,)) for suffix, seed in files.items()]
    return [Target("bars zip", take, [short], (LoadError,)), *found]


def _ticks(scratch: Path, fixtures: Path | None) -> list[Target]:
    section = providers_file.shipped()
    assert section.files
    assert section.yahoo
    assert section.tushare
    source = Files(scratch, section.files)

    def dropped(suffix: str) -> Callable[[bytes, Random], None]:
        return lambda raw, _: (  # type: ignore[return-value]
            source.of_bars.content(written(scratch / f"ticks{suffix}", raw)),
            source.of_books.spans(written(scratch / f"ticks{suffix}", raw)),
        )

    out = io.BytesIO()
    pl.read_csv(TICKS).write_parquet(out)
    limiter = rate_limiter("yahoo", section.yahoo, scratch / "provider")
    calls = ProviderClient("yahoo", "http://127.0.0.1:9", limiter, section.yahoo.network)
    minutes = b'{"request_id":"x","code":0,"msg":"","data":{"fields":["ts_code","trade_time","open"],"items":[["600000.SH","2025-06-02 09:31:00",9.4]],"has_more":false}}'  # noqa: E501
    chart = b'{"chart":{"result":[{"meta":{"currency":"CNY","symbol":"600000.SS","dataGranularity":"1m"},"timestamp":[1748828400],"indicators":{"quote":[{"open":[9.4],"high":[9.5],"low":[9.3],"close":[9.4],"volume":[1200]}]}}],"error":null}}'  # noqa: E501
    recorded = {
        name: [one.read_bytes() for one in sorted((fixtures / name).rglob("*.json"))] if fixtures else []
        for name in ("tushare", "yahoo")
    }
    columns = ("ts_code", "trade_time", "open")
    return [
        Target("ticks csv", dropped(".csv"), [TICKS], (TicksError, LoadError)),
        Target(
            "ticks csv.gz",
            lambda raw, random: dropped(".csv.gz")(changed(gzip.compress, raw, random), random),
            [TICKS],
            (TicksError, LoadError),
        ),
        Target("ticks parquet", dropped(".parquet"), [out.getvalue()], (TicksError, LoadError)),
        Target(
            "tushare",
            answered(lambda response: tushare._parse(calls, "stk_mins", "x", columns, response)),
            [minutes, *recorded["tushare"]],
            (MarketDataError,),
        ),
        Target(
            "yahoo",
            answered(lambda response: yahoo._parse(calls, "600000.SS", "x", response)),
            [chart, *recorded["yahoo"]],
            (MarketDataError,),
        ),
        Target(
            "alpaca",
            answered(lambda response: alpaca._parse(calls, "AAPL", "x", response)),
            [b'{"bars":{"AAPL":[{"t":"2025-06-02T13:30:00Z","o":9.4,"h":9.5,"l":9.3,"c":9.4,"v":1200}]}}'],
            (MarketDataError,),
        ),
    ]


def answered(parse: Callable[[httpx.Response], object]) -> Callable[[bytes, Random], None]:
    """An answer as the client of every API takes it, of any status."""
    client, loop = HttpClient("http://127.0.0.1:9", RetryPolicy()), asyncio.new_event_loop()

    def take(raw: bytes, random: Random) -> None:
        status = random.choice((200, 200, 200, 404, 429, 500))
        response = httpx.Response(status, content=raw, request=httpx.Request("GET", "http://127.0.0.1:9/"))
        loop.run_until_complete(client.parsed(parse, response))

    return take


def _reference(scratch: Path) -> list[Target]:
    found = [
        Target(
            f"reference {name}",
            of_file(scratch / f"{name}.csv", lambda path: reference._read(path, TABLES[path.stem])),
            [text],
            (BadReferenceFile,),
        )
        for name, text in REFERENCE.items()
    ]
    table = lambda raw, _: text_table.read(Unit(written(scratch / "table.csv", raw)))  # noqa: E731
    return [*found, Target("text table", table, [CSV, TICKS], (LoadError,))]  # type: ignore[arg-type]


def _alphas(scratch: Path, fixtures: Path | None) -> list[Target]:
    alpha = b'{"id":"A1b2C3d","type":"REGULAR","dateCreated":"2024-11-05T09:30:00-05:00","is":{"pnl":1.5}}'
    recorded = [one.read_bytes() for one in sorted((fixtures / "brain").rglob("*.json"))] if fixtures else []
    page = b'{"count":1,"next":null,"results":[' + alpha + b"]}"
    pnl = b'{"schema":{"name":"pnl","properties":[{"name":"date","type":"date"},{"name":"pnl","type":"amount"}]},"records":[["2024-01-02",1.5]]}'  # noqa: E501
    read = {
        "page": (api_requests.decode_page, [page, *recorded]),
        "alpha": (api_requests.decode_alpha, [alpha, *recorded]),
        "authentication": (
            api_requests.decode_authentication,
            [b'{"user":{"id":"x"},"token":{"expiry":14400.0}}', *recorded],
        ),
        "records": (record_sets.decode_records, [pnl]),
        "check": (
            record_sets.decode_check,
            [b'{"is":{"checks":[{"name":"LOW_SHARPE","result":"PASS","limit":1.25,"value":2}]}}'],
        ),
        "reason": (
            lambda raw: api_requests.reason(httpx.Response(400, content=raw)),
            [b'{"detail":"x"}', b'{"limit":["a"]}', *recorded],
        ),
    }

    def package(raw: bytes, random: Random) -> None:
        suffix, data = random.choice(((".ndjson", raw), (".ndjson.zst", changed(zstandard.compress, raw, random))))
        path = scratch / f"2024-11-05{suffix}"
        path.write_bytes(data)
        drained(files.read_package(path))

    def document(raw: bytes, _: Random) -> None:
        documents.read(raw, "regular")

    def element(raw: bytes, _: Random) -> None:
        raw_files.alpha_of(raw, month_window("2024-11").start)

    def raw_file(raw: bytes, random: Random) -> None:
        raw_files.elements(raw, "x_all_regular_alphas.json", random.random() < 0.5)

    return [
        *(
            Target(f"brain {name}", answered(lambda response, decode=decode: decode(response.content)), seeds)
            for name, (decode, seeds) in read.items()
        ),  # type: ignore[misc]
        Target("alphas package", package, [alpha + b"\n" + alpha + b"\n"], (LoadError,)),
        Target("alphas document", document, [alpha, *recorded], (documents.Rejected,)),
        Target("alphas element", element, [alpha, *recorded], (raw_files.NoAlpha,)),
        Target(
            "alphas raw file",
            raw_file,
            [b"[" + alpha + b"," + alpha + b"]", alpha, *recorded],
            (LoadError, AlphasError),
        ),
    ]


def _others(scratch: Path) -> list[Target]:
    """A list of symbols, the manifest of a backup, and where a flow's API continues."""
    (scratch / "backup").mkdir(exist_ok=True)

    listed = of_file(scratch / "symbols.csv", registry.read)
    manifest = of_file(scratch / "backup" / backup.MANIFEST, lambda path: backup.read(path.parent))
    one = backup.Relation("postgres", "t", 1, "1", ["a"], "CREATE TABLE t (a int)", [backup.Piece("t", 1, "00")])
    empty = backup.Manifest(backup.FORMAT, "2026-01-01", [one])
    sealed = msgspec.structs.replace(empty, sha256=empty.seal)
    return [
        Target("symbols file", listed, [b'symbol,name\n600000.SH,"a b"\n000001.SZ,,1991-04-03\n'], (TicksError,)),
        Target("backup manifest", manifest, [msgspec.json.encode(sealed)], (TerminalError,)),
    ]


def _archives(scratch: Path) -> list[Target]:
    trades = b"1,10.5,0.1,1.05,1700000000000,True\n2,10.6,0.1,1.06,1700000000001,False\n"
    lines = b"exchange,symbol,timestamp,local_timestamp,id,side,price,amount\nderibit,BTC-PERPETUAL,1700000000000000,1700000000000001,1,buy,2,30\n"  # noqa: E501

    def downloaded(raw: bytes, random: Random) -> None:
        drained(archive.csv_lines(io.BytesIO(changed(lambda one: zipped({"a.csv": one}), raw, random)), "a.zip"))

    catalogue = Catalogue(None)

    def dump(raw: bytes, _: Random) -> None:
        drained(records("trades", raw.splitlines(keepends=True), catalogue.of_tardis))

    verify = lambda raw, _: archive.verify("https://x/a.zip", "0" * 64, raw)  # noqa: E731
    return [
        Target("venue archive", downloaded, [trades], (BadArchive,)),
        Target("venue checksum", verify, [b"0" * 64 + b"  a.zip\n"], (BadArchive,)),
        Target("tardis", dump, [lines], (ExchangesError,)),
    ]


def _collector(scratch: Path) -> list[Target]:
    class Nats(nats_connection.NatsConnection):
        """A connection whose server says the given bytes."""

    def says(raw: bytes, random: Random) -> None:
        async def hear() -> None:
            one = Nats(nats_connection.Address.of("nats://127.0.0.1:4222"), lambda messages: None, 1e9)
            one.connection_made(_NoTransport())
            for _ in range(random.choice((1, 3))):
                at = random.randrange(len(raw) + 1)
                one.data_received(raw[:at])
                one.data_received(raw[at:])

        asyncio.run(hear())

    class Client:
        def __init__(self, raw: bytes) -> None:
            self.data = raw

        async def request(self, *_: object, **__: object) -> "Client":
            return self

    def asks(raw: bytes, _: Random) -> None:
        client: Any = Client(raw)
        asyncio.run(inspection.message_from(client, "S", "a.>", 1))

    def state(raw: bytes, _: Random) -> None:
        client: Any = Client(raw)
        asyncio.run(inspection.stream_state(client, "S"))

    def budget(raw: bytes, _: Random) -> None:
        for path in (scratch / "budgets").glob("*"):
            path.write_bytes(raw)
        FileStore(scratch / "budgets").take_now(limit)

    moments = of_file(scratch / "checkpoint.json", lambda path: shard_files.Checkpoint(path).read())
    limit = Budget(scratch / "budgets", "x", 1000.0, 1000)
    FileStore(scratch / "budgets").take_now(limit)
    info = b'INFO {"server_id":"x","max_payload":1048576,"headers":true}\r\n'
    heard = (
        info
        + b"PING\r\nPONG\r\n+OK\r\nMSG a.b 1 5\r\nhello\r\nHMSG a.b 1 r 12 17\r\nNATS/1.0\r\n\r\nhello\r\n-ERR 'x'\r\n"
    )
    message = b'{"message":{"subject":"a","seq":5,"data":"aGVsbG8=","time":"2026-01-02T03:04:05.123456789Z"}}'
    stream = b'{"config":{"subjects":["a.>"]},"created":"2026-01-02T03:04:05Z","state":{"messages":1,"bytes":10,"first_seq":1,"last_seq":1,"first_ts":"2026-01-02T03:04:05Z","last_ts":"2026-01-02T03:04:05Z","subjects":{"a":1}}}'  # noqa: E501
    where = b'{"type":"trade","exchange":"okx","market_type":"spot","symbol":"A","instrument":"A","ts_recv":1}'
    return [
        Target("nats", says, [heard, info], ()),
        Target(
            "jetstream message",
            asks,
            [message, b'{"error":{"err_code":10037,"description":"x"}}'],
            (MarketDataError, CollectorError),
        ),
        Target("jetstream state", state, [stream], (MarketDataError, CollectorError)),
        Target("stream losses", lambda raw, _: drained([stream_losses._decoded(raw)]), [where]),
        Target("checkpoint", moments, [b'{"binance spot":1700000000000000000}']),
        Target("budget state", budget, [b'{"tokens":1.0,"at":1.0}']),
    ]


class _NoTransport(asyncio.Transport):
    def write(self, data: object) -> None:
        return None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return None

    def abort(self) -> None:
        return None

    def close(self) -> None:
        return None

    def is_closing(self) -> bool:
        return False
