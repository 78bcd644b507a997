"""A flow's YAML: what it may say, and where and how a mistake in it is told."""

import pickle
from pathlib import Path

import pytest

from marketdata_assets.flows.definition import FlowDefinition, parse, read
from marketdata_assets.flows.errors import BadDefinition

GOOD = """description: daily prices
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


def test_a_whole_flow_is_read_and_goes_to_another_process(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(GOOD)
    flow = read(file)
    assert (flow.name, flow.dataset, flow.file) == ("prices", "flow:prices", file)
    assert [step.name for step in flow.handlers] == ["drop_invalid", "sort", "moving_average", "call"]
    assert [step.config.whole for step in flow.handlers] == [False, True, True, True]
    assert flow.target.columns["close"].sql == "numeric(16,4)"
    again: FlowDefinition = pickle.loads(pickle.dumps(flow))
    assert again == flow
    assert again.file == file


def test_a_component_file_is_read_below_its_attributes(tmp_path: Path) -> None:
    folder = tmp_path / "daily_prices"
    folder.mkdir()
    body = "".join(f"  {line}\n" for line in GOOD.replace("encoding:", "encodin:").splitlines())
    (folder / "defs.yaml").write_text(f"type: some.Flow\nattributes:\n{body}")
    with pytest.raises(BadDefinition, match=r"defs\.yaml:6: loader\.encodin: unknown key; did you mean 'encoding'"):
        read(folder / "defs.yaml")
    (folder / "defs.yaml").write_text(f"type: some.Flow\nattributes:\n{body.replace('encodin:', 'encoding:')}")
    assert read(folder / "defs.yaml").name == "daily_prices"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('close: "numeric(16,4)"}\nhan', 'close: numric}\nhan', ":7: loader.types.close: unknown type 'numric'"),
        ('close: "numeric(16,4)"}\nhan', "close: numeric(16,4)}\nhan", "loader.types.close: 'numeric(16': inside { }"),
        ("{trade_date: date,", "{trade_dat: date,", ":7: loader.types.trade_dat: no column of loader.columns"),
        ("交易日期: trade_date", "交易日期: code", "loader.columns.交易日期: 'code' stands for two columns"),
        ("gb18030", "gb1803", ":4: loader.encoding: unknown encoding 'gb1803'"),
        ("folder: daily", "folder: ../daily", ":3: loader.folder: must be a folder below"),
        ("skip_lines: 1", "skip_lines: one", ":5: loader.skip_lines: "),
        ("- sort", "- sortt", ":10: handlers.1.sortt: unknown key; did you mean 'sort'"),
        ("- sort: [code, trade_date]", "- sort:", ":10: handlers.1: sort has no keys"),
        ("- sort: [code, trade_date]", "- {sort: code, select: code}", ":10: handlers.1: one handler for each entry"),
        ("windows: [5,", "windows: [0,", ":11: handlers.2.moving_average.windows.0: "),
        (".mine.add", "add", ":12: handlers.3.call.function: 'add' is no dotted path"),
        ("table: prices", "table: Prices", ":14: target.table: "),
        ("key: [code,", "key: [cod,", ":15: target.key.0: 'cod' is no column of the target; did you mean 'code'"),
        ("key: [code, trade_date]", "mode: upsert", ":13: target.key: mode upsert needs a key"),
        ("key: [code, trade_date]", "key: [code]\n  hypertable: trade_date", "target.hypertable: a hypertable's key"),
        ("month: trade_date", "month: code", ":17: partitions.month: 'code' is text; it must be date"),
        ("{month: trade_date}", "moth", ":17: partitions: 'moth' is none of: none, file, {month: COLUMN}"),
        ("trade_date}\n", "trade_date, since: 1985-13}\n", ":17: partitions.since: '1985-13' is no month from 1700 on"),
        ("{month: trade_date}", "{mont: trade_date}", ":17: partitions.mont: unknown key; did you mean 'month'"),
        ("partitions: {month: trade_date}", "schedule: daily", ":17: schedule: 'daily' is no cron line"),
        ("partitions: {month: trade_date}", "timezone: Asia/Beijing", ":17: timezone: unknown time zone"),
        ("  folder: daily", "  folder: daily\n  folder: b", ":4: YAML: line 4: 'folder' is there twice"),
        ("loader:", "lader:", ":1: loader: is missing; add it"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_line_field_and_fix(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(BadDefinition) as caught:
        parse(GOOD.replace(old, new, 1), "f.yaml")
    assert said in str(caught.value)
    assert all(1 <= problem.line <= 18 for problem in caught.value.problems)
