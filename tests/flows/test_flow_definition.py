"""A flow's YAML as frozen values; its problems are in test_config_files."""

import pickle
from pathlib import Path

from marketdata_assets.flows.definition import FlowDefinition, read

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
