"""What a text of a file becomes, by how the flow declares that it is written; anything else rejects its row."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.flows import status
from marketdata_assets.flows.casting import parse
from marketdata_assets.flows.definition import parse as parse_flow
from marketdata_assets.flows.targets import contents
from marketdata_assets.loading.rejects import LINE, Rejects
from tests.flows.flow_files import deliver, flow, quarantined, rows, run

FLOW = """loader:
  columns: [x]
  types: {{x: {cell}}}
target: {{table: t, mode: append, columns: {{x: text}}}}
"""
DAY = dt.date(2024, 1, 2)
TEN = dt.datetime(2024, 1, 2, 10, 30)
IN_UTC = dt.datetime(2024, 1, 2, 2, 30, tzinfo=dt.UTC)


def value(cell: str, text: str) -> tuple[Any, str | None]:
    """What `text` becomes in a column declared as `cell`, or None and the reason."""
    rejects = Rejects()
    frame = pl.DataFrame({"x": [text], LINE: [7]})
    got = parse(frame, parse_flow(FLOW.format(cell=cell)).loader.types, rejects)
    return (got["x"].item(), None) if got.height else (None, rejects.reasons[7])


TIMES = [
    ("date", "2024-01-02", DAY),
    ("date", "2024-01-02 00:00:00", DAY),
    ("date", "2024-01-02 10:30:00", None),
    ("{type: date, format: '%d.%m.%Y'}", "02.01.2024", DAY),
    ("{type: date, format: ['%d.%m.%Y', '%d-%b-%y']}", "02-Jan-24", DAY),
    ("{type: date, format: '%d.%m.%Y'}", "2024-01-02", None),
    ("{type: date, format: '%d.%m.%Y %H:%M'}", "02.01.2024 00:00", DAY),
    ("{type: date, format: '%d.%m.%Y %H:%M'}", "02.01.2024 10:30", None),
    ("{type: date, epoch: s}", "1704162600", DAY),
    ("{type: date, epoch: s, zone: Asia/Shanghai}", "1704213000", dt.date(2024, 1, 3)),
    ("timestamp", "2024-01-02T10:30:00", TEN),
    ("timestamp", "2024-01-02 10:30:00.123456", TEN.replace(microsecond=123456)),
    ("timestamp", "2024-01-02 10:30:00.123456000", TEN.replace(microsecond=123456)),
    ("timestamp", "2024-01-02 10:30:00.123456789", None),
    ("{type: timestamp, truncate: true}", "2024-01-02 10:30:00.123456789", TEN.replace(microsecond=123456)),
    ("timestamp", "2024-01-02T10:30:00Z", None),
    ("{type: timestamp, zone: Asia/Shanghai}", "2024-01-02T02:30:00Z", TEN),
    ("{type: timestamp, epoch: ms, zone: Asia/Shanghai}", "1704162600000", TEN),
    ("{type: timestamp, format: '%Y%m%d%H%M%S'}", "20240102103000", TEN),
    ("{type: timestamp, format: '%d/%m/%Y %I:%M %p'}", "02/01/2024 10:30 AM", TEN),
    ("timestamptz", "2024-01-02T02:30:00Z", IN_UTC),
    ("timestamptz", "2024-01-02T02:30:00.000Z", IN_UTC),
    ("timestamptz", "2024-01-02 10:30:00+08:00", IN_UTC),
    ("timestamptz", "2024-01-02 10:30:00 +0800", IN_UTC),
    ("timestamptz", "2024-01-02 10:30+08", IN_UTC),
    ("timestamptz", "2024-01-02 02:30:00 UTC", IN_UTC),
    ("timestamptz", "2024-01-02 10:30:00", None),
    ("{type: timestamptz, zone: Asia/Shanghai}", "2024-01-02 10:30:00", IN_UTC),
    ("{type: timestamptz, zone: Asia/Shanghai}", "2024-01-02T02:30:00Z", IN_UTC),
    ("{type: timestamptz, zone: America/New_York}", "2024-03-10 02:30:00", None),
    ("{type: timestamptz, zone: America/New_York}", "2024-11-03 01:30:00", None),
    ("{type: timestamptz, format: '%Y%m%d %H%M%S%z'}", "20240102 103000+0800", IN_UTC),
    ("{type: timestamptz, epoch: s}", "1704162600", IN_UTC),
    ("{type: timestamptz, epoch: s}", "1704162600.5", IN_UTC.replace(microsecond=500000)),
    ("{type: timestamptz, epoch: s}", "1704162600.1234567", None),
    ("{type: timestamptz, epoch: ms}", "1704162600000", IN_UTC),
    ("{type: timestamptz, epoch: ms}", "1704162600000.0", IN_UTC),
    ("{type: timestamptz, epoch: us}", "1704162600000000", IN_UTC),
    ("{type: timestamptz, epoch: ns}", "1704162600000000000", IN_UTC),
    ("{type: timestamptz, epoch: ns}", "1704162600000000001", None),
    ("{type: timestamptz, epoch: ns, truncate: true}", "1704162600000000999", IN_UTC),
    ("{type: timestamptz, epoch: ms}", "1.7e12", None),
    ("{type: timestamptz, epoch: ms}", "2024-01-02T02:30:00Z", None),
]
NUMBERS = [
    ("{type: 'numeric(16,2)', thousands: ','}", "1,234,567.89", 1234567.89),
    ("{type: 'numeric(16,2)', thousands: ','}", "-1234.5", -1234.5),
    ("{type: 'numeric(16,2)', thousands: ','}", "12,34.5", None),
    ("{type: 'numeric(16,2)', thousands: ','}", "1,234.567", None),
    ("{type: bigint, thousands: ','}", "9,007,199,254,740,993", 9007199254740993),
    ("{type: 'numeric(20,2)', thousands: '.', decimal: ','}", "1.234.567,89", Decimal("1234567.89")),
    ("{type: double, decimal: ','}", "0,5", 0.5),
    ("{type: double, decimal: ','}", "0.5", None),
    ("{type: 'numeric(8,6)', percent: true}", "12.3456%", 0.123456),
    ("{type: 'numeric(8,6)', percent: true}", "-0.05 %", -0.0005),
    ("{type: 'numeric(8,4)', percent: true}", "12.345%", None),
    ("{type: 'numeric(8,6)', percent: true}", "12.3456", None),
    ("{type: bigint, chinese_units: true}", "1.2万", 12000),
    ("{type: bigint, chinese_units: true}", "12000", 12000),
    ("{type: 'numeric(20,2)', chinese_units: true}", "3.25亿", Decimal("325000000.00")),
    ("{type: 'numeric(20,2)', chinese_units: true}", "1.05万亿", Decimal("1050000000000.00")),
    ("{type: 'numeric(20,2)', chinese_units: true, thousands: ','}", "1,234.5万", Decimal("12345000.00")),
    ("{type: bigint, chinese_units: true}", "1.2个", None),
    ("{type: bigint, chinese_units: true}", "1.23456万", None),
    ("bigint", "1.2万", None),
    ("bigint", "1,234", None),
]


@pytest.mark.parametrize(("cell", "text", "expected"), [*TIMES, *NUMBERS])
def test_a_text_becomes_the_value_it_is_declared_to_be(cell: str, text: str, expected: Any) -> None:
    got, reason = value(cell, text)
    assert got == expected, reason
    assert (reason is None) == (expected is not None)


def test_a_reason_says_how_the_value_should_be_written() -> None:
    assert value("{type: date, format: '%d.%m.%Y'}", "1/2")[1] == "x '1/2' is no date (%d.%m.%Y)"
    assert value("{type: timestamptz, epoch: ms}", "x")[1] == (
        "x 'x' is no number of ms since 1970 that is whole in microseconds, or of no time from 1900 to 2199;"
        " epoch: auto takes each unit"
    )
    assert value("{type: bigint, thousands: ','}", "1,2")[1] == "x '1,2' is no bigint with groups of ','"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("{type: bigint, epoch: ms}", "epoch belongs to date, timestamp, timestamptz, and this is bigint"),
        ("{type: date, percent: true}", "percent belongs to numbers, and this is date"),
        ("{type: date, format: dd.mm.yyyy}", "'dd.mm.yyyy' is no form of a date or time, such as %d.%m.%Y"),
        ("{type: date, format: '%d', epoch: s}", "give either format or epoch"),
        ("{type: timestamptz, format: '%Y%m%d %H%M'}", "needs the zone of its times; add zone"),
        ("{type: timestamptz, zone: Asia/Peking}", "zone: unknown time zone 'Asia/Peking'"),
        ("{type: double, thousands: '.'}", "thousands and decimal are both '.'"),
        ("{type: double, thousand: ','}", "types.x.thousand: unknown key; did you mean 'thousands'?"),
        ("{type: dat}", "types.x.type: unknown type 'dat'; did you mean 'date'?"),
        ("{format: '%d'}", "loader.types.x.type: is missing; add it"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_an_error_of_the_flow(cell: str, said: str) -> None:
    with pytest.raises(InvalidConfigFile) as raised:
        parse_flow(FLOW.format(cell=cell))
    assert said in str(raised.value)


def test_declared_formats_are_loaded_exactly(dsn: str, tmp_path: Path) -> None:
    defined = flow(
        tmp_path,
        """loader:
  columns: [ts, amount, share]
  types:
    ts: {type: timestamptz, epoch: ms}
    amount: {type: "numeric(20,2)", chinese_units: true}
    share: {type: "numeric(8,6)", percent: true}
quality: {max_rejected_share: 0.5}
target:
  table: prices
  key: [ts]
  columns: {ts: timestamptz, amount: "numeric(20,2)", share: "numeric(8,6)"}
partitions: {month: ts}
""",
    )
    lines = ("1704162600000,3.25亿,12.5%", "1704162660000,1.2万,7", "1706731200000,9,0%", "1709236800000,1,0%")
    deliver(tmp_path, "a.csv", "\n".join(["ts,amount,share", *lines, ""]))
    report = run(defined, dsn, tmp_path)
    assert not report.failed, report.failed
    assert rows(dsn, "SELECT ts AT TIME ZONE 'UTC', amount, share FROM prices ORDER BY 1") == [
        (dt.datetime(2024, 1, 2, 2, 30), Decimal("325000000.00"), Decimal("0.125000")),
        (dt.datetime(2024, 1, 31, 20), Decimal("9.00"), Decimal(0)),
        (dt.datetime(2024, 2, 29, 20), Decimal("1.00"), Decimal(0)),
    ]
    with psycopg.connect(dsn, options="-c timezone=Asia/Shanghai") as connection:
        assert contents.of(connection, defined).by_month(["2024-01", "2024-02"]) == {"2024-01": 2, "2024-02": 1}
        assert status.summary(connection, defined, tmp_path).newest == dt.datetime(2024, 2, 29, 20)
    reason = "share '7' is no numeric(8,6) with a % at its end, or has more digits than it keeps"
    assert quarantined(dsn) == [("a.csv", 3, reason, "1704162660000,1.2万,7")]


SIXTEEN = [
    "999999999999.9999",
    "-999999999999.9999",
    "900719925474.0993",
    "112589990684.2624",
    "450359962737.0499",
    "0.5",
]
WIDTHS = ("numeric(16,4)", "numeric(16,0)", "numeric(16,16)", "numeric(17,4)")
COLUMNS = {f"x{at}": kind for at, kind in enumerate(WIDTHS)}
WIDE = """loader:
  {reader}
  columns: [x0, x1, x2, x3]
  types: {types}
{handlers}
target: {{table: t, mode: replace, columns: {types}}}
"""


@pytest.mark.parametrize("handlers", ["", "handlers: [{drop_invalid: {small: x0 < 1e17}}, {sort: x0}]"])
@pytest.mark.parametrize("reader", ["glob: '*.csv'", "format: json_lines", "format: json", "format: parquet"])
def test_all_digits_of_a_number_are_stored(dsn: str, tmp_path: Path, reader: str, handlers: str) -> None:
    written: dict[str, list[str]] = {}
    for name, kind in COLUMNS.items():
        scale = int(kind.rpartition(",")[2][:-1])
        scaled = [Decimal(text).scaleb(4 - scale) for text in SIXTEEN]
        written[name] = [f"{one:f}" if one.scaleb(scale) % 1 == 0 else "0" for one in scaled]
    rows_of_file = [*zip(*written.values(), strict=True)]
    form = reader.removeprefix("format: ")
    if form == "parquet":
        scales = {name: pl.Decimal(38, int(kind.rpartition(",")[2][:-1])) for name, kind in COLUMNS.items()}
        pl.DataFrame(written).cast(scales).write_parquet(tmp_path / "a.parquet")  # type: ignore[arg-type]
    elif form in ("json", "json_lines"):
        objects = ["{" + ",".join(f'"x{at}": {cell}' for at, cell in enumerate(row)) + "}" for row in rows_of_file]
        text = "[" + ",".join(objects) + "]" if form == "json" else "\n".join(objects)
        deliver(tmp_path, "a.json" if form == "json" else "a.jsonl", text)
    else:
        deliver(tmp_path, "a.csv", "\n".join(",".join(row) for row in [[*COLUMNS], *rows_of_file]) + "\n")
    types = "{" + ", ".join(f'{name}: "{kind}"' for name, kind in COLUMNS.items()) + "}"
    wide = flow(tmp_path, WIDE.format(reader=reader, types=types, handlers=handlers), "t")
    assert run(wide, dsn, tmp_path).rejected == 0
    assert sorted(rows(dsn, "SELECT x0, x1, x2, x3 FROM t")) == sorted(tuple(map(Decimal, row)) for row in rows_of_file)


SECOND = 1_704_162_600
AT = dt.datetime.fromtimestamp(SECOND, dt.UTC)


@pytest.mark.parametrize(
    ("epoch", "text", "expected"),
    [
        *((unit, f"{SECOND * 10**power}", AT) for unit, power in {"s": 0, "ms": 3, "us": 6, "ns": 9}.items()),
        *(("auto", f"{SECOND * 10**power}", AT) for power in (0, 3, 6, 9)),
        *(("[ms, us]", f"{SECOND * 10**power}", AT) for power in (3, 6)),
        *(("[ms, us]", f"{SECOND * 10**power}", None) for power in (0, 9, 12)),
        *((unit, f"{SECOND * 10**9}", None) for unit in ("s", "ms", "us")),
        *((unit, f"{SECOND}", None) for unit in ("ms", "us", "ns")),
        *(("auto", f"{SECOND * 10**power}", None) for power in (12, 20)),
        ("ms", "9223372036854775807", None),
        ("s", "-1325583000", dt.datetime(1927, 12, 30, 14, 30, tzinfo=dt.UTC)),
        ("ms", "0", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ("ms", "1209600000", dt.datetime(1970, 1, 15, tzinfo=dt.UTC)),
        ("us", "946684800000000", dt.datetime(2000, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_a_number_of_an_epoch_is_of_a_unit_by_which_it_is_a_plausible_time(
    epoch: str, text: str, expected: dt.datetime | None
) -> None:
    got, reason = value(f"{{type: timestamptz, epoch: {epoch}}}", text)
    assert got == expected
    assert expected or f"x '{text}' is no number of" in str(reason)


@pytest.mark.parametrize("cell", ["date", "timestamp", "{type: timestamptz, zone: Asia/Shanghai}"])
@pytest.mark.parametrize(
    "text", ["26-03-02", "0026-03-02", "-2026-03-02", "026-03-02", "26/03/02", "2026032", "202632"]
)
def test_a_year_has_four_digits_and_a_day_without_signs_eight(cell: str, text: str) -> None:
    """They were days of the first century, or one of two days."""
    got, reason = value(cell, text)
    assert (got, f"x '{text}' is no " in str(reason)) == (None, True)


def test_a_declared_year_of_two_digits_is_of_this_time() -> None:
    assert value("{type: date, format: '%y-%m-%d'}", "26-03-02") == (dt.date(2026, 3, 2), None)


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_a_time_beyond_the_years_of_readers_is_rejected_by_its_line(dsn: str, tmp_path: Path, kind: str) -> None:
    unit, zone = "us", "UTC" if kind == "timestamptz" else None
    moments = pl.Series("x", [1_704_067_200_000_000, 1_704_162_600_123_456_000]).cast(pl.Datetime(unit, zone))
    pl.DataFrame({"x": moments.cast(pl.Date) if kind == "date" else moments}).write_parquet(tmp_path / "a.parquet")
    text = f"loader: {{format: parquet, columns: [x]}}\ntarget: {{table: t, mode: replace, columns: {{x: {kind}}}}}\n"
    report = run(flow(tmp_path, text + "quality: {max_rejected_share: 1}\n", "t"), dsn, tmp_path)
    assert ([unit.error for unit in report.failed], report.rows, report.rejected) == ([], 1, 1)
    [(unit, line, reason, _)] = quarantined(dsn)
    assert (line, reason.startswith("x "), reason.endswith(f"does not fit {kind}")) == (2, True, True)
