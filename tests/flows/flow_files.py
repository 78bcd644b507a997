"""Small flows, files for them, and what is in the database after a run."""

import datetime as dt
import os
from collections.abc import Collection, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import sample
from marketdata_assets.flows.definition import FlowDefinition, parse, read
from marketdata_assets.flows.draft import Draft, draft
from marketdata_assets.flows.run import FlowReport, find_units, run_flow
from marketdata_assets.flows.trial import try_unit

PRICES = """loader:
  columns: {code: code, day: day, close: close, volume: volume}
  types: {day: date, close: "numeric(16,4)", volume: bigint}
target:
  table: prices
  mode: upsert
  key: [code, day]
  columns: {code: text, day: date, close: "numeric(16,4)", volume: bigint}
"""
DAILY = """description: daily prices
loader:
  folder: daily
  encoding: gb18030
  skip_lines: 1
  columns: {股票代码: code, 交易日期: trade_date, 收盘价: close}
  types: {trade_date: date, close: "numeric(16,4)"}
handlers:
  - drop_invalid: {price above 0: close > 0}
  - sort: [code, trade_date]
  - moving_average: {column: close, windows: [5, 20], group_by: code}
  - call: {function: .mine.add, arguments: {a: 1}}
target:
  table: prices
  key: [code, trade_date]
  columns: {code: text, trade_date: date, close: "numeric(16,4)"}
partitions: {month: trade_date}
"""
HEADER = "code,day,close,volume\n"

RUNS = count()
Row = tuple[Any, ...]


def flow(folder: Path, text: str = PRICES, name: str = "prices") -> FlowDefinition:
    """The flow of `text`, read from a file in `folder`."""
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return read(file)


def lines(code: str, closes: Collection[str | float], first: dt.date = dt.date(2024, 1, 1)) -> str:
    """A file's text: a row for each close, a day apart."""
    days = (first + dt.timedelta(number) for number in range(len(closes)))
    return HEADER + "".join(f"{code},{day},{close},100\n" for day, close in zip(days, closes, strict=True))


def deliver(folder: Path, name: str, text: str | bytes, changed_at: Iterator[int] = count(1_700_000_000)) -> Path:  # noqa: B008
    """Write a file that changed some time ago, each later than the one before."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (0, next(changed_at)))
    return path


def run(flow: FlowDefinition, dsn: str, folder: Path, workers: int = 1, **options: Any) -> FlowReport:
    return run_flow(flow, dsn, folder, run_id=f"test {next(RUNS)}", fanout=Fanout(workers), **options)


def loaded(dsn: str, folder: Path, text: str = PRICES, **closes: Collection[str | float]) -> FlowDefinition:
    """The flow of `text`, after a run over files of one code each, such as `a=[1, 2]`."""
    defined = flow(folder, text)
    for code, values in closes.items():
        deliver(folder, f"{code}.csv", lines(code, values))
    run(defined, dsn, folder)
    return defined


def only_error(flow: FlowDefinition, dsn: str, folder: Path) -> str:
    """The error of the only file that a run fails."""
    (failed,) = run(flow, dsn, folder).failed
    assert failed.error is not None
    return failed.error


def rows(dsn: str, query: str = "SELECT code, day, close, volume FROM prices ORDER BY code, day") -> list[Row]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload]


def closes(dsn: str, code: str = "a") -> list[Decimal]:
    return [row[0] for row in rows(dsn, f"SELECT close FROM prices WHERE code = '{code}' ORDER BY day")]


def metadata(dsn: str) -> dict[str, dict[str, Any]]:
    """`etl_metadata` by unit."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return {row["unit"]: row for row in connection.execute("SELECT * FROM etl_metadata")}


def quarantined(dsn: str) -> list[Row]:
    return rows(dsn, "SELECT unit, line, reason, raw FROM marketdata_quarantine ORDER BY unit, line")


def read_all(flow: FlowDefinition, folder: Path) -> list[dict[str, Any]]:
    """The rows that a run over the folder leaves in the table, without a database: of a key that of the last file."""
    tried = [try_unit(flow, unit) for unit in find_units(flow, folder)]
    assert not [one.rejects for one in tried if one.too_many]
    found = [row for one in tried for row in one.rows.to_dicts()]
    kept = {tuple(row[name] for name in flow.target.key) or (at,): row for at, row in enumerate(found)}
    return [*kept.values()]


def made(folder: Path, name: str, data: str | bytes, encoding: str | None = None) -> tuple[FlowDefinition, Draft, Path]:
    """A flow made of a file, what `new` says of it, and where the file is."""
    path = deliver(folder, name, data)
    one = draft("prices", sample.read(path, encoding), path)
    flow = parse(one.text.replace("folder: prices", "folder: ."), name="prices")
    return flow.model_copy(update={"quality": flow.quality.model_copy(update={"max_rejected_share": 0.9})}), one, path
