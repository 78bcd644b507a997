"""Reference data: whatever happens to the folder, each file has a state, and each day the rows of the last file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from marketdata_assets.loading.file_ledger import FileEntry
from marketdata_assets.reference import file_states
from marketdata_assets.reference.calendar import ashares
from marketdata_assets.reference.daily import load_days
from marketdata_assets.reference.files import ReferenceFiles
from marketdata_assets.reference.load import Run, Sources
from marketdata_assets.reference.tables import TABLES, ensure
from marketdata_assets.stores import clickhouse, clickhouse_rewrite
from tests.deliveries import EVENTS, Rows, Step, assert_lawful
from tests.dying import Load, server
from tests.examples import FEW
from tests.reference.reference_runs import NOW

HEADER = "remarks of the provider that no table of reference data has a column for,symbol,date,up,down\n"
DAYS = ("2026-02-02", "2026-02-27", "2026-03-02", "2026-03-03", "2026-03-06", "2026-03-09")
SATURDAY = "2026-03-07"
STEPS = ((clickhouse, "insert"), (clickhouse, "read"), (clickhouse_rewrite.Stage, "publish"))


def doomed(url: str, folder: str) -> None:
    with clickhouse.connect(url) as client:
        run = Run(client, Sources(ReferenceFiles(Path(folder))), "test", NOW)
        load_days(run, "price_limits", ["2026-02", "2026-03"], calendar=ashares())


@pytest.fixture(scope="module")
def dying() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


class Reference:
    """A folder of price limits of one stock; a key is a trading day, a value its upper limit.

    Each file has a row twice and one of a Saturday. A day that no file has keeps its rows, so they leave no file, and
    make way for those of any file that has the day.
    """

    names = (
        "price_limits.csv",
        "PRICE_LIMITS_b.CSV",
        "price_limits.c.csv",
        "price_limits_涨跌停.csv",
        "Price_limits_e.csv",
    )
    rows_leave = by_age = forgets = stays_forgotten = is_staged = follows_deleted = False
    old_rows_yield = True
    extra_rows = 2

    def __init__(self, client: Client, url: str, folder: Path, dying: Load) -> None:
        self.client, self.url, self.folder, self.dying = client, url, folder, dying

    def content(self, name: str, rows: Mapping[int, int]) -> bytes:
        """The file of a slot."""
        lines = [f",600000.SH,{DAYS[key]},{value},1\n" for key, value in sorted(rows.items())]
        return "".join([HEADER, *lines, *([lines[0], f",600000.SH,{SATURDAY},2,1\n"] if lines else [])]).encode()

    def load(self) -> None:
        doomed(self.url, str(self.folder))

    def kill(self, steps: int) -> None:
        self.dying(self.url, str(self.folder), steps)

    def forget(self, name: str) -> None:
        raise AssertionError(f"{name}: rows that were loaded stay, no file is taken back")

    def entries(self) -> list[FileEntry]:
        return file_states.entries(self.client, self.folder)

    def table(self) -> Rows:
        ensure(self.client)  # a load that was killed may not have come so far
        rows = clickhouse.read(self.client, "SELECT toString(date), up FROM price_limits")
        return {DAYS.index(day): int(up) for day, up in rows.iter_rows()}


@settings(FEW, phases=[Phase.generate])
@given(steps=st.lists(EVENTS.filter(lambda step: step.action != "forget"), min_size=2, max_size=8))
def test_every_file_has_a_state_and_every_row_one_fate(
    clickhouse_client: Client,
    clickhouse_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    dying: Load,
    steps: list[Step],
) -> None:
    ensure(clickhouse_client)
    for table in ("marketdata_ledger_rows", *TABLES):
        clickhouse_client.command(f"TRUNCATE TABLE {table}")
    folder = tmp_path_factory.mktemp("reference") / "delivered"
    folder.mkdir()
    assert_lawful(Reference(clickhouse_client, clickhouse_url, folder, dying), steps)
