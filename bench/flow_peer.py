"""One load by a peer, in its own environment: `dlt` or `pandas`. Prints version, rows and wall seconds.

Both do what `stock_daily` does, without ledger, quarantine or a look at what is loaded already: pandas with COPY into
the table that is there, dlt with arrow tables and COPY into one that it makes.
"""

import importlib.metadata
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

NAMES = {
    "股票代码": "code",
    "交易日期": "trade_date",
    "股票名称": "name",
    "开盘价": "open",
    "最高价": "high",
    "最低价": "low",
    "收盘价": "close",
    "前收盘价": "pre_close",
    "成交量": "volume",
    "成交额": "amount",
    "流通市值": "circulation_market_value",
    "总市值": "total_market_value",
}
KEY = ["code", "trade_date"]
TABLE = "stock_daily"


def frame(file: Path) -> pd.DataFrame:
    """The rows of one file, judged and with what is derived."""
    rows = pd.read_csv(file, encoding="gb18030", skiprows=1, usecols=list(NAMES), dtype={"股票代码": str})
    rows = rows.rename(columns=NAMES)[list(NAMES.values())]
    rows["trade_date"] = pd.to_datetime(rows["trade_date"], format="%Y-%m-%d").dt.date
    rows = rows[(rows[["open", "high", "low", "close"]] > 0).all(axis=1) & (rows["volume"] >= 0)]
    rows = rows.drop_duplicates(KEY).sort_values(KEY)
    rows["volume"] = rows["volume"].astype("int64")
    rows["pct_change"] = (rows["close"] / rows["pre_close"] - 1).round(8)
    rows["turnover_rate"] = (rows["amount"] / rows["circulation_market_value"]).round(8)
    rows["avg_price"] = (rows["amount"] / rows["volume"]).where(rows["volume"] > 0, rows["close"]).round(4)
    rows["trading_days"] = rows.groupby("code").cumcount() + 1
    code = rows["code"].str
    limit = np.select([code.startswith("bj"), code.startswith(("sh68", "sz30"))], [0.30, 0.20], 0.10)
    rows["suspicious"] = (rows["pct_change"].abs() > limit + 0.02) & (rows["trading_days"] > 1)
    return rows


def by_pandas(dsn: str, files: list[Path]) -> int:
    """Each file a transaction."""
    import psycopg

    loaded = 0
    with psycopg.connect(dsn) as connection:
        for file in files:
            rows, text = frame(file), io.StringIO()
            rows.to_csv(text, index=False, header=False)
            with connection.cursor().copy(f"COPY {TABLE} ({', '.join(rows)}) FROM STDIN CSV") as copy:
                copy.write(text.getvalue())
            connection.commit()
            loaded += len(rows)
    return loaded


def by_dlt(dsn: str, files: list[Path]) -> int:
    """All files as one package."""
    import dlt
    import pyarrow as pa
    from psycopg.conninfo import conninfo_to_dict

    def tables() -> Iterator[pa.Table]:
        for file in files:
            yield pa.Table.from_pandas(frame(file), preserve_index=False)

    at = conninfo_to_dict(dsn)
    url = f"postgresql://{at['user']}:{at['password']}@{at['host']}:{at['port']}/{at['dbname']}"
    pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(url), dataset_name="peer")
    resource = dlt.resource(tables, name=TABLE, primary_key=KEY, write_disposition="append")
    pipeline.run(resource, loader_file_format="csv").raise_on_failed_jobs()
    return int(pipeline.last_trace.last_normalize_info.row_counts[TABLE])


def main() -> None:
    name, dsn, folder = sys.argv[1:]
    files = sorted(Path(folder).rglob("*.csv"))
    if name == "dlt":
        os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}
        import dlt  # noqa: F401 - its import is not its load
    with tempfile.TemporaryDirectory() as home:
        os.environ["DLT_DATA_DIR"] = home
        os.chdir(home)
        started = time.perf_counter()
        rows = by_dlt(dsn, files) if name == "dlt" else by_pandas(dsn, files)
        wall = time.perf_counter() - started
    print(json.dumps({"version": importlib.metadata.version(name), "rows": rows, "wall_s": wall}))


if __name__ == "__main__":
    main()
