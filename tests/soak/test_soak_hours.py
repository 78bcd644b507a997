"""A simulated hour with a killed run and a power cut; `make soak` is two days with all kinds of faults."""

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from marketdata_assets.stores import clickhouse
from tests.soak import delivered, judge
from tests.soak.clock import coming_monday
from tests.soak.simulation import Options, simulation
from tests.soak.world import ARCHIVED, SMALL, World


@pytest.fixture
def home() -> Iterator[Path]:
    # A folder under pytest's own would be too long for PostgreSQL's socket.
    folder = Path(tempfile.mkdtemp(prefix="md-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_hours_with_faults_end_with_everything_fresh(home: Path) -> None:
    start = coming_monday(dt.datetime.now(dt.UTC)) + dt.timedelta(hours=17, minutes=30)
    options = Options(start, hours=0.5, step=dt.timedelta(minutes=15), faults_every=0.2, seed=60, size=SMALL)
    lines: list[str] = []
    with simulation(options, home, say=lines.append) as lived:
        lived.run(settled=lambda: not judge.behind(lived.world))
        found = judge.failures(lived)
        told = "\n".join(lines)
        assert lived.faults, told
        assert judge.behind(lived.world) == [], told
        assert delivered.differences(lived.world) == [], told
        assert judge.failing_checks(lived) == [], told
        assert [str(one) for one in judge.without_reason(lived, found)] == [], told
        assert [str(one) for one in judge.not_mended(lived, found)] == [], told
        _take_away(lived.world)
        lacking = [line.partition(":")[0] for line in delivered.differences(lived.world)]
        assert lacking == ["regular_alphas of archived", "tick_data", "order_book", "exchange_trades of captures"]


def _take_away(world: World) -> None:
    """Something that was delivered, so that the verdict is seen to be able to be another one."""
    with MongoClient[dict[str, object]](world.stack.endpoints.mongo_uri) as client:
        client["regular_alphas"][ARCHIVED].delete_one({})
    assert world.stack.endpoints.clickhouse_url
    with clickhouse.connect(world.stack.endpoints.clickhouse_url) as database:
        for table, which in (
            ("tick_data", "symbol = '699001.SH' AND label = (SELECT max(label) FROM tick_data)"),
            ("order_book", "ts = (SELECT max(ts) FROM order_book)"),
            ("exchange_trades", "(exchange, trade_id) = (SELECT max((exchange, trade_id)) FROM exchange_trades)"),
        ):
            database.command(f"ALTER TABLE {table} DELETE WHERE {which} SETTINGS mutations_sync = 1")
