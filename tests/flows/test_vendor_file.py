"""The recorded vendor file, through a flow as a user would write it for such files."""

import csv
import shutil
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

from flow_files import flow, metadata, rows, run

COLUMNS = (
    "股票代码: code, 股票名称: name, 交易日期: trade_date, 开盘价: open, 最高价: high, 最低价: low, 收盘价: close,"
    " 前收盘价: pre_close, 成交量: volume, 成交额: amount, 流通市值: circulation, 总市值: total"
)
SOURCES, NAMES = zip(*(pair.split(": ") for pair in COLUMNS.split(", ")), strict=True)
PRICE, VALUE = "numeric(16,4)", "numeric(20,2)"
TYPES = {"trade_date": "date", **dict.fromkeys(NAMES[3:8], PRICE), **dict.fromkeys(NAMES[8:], VALUE)}
TEXT = f"""loader:
  encoding: gb18030
  skip_lines: 1
  columns: {{{COLUMNS}}}
  types: {{{", ".join(f"{name}: '{kind}'" for name, kind in TYPES.items())}}}
handlers:
  - drop_invalid: {{prices above 0: open > 0 AND high > 0 AND low > 0 AND close > 0}}
  - derive:
      pct_change: close / pre_close - 1
      avg_price: CASE WHEN volume = 0 THEN close ELSE amount / volume END
  - running_count: {{name: trading_days, group_by: code, order_by: trade_date}}
  - call: {{function: marketdata_assets.flows.ashares.flag_moves}}
target:
  table: daily
  key: [code, trade_date]
  columns: {{code: text, name: text, {", ".join(f"{name}: '{kind}'" for name, kind in TYPES.items())},
            pct_change: '{PRICE}', avg_price: '{PRICE}', trading_days: integer, suspicious: boolean}}
"""


def test_the_recorded_file_lands_to_the_last_digit(dsn: str, tmp_path: Path, fixtures: Path) -> None:
    (recorded,) = (fixtures / "ashare_csv/daily").glob("*.csv")
    shutil.copy(recorded, tmp_path / "bj920000.csv")
    report = run(flow(tmp_path, TEXT, "daily"), dsn, tmp_path)
    assert (report.rows, report.rejected) == (100, 0)
    _, *text = recorded.read_text("gb18030").splitlines()
    records = list(csv.DictReader(text))
    wanted = []
    for number, record in enumerate(records, 1):
        cells = [record[source] for source in SOURCES]
        prices = [Decimal(cell).quantize(Decimal("0.0001")) for cell in cells[3:8]]
        values = [Decimal(cell).quantize(Decimal("0.01"), ROUND_HALF_EVEN) for cell in cells[8:]]
        change = (prices[3] / prices[4] - 1).quantize(Decimal("0.0001"))
        average = (values[1] / values[0]).quantize(Decimal("0.0001"))
        wanted.append((*cells[:3], *prices, *values, change, average, number, False))
    columns = ", ".join(NAMES).replace("trade_date", "trade_date::text")
    query = f"SELECT {columns}, pct_change, avg_price, trading_days, suspicious FROM daily ORDER BY trade_date"
    assert rows(dsn, query) == wanted
    assert metadata(dsn)["bj920000.csv"]["status"] == "completed"
