"""One of the ten deliveries by a peer, in its own environment: `pandas` or `dlt`. Prints version, seconds and lines.

Each function is what a practised user of the tool would write, with the tool's own readers where it has one; the lines
of a function are those that its user writes. `store` and `pipeline` are written once, and counted in no delivery.
"""

import datetime as dt
import importlib.metadata
import inspect
import io
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

DAILY = {"股票代码": "code", "股票名称": "name", "交易日期": "trade_date", "收盘价": "close", "成交量": "volume"}
KEYS: dict[str, list[str]] = {
    "gbk": ["code", "trade_date"],
    "headerless": ["column_1", "column_2"],
    "named": ["symbol", "date"],
    "epochs": ["code", "time"],
    "units": ["symbol", "day"],
    "nested": ["code", "trade_date"],
    "excel": ["fund", "date"],
    "lines": ["s", "q_t"],
    "bucket": ["symbol", "day"],
    "candles": ["s", "d"],
}


def gbk(place: str) -> pd.DataFrame:
    with zipfile.ZipFile(place, metadata_encoding="gbk") as archive:
        frames = [pd.read_csv(archive.open(name), encoding="gb18030", skiprows=1) for name in archive.namelist()]
    rows = pd.concat(frames).rename(columns=DAILY)
    rows["trade_date"] = pd.to_datetime(rows["trade_date"]).dt.date
    return rows


def headerless(place: str) -> pd.DataFrame:
    rows = pd.read_csv(place, header=None, names=["column_1", "column_2", "column_3"])
    rows["column_2"] = pd.to_datetime(rows["column_2"], unit="ms", utc=True)
    return rows


def named(place: str) -> pd.DataFrame:
    rows = pd.read_csv(place).rename(columns={"Date": "date", "Close": "close"})
    rows["symbol"] = Path(place).stem
    rows["date"] = pd.to_datetime(rows["date"]).dt.date
    return rows


def epochs(place: str) -> pd.DataFrame:
    rows = pd.read_csv(place)
    rows["time"] = pd.to_datetime(rows["time"], unit="s", utc=True)
    return rows


def units(place: str) -> pd.DataFrame:
    rows = pd.read_csv(place, dtype=str)
    rows = rows.rename(columns={"代码": "symbol", "日期": "day", "成交额": "amount", "涨跌幅": "pct_change"})
    rows["day"] = pd.to_datetime(rows["day"]).dt.date
    powers = rows["amount"].str[-1].map({"万": 1e4, "亿": 1e8})
    rows["amount"] = rows["amount"].str.rstrip("万亿").astype(float) * powers.fillna(1)
    rows["pct_change"] = rows["pct_change"].str.rstrip("%").astype(float) / 100
    return rows


def nested(place: str) -> pd.DataFrame:
    frames = []
    with zipfile.ZipFile(place, metadata_encoding="gbk") as outer:
        for inner in outer.namelist():
            with zipfile.ZipFile(io.BytesIO(outer.read(inner)), metadata_encoding="gbk") as archive:
                opened = [archive.open(name) for name in archive.namelist()]
                frames += [pd.read_csv(file, encoding="gb18030", skiprows=1) for file in opened]
    rows = pd.concat(frames).rename(columns=DAILY)
    rows["trade_date"] = pd.to_datetime(rows["trade_date"]).dt.date
    return rows


def excel(place: str) -> pd.DataFrame:
    rows = pd.read_excel(place, skiprows=1).rename(columns=str.lower)
    rows["date"] = pd.to_datetime(rows["date"]).dt.date
    return rows


def lines(place: str) -> pd.DataFrame:
    rows = pd.json_normalize(pd.read_json(place, lines=True).to_dict("records"), sep="_")
    rows["q_t"] = pd.to_datetime(rows["q_t"], utc=True)
    return rows


def bucket(place: str) -> pd.DataFrame:
    options = {"key": "k", "secret": "s", "endpoint_url": place}
    return pd.read_parquet("s3://deliveries/2024/bars.parquet", storage_options=options)


def candles(place: str) -> pd.DataFrame:
    import requests

    frames, after = [], None
    while True:
        answer = requests.get(place, params={"after": after}, timeout=30)
        answer.raise_for_status()
        data = answer.json()["data"]
        frames.append(pd.DataFrame(data["items"]))
        after = data["next"]
        if after is None:
            break
    rows = pd.concat(frames)
    rows["d"] = pd.to_datetime(rows["d"]).dt.date
    return rows


def dlt_named(place: str) -> Any:
    from dlt.sources.filesystem import filesystem, read_csv

    path = Path(place)
    rows = filesystem(path.parent.as_uri(), file_glob=path.name) | read_csv(parse_dates=["Date"])
    return rows.add_map(lambda row: row | {"symbol": path.stem, "Date": row["Date"].date()})


def dlt_epochs(place: str) -> Any:
    from dlt.sources.filesystem import filesystem, read_csv

    path = Path(place)
    rows = filesystem(path.parent.as_uri(), file_glob=path.name) | read_csv()
    return rows.add_map(lambda row: row | {"time": pd.Timestamp(row["time"], unit="s", tz="UTC")})


def dlt_lines(place: str) -> Any:
    from dlt.sources.filesystem import filesystem, read_jsonl

    path = Path(place)
    rows = filesystem(path.parent.as_uri(), file_glob=path.name) | read_jsonl()
    return rows.add_map(lambda row: {"s": row["s"], "q_t": pd.Timestamp(row["q"]["t"]), "q_p": row["q"]["p"]})


def dlt_bucket(place: str) -> Any:
    from dlt.common.configuration.specs import AwsCredentials
    from dlt.sources.filesystem import filesystem, read_parquet

    login = AwsCredentials(aws_access_key_id="k", aws_secret_access_key="s", endpoint_url=place)
    return filesystem("s3://deliveries", login, file_glob="**/*.parquet") | read_parquet(use_pyarrow=True)


def dlt_candles(place: str) -> Any:
    import dlt
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

    paginator = JSONResponseCursorPaginator(cursor_path="data.next", cursor_param="after")
    pages = RESTClient(place, paginator=paginator).paginate("", data_selector="data.items")
    return dlt.resource(pages).add_map(lambda row: row | {"d": pd.Timestamp(row["d"]).date()})


PANDAS: dict[str, Callable[[str], pd.DataFrame]] = {
    made.__name__: made for made in (gbk, headerless, named, epochs, units, nested, excel, lines, bucket, candles)
}
DLT: dict[str, Callable[[str], Any]] = {
    made.__name__.removeprefix("dlt_"): made for made in (dlt_named, dlt_epochs, dlt_lines, dlt_bucket, dlt_candles)
}
"""Deliveries that dlt has a reader for; the others are frames of pandas, in a resource."""


def store(rows: pd.DataFrame, table: str, dsn: str) -> None:
    """Rows into a table that pandas makes, by COPY."""
    import psycopg
    from sqlalchemy import Date, create_engine

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    text = io.StringIO()
    rows.to_csv(text, index=False, header=False)
    with engine.begin() as connection:
        days = {name: Date for name in rows if type(rows[name].iloc[0]) is dt.date}
        rows.head(0).to_sql(table, connection, if_exists="append", index=False, dtype=days)
        cursor = connection.connection.cursor()
        with cursor.copy(f"COPY {table} ({', '.join(rows)}) FROM STDIN CSV") as copy:
            copy.write(text.getvalue())


def pipeline(made: Any, table: str, dsn: str) -> None:
    """A resource into a table that dlt makes; rows are merged by their key."""
    import dlt
    from psycopg.conninfo import conninfo_to_dict

    at = conninfo_to_dict(dsn)
    url = f"postgresql://{at['user']}:{at['password']}@{at['host']}:{at['port']}/{at['dbname']}"
    load = dlt.pipeline("bench", destination=dlt.destinations.postgres(url), dataset_name="public")
    options: dict[str, Any] = {"table_name": table, "primary_key": KEYS[table], "write_disposition": "merge"}
    load.run(made, **options).raise_on_failed_jobs()


def frames(name: str, place: str) -> Any:
    """A delivery without a reader of dlt's: pandas reads it."""
    import dlt

    def tables() -> Iterator[pd.DataFrame]:
        yield PANDAS[name](place)

    return dlt.resource(tables, name=name)


def written(name: str, tool: str) -> int:
    """Lines of the delivery's function, and those around it that its user writes too."""
    function = DLT[name] if tool == "dlt" and name in DLT else PANDAS[name]
    text = [line for line in inspect.getsource(function).splitlines()[1:] if line.strip()]
    extra = 3 if function is PANDAS[name] and tool == "dlt" else 0
    return len(text) + extra + 1


def main() -> None:
    tool, name, dsn, place = sys.argv[1:]
    if tool == "dlt":
        os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
        import dlt  # noqa: F401 - its import is not its load
    with tempfile.TemporaryDirectory() as home:
        os.environ["DLT_DATA_DIR"] = home
        os.chdir(home)
        started = time.perf_counter()
        if tool == "pandas":
            store(PANDAS[name](place), name, dsn)
        else:
            pipeline(DLT[name](place) if name in DLT else frames(name, place), name, dsn)
        seconds = time.perf_counter() - started
    print(json.dumps({"version": importlib.metadata.version(tool), "seconds": seconds, "lines": written(name, tool)}))


if __name__ == "__main__":
    main()
