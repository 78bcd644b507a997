"""Any edits of a flow and deliveries between its runs end in the table of the last definition in an empty database."""

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, storage
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.rebuild import rebuild
from tests.examples import FEW
from tests.flows.flow_files import HEADER, deliver, flow, rows, run

SCHEMAS = count()
UPSERT = "mode: upsert\n  removed_rows: delete"
MODES = {
    "by name": UPSERT,
    "by time": f"{UPSERT}\n  order_by: file time",
    "by close": f"{UPSERT}\n  order_by: close",
    "replace": "mode: replace",
}
VOLUMES = (None, "integer", "bigint", '"numeric(24,4)"', "double")


def definition(mode: str, volume: str | None, close: str, key: str, timestamps: bool) -> str:
    """A flow's text; without `volume` it takes one column less."""
    taken = ", volume: volume" if volume else ""
    types = f", volume: {volume}" if volume else ""
    return f"""loader:
  columns: {{code: code, day: day, close: close{taken}}}
  types: {{day: date, close: {close}{types}}}
target:
  table: prices
  columns: {{code: text, day: date, close: {close}{types}}}
  key: {key}
  {MODES[mode]}
  timestamps: {str(timestamps).lower()}
"""


def texts(modes: list[str]) -> st.SearchStrategy[str]:
    closes = st.sampled_from(['"numeric(16,4)"', '"numeric(18,6)"', "bigint"])
    keys = st.sampled_from(["[code, day]", "[day, code]", "[code, day, close]"])
    return st.builds(definition, st.sampled_from(modes), st.sampled_from(VOLUMES), closes, keys, st.booleans())


ROWS = st.dictionaries(st.sampled_from(["2024-01-01", "2024-01-02"]), st.integers(1, 9), max_size=2)


def steps(modes: list[str]) -> st.SearchStrategy[list[Any]]:
    """Deliveries, edits, runs and rebuilds, after a first delivery."""
    delivered = st.tuples(st.sampled_from(["a_2.csv", "a_10.csv", "b.csv"]), ROWS)
    one = st.one_of(texts(modes), delivered, st.just("run"), st.just("run"), st.just("rebuild"))
    return st.builds(lambda first, rest: [first, *rest], delivered, st.lists(one, min_size=2, max_size=10))


SHARED = [mode for mode in MODES if mode != "replace"]
HISTORIES = st.one_of(
    st.tuples(st.just("x"), texts(SHARED), steps(SHARED)), st.tuples(st.none(), texts([*MODES]), steps([*MODES]))
)
"""The code of all rows, or each file's own, since a key of two files fails in mode replace; the first text; steps."""


def apply(flow: FlowDefinition, dsn: str, folder: Path) -> None:
    """A run, or the rebuild that its error names."""
    try:
        assert not run(flow, dsn, folder).failed
    except FlowError as error:
        assert "flows rebuild prices" in str(error)
        rebuild(flow, dsn, folder, run_id="rebuild", fanout=Fanout(1), drop_rows=True)


def live(dsn: str, folder: Path, shared: str | None, text: str, history: list[Any]) -> FlowDefinition:
    """Go through a history; the flow as it is at the end, after a last run."""
    present = flow(folder, text)
    for step in history:
        match step:
            case (name, held):
                code = shared or name.removesuffix(".csv")
                deliver(folder, name, HEADER + "".join(f"{code},{day},{n},{10 - n}\n" for day, n in held.items()))
            case "run":
                try:
                    assert not run(present, dsn, folder).failed
                except FlowError as error:
                    assert "flows rebuild prices" in str(error)
            case "rebuild":
                apply(present, dsn, folder)
            case text:
                present = flow(folder, text)
    apply(present, dsn, folder)
    return present


@FEW
@given(history=HISTORIES)
def test_any_history_ends_in_the_table_of_an_empty_database(
    dsn: str, history: tuple[str | None, str, list[Any]]
) -> None:
    with TemporaryDirectory(prefix="evolution-") as home, psycopg.connect(dsn, autocommit=True) as connection:
        names = [f"law_{next(SCHEMAS)}" for _ in range(2)]
        for name in names:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        old, empty = (f"{dsn} options='-c search_path={name}'" for name in names)
        present = live(old, Path(home), *history)
        run(present, empty, Path(home))
        listed = ", ".join(sorted(present.target.columns))
        query = f"SELECT {listed} FROM prices ORDER BY {listed}"
        assert rows(old, query) == rows(empty, query)
        with psycopg.connect(old) as one, psycopg.connect(empty) as other:
            assert storage.columns_of(one, "prices") == storage.columns_of(other, "prices")
            assert storage.drift(one, present) == []
            assert checks.every_row_accounted(one, present).passed
            assert running.outdated(one, present, Path(home)) == []
