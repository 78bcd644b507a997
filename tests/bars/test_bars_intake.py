"""Minute bars: whatever happens to a folder, each file has a state, and each minute the row of the newest file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from marketdata_assets.bars import forget, schema, status
from marketdata_assets.bars.ingest import ingest
from marketdata_assets.fanout import Fanout
from marketdata_assets.loading.file_ledger import FileEntry
from tests.bars.bar_files import csv_text, line, minutes, months
from tests.deliveries import EVENTS, Rows, Step, assert_lawful, packed
from tests.dying import Load, server
from tests.examples import FEW

LABELS = [*minutes("2000-06-09 09:31:00", 3), *minutes("2000-06-12 14:57:00", 2), *minutes("2000-07-03 09:31:00", 1)]


def doomed(dsn: str, folder: str) -> None:
    ingest(dsn, Path(folder), months(2000), run_id="test", fanout=Fanout(1))


@pytest.fixture(scope="module")
def dying() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


class Bars:
    """A folder of minute files of one stock; a key is a minute, a value its price."""

    names = ("sh600000_2000.csv", "B_2000.CSV", "later/plain.csv", "2000_1min.zip", "more_2000.csv.gz")
    rows_leave = by_age = forgets = stays_forgotten = True
    old_rows_yield = is_staged = follows_deleted = False
    extra_rows = 0

    def __init__(self, dsn: str, folder: Path, dying: Load) -> None:
        self.dsn, self.folder, self.dying = dsn, folder, dying

    def content(self, name: str, rows: Mapping[int, int]) -> bytes:
        """The file of a slot, packed as its name says."""
        text = csv_text(line(LABELS[key], price=f"{value}.00") for key, value in sorted(rows.items()))
        return packed(name, text, "sh600000_2000.csv")

    def load(self) -> None:
        doomed(self.dsn, str(self.folder))

    def kill(self, steps: int) -> None:
        self.dying(self.dsn, str(self.folder), steps)

    def forget(self, name: str) -> None:
        with psycopg.connect(self.dsn) as connection:
            forget.forget(connection, self.folder, name, "test")

    def entries(self) -> list[FileEntry]:
        with psycopg.connect(self.dsn) as connection:
            return status.file_entries(connection, self.folder, months(2000))

    def table(self) -> Rows:
        with psycopg.connect(self.dsn) as connection:
            schema.ensure(connection)  # a load that was killed may not have come so far
            rows = connection.execute("SELECT time::text, close FROM stock_1min_qfq").fetchall()
        return {LABELS.index(time): int(close) for time, close in rows}


@settings(FEW, phases=[Phase.generate])
@given(steps=st.lists(EVENTS, min_size=2, max_size=8))
def test_every_file_has_a_state_and_every_row_one_fate(
    dsn: str, tmp_path_factory: pytest.TempPathFactory, dying: Load, steps: list[Step]
) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    folder = tmp_path_factory.mktemp("bars") / "delivered"
    folder.mkdir()
    assert_lawful(Bars(dsn, folder, dying), steps)
