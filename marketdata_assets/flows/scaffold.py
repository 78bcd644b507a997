"""A new flow that works as generated: definition, a custom handler, a sample file, a test.

The author of the flow edits these files; nothing here is read again.
"""

import re
from pathlib import Path
from string import Template

from marketdata_assets.flows import editor
from marketdata_assets.flows.definition import IDENTIFIER
from marketdata_assets.flows.errors import CannotWrite

SCHEMA = "flow.schema.json"
DEFINITION = """\
# yaml-language-server: $$schema=../flow.schema.json
# Reference of all fields: docs/concepts/flows.md. Validate this file: marketdata flows check $name
type: marketdata_assets.components.Flow

attributes:
  description: Daily closes of my stocks, with a moving average and marked jumps.
  owners: [team:me]

  loader:
    folder: $name                # below MARKETDATA_FLOWS_DATA
    glob: "**/*.csv"
    encoding: utf-8
    skip_lines: 0                # lines before the header
    columns:                     # name in the file: our name
      Symbol: symbol
      Date: day
      Close: close
      Volume: volume
    types:                       # columns that are not listed stay text
      day: date
      close: numeric(16,4)
      volume: bigint

  handlers:                      # one after the other
    - drop_invalid:              # a row that breaks a rule goes to quarantine, with the rule's name
        symbol and day: symbol IS NOT NULL AND day IS NOT NULL
        close above 0: close > 0
    - sort: [symbol, day]
    - derive:
        change: close / LAG(close) OVER (PARTITION BY symbol ORDER BY day) - 1
    - moving_average: {column: close, windows: [5], group_by: symbol, name: "ma{window}"}
    - call:                      # mark_jumps in handlers.py beside this file
        function: .handlers.mark_jumps
        arguments: {limit: 0.1}

  target:
    table: $name
    columns:
      symbol: text
      day: date
      close: numeric(16,4)
      volume: bigint
      change: numeric(16,8)
      ma5: numeric(16,4)
      jump: boolean
    key: [symbol, day]
    mode: upsert                 # the newest row of a key is kept

  partitions: none               # or: file, or: {month: day}
  schedule: null                 # or a cron line, such as "0 18 * * 1-5"
  sensor: true                   # load new and changed files automatically
"""

HANDLERS = '''\
"""Handlers of the flow $name: functions of a polars DataFrame that give one."""

import polars as pl


def mark_jumps(frame: pl.DataFrame, limit: float) -> pl.DataFrame:
    """Set `jump` where the close has moved by more than `limit`."""
    return frame.with_columns(jump=(pl.col("change").abs() > limit).fill_null(False))
'''

TEST = '''\
"""The flow $name on its sample file, without a database."""

from pathlib import Path

from marketdata_assets.flows.definition import read
from marketdata_assets.flows.trial import try_file

HERE = Path(__file__).parent


def test_sample_loads_completely() -> None:
    tried = try_file(read(HERE / "defs.yaml"), HERE / "sample" / "prices.csv")
    assert tried.rejects == {}
    assert tried.rows.height == tried.read == 12


def test_jump_is_marked() -> None:
    tried = try_file(read(HERE / "defs.yaml"), HERE / "sample" / "prices.csv")
    jumps = tried.rows.filter("jump").select("symbol", "day").rows()
    assert [(symbol, str(day)) for symbol, day in jumps] == [("BETA", "2024-01-05")]
'''

SAMPLE = """\
Symbol,Date,Close,Volume
ALFA,2024-01-02,10.00,1200
ALFA,2024-01-03,10.10,900
ALFA,2024-01-04,10.05,1100
ALFA,2024-01-05,10.20,1500
ALFA,2024-01-08,10.25,1300
ALFA,2024-01-09,10.15,1000
BETA,2024-01-02,52.40,310
BETA,2024-01-03,52.10,280
BETA,2024-01-04,52.75,295
BETA,2024-01-05,60.50,2100
BETA,2024-01-08,60.10,840
BETA,2024-01-09,59.80,620
"""

FILES = {"defs.yaml": DEFINITION, "handlers.py": HANDLERS, "test_$name.py": TEST, "sample/prices.csv": SAMPLE}


def write(folder: Path, name: str) -> list[Path]:
    """Write a new flow into `folder / name`. Raises CannotWrite when it exists, or cannot be a flow's name."""
    if not re.match(IDENTIFIER, name):
        raise CannotWrite(name, "a name has small letters, digits and _, and begins with a letter")
    home = folder / name
    if home.exists():
        raise CannotWrite(name, f"{home} already exists; choose another name, or edit the existing flow")
    written = []
    for place, text in FILES.items():
        path = home / Template(place).substitute(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(name=name), "utf-8")
        written.append(path)
    schema = folder / SCHEMA  # for editors; that of the version that wrote the last flow
    schema.write_text(editor.text(), "utf-8")
    return [*written, schema]
