"""Flows: whatever happens to a folder, each file has a state, and each row one fate, in every order and store.

What files, corrections, kills and runs at once end in is the table of one sequential pass.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from marketdata_assets.flows import status, storage
from marketdata_assets.flows.definition import FlowDefinition, read
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.run import at_folder
from marketdata_assets.flows.targets import contents
from marketdata_assets.loading.file_ledger import FileEntry
from marketdata_assets.stores import clickhouse
from tests.deliveries import EVENTS, Folder, Row, Rows, Step, assert_lawful, packed
from tests.dying import Load, server
from tests.examples import FEW
from tests.flows.flow_files import flow, run

HEADER = "the code of the instrument,the day of the trade,the price at the close of the session\n"
MEMBER = "rows.csv"
TEXT = """loader:
  glob: ["**/*.csv", "**/*.CSV", "**/*.csv.gz", "**/*.zip"]
  columns:
    the code of the instrument: code
    the day of the trade: day
    the price at the close of the session: close
  types: {day: date, close: bigint}
target:
  table: prices
  mode: upsert
  kind: KIND
  order_by: ORDER
  removed_rows: REMOVED
  key: [code, day]
  columns: {code: text, day: date, close: bigint}
quality: {max_rejected_share: 0.8}
"""


def defined(file: Path, url: str) -> FlowDefinition:
    return read(file).at(partial(str, url))


def doomed(dsn: str, folder: str, file: str, url: str) -> None:
    definition, place = at_folder(defined(Path(file), url), folder, Path(folder))
    with suppress(FlowError):
        run(definition, dsn, place)


@pytest.fixture(scope="module")
def dying() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


class Flows:
    """A folder of files of one flow; a key is a day, a value its close. Each file has a wrong row and one twice."""

    names = ("a.csv", "B.CSV", "later/plain.csv", "d.zip", "e.csv.gz")
    forgets = True
    stays_forgotten = old_rows_yield = is_staged = False
    extra_rows = 2

    def __init__(self, dsn: str, folder: Path, dying: Load, text: str, url: str) -> None:
        self.dsn, self.folder, self.dying, self.url = dsn, folder, dying, url
        self.rows_leave = self.follows_deleted = "removed_rows: delete" in text
        self.by_age = "order_by: file time" in text
        self.at_once = 2 if "order_by: close" in text else 1
        self.file = folder.parent / "prices.yaml"
        flow(folder.parent, text)
        self.flow, _ = at_folder(defined(self.file, url), str(folder), folder)
        self.order = (dsn, str(folder), str(self.file), url)

    def content(self, name: str, rows: Mapping[int, int]) -> bytes:
        """The file of a slot, packed as its name says."""
        lines = [f"x,2024-01-0{key + 1},{value}\n" for key, value in sorted(rows.items())]
        text = "".join([HEADER, *lines, *(["x,2024-01-09,much\n", lines[0]] if lines else [])])
        return packed(name, text.encode(), MEMBER)

    def load(self) -> None:
        with ThreadPoolExecutor(self.at_once) as pool:
            for ended in [pool.submit(doomed, *self.order) for _ in range(self.at_once)]:
                ended.result()

    def kill(self, steps: int) -> None:
        self.dying(*self.order, steps)

    def forget(self, name: str) -> None:
        with psycopg.connect(self.dsn) as connection:
            forget(connection, self.flow, [f"{name}!{MEMBER}" if name.endswith(".zip") else name])

    def entries(self) -> list[FileEntry]:
        with psycopg.connect(self.dsn) as connection:
            return status.entries(connection, self.flow, self.folder)

    def table(self) -> Rows:
        with psycopg.connect(self.dsn) as connection:
            storage.ensure_books(connection)
            if not contents.of(connection, self.flow).exist():  # a load that was killed may not have come so far
                return {}
            query = "SELECT day, close FROM prices"
            if self.flow.target.kind == "postgres":
                rows = connection.execute(query).fetchall()
            else:
                with clickhouse.connect(self.url) as client:
                    rows = list(clickhouse.read(client, query).iter_rows())
        return {day.day - 1: int(close) for day, close in rows}


class ByClose(Folder):
    """The rules of a flow that keeps the highest close of a key."""

    def _ordered(self, rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
        return sorted(rows, key=lambda item: (item[1].value, item[1].file))


@settings(FEW, phases=[Phase.generate])
@given(steps=st.lists(EVENTS, min_size=2, max_size=8))
@pytest.mark.parametrize(
    ("kind", "order", "removed"),
    [
        *(("postgres", order, removed) for order in ("file name", "file time") for removed in ("keep", "delete")),
        ("postgres", "close", "delete"),
        ("clickhouse", "file name", "delete"),
    ],
)
def test_every_file_has_a_state_and_every_row_one_fate(
    dsn: str,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    dying: Load,
    kind: str,
    order: str,
    removed: str,
    steps: list[Step],
) -> None:
    url = request.getfixturevalue("clickhouse_url") if kind == "clickhouse" else ""
    text = TEXT.replace("KIND", kind).replace("ORDER", order).replace("REMOVED", removed)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    if url:
        with clickhouse.connect(url) as client:
            for what, name in (("VIEW", "prices"), ("TABLE", "prices_rows"), ("TABLE", "marketdata_flow_loads")):
                client.command(f"DROP {what} IF EXISTS {name} SYNC")
    folder = tmp_path_factory.mktemp("flows") / "delivered"
    folder.mkdir()
    flows = Flows(dsn, folder, dying, text, url)
    assert_lawful(flows, steps, ByClose if order == "close" else Folder)
