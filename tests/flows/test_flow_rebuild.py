"""A table built anew beside the present one: its rows and books, what readers see, kills, and what stops it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, storage
from marketdata_assets.flows import rebuild as rebuilding
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition, read
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.rebuild import Rebuilt
from tests.databases import fresh_postgres
from tests.dying import Load, server
from tests.flows.flow_files import PRICES, closes, deliver, flow, lines, loaded, metadata, quarantined, rows, run

SMALL = PRICES.replace("volume: bigint", "volume: integer")
NARROW = PRICES.replace(", volume: bigint}", "}").replace(", volume: volume}", "}")
REPLACE = PRICES.replace("mode: upsert", "mode: replace")
APPEND = PRICES.replace("mode: upsert", "mode: append")


def rebuild(flow: FlowDefinition, dsn: str, folder: Path, **options: Any) -> Rebuilt:
    return rebuilding.rebuild(flow, dsn, folder, run_id="rebuild", fanout=Fanout(1), **options)


def doomed(file: str, dsn: str, folder: str) -> None:
    rebuild(read(Path(file)), dsn, Path(folder))


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


def has_books(dsn: str, prices: FlowDefinition, folder: Path) -> bool:
    """The table is as declared, each row is accounted, nothing is left to do."""
    with psycopg.connect(dsn) as connection:
        return (
            storage.drift(connection, prices) == []
            and checks.every_row_accounted(connection, prices).passed
            and running.outdated(connection, prices, folder) == []
        )


def is_whole(dsn: str, prices: FlowDefinition, folder: Path) -> bool:
    """The table has its books, and nothing is left beside it."""
    left = rows(dsn, "SELECT relname FROM pg_class WHERE relname ~ 'prices_re(build|placed)'")
    return has_books(dsn, prices, folder) and left == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PRICES, NARROW),
        (PRICES, SMALL),
        (PRICES, PRICES.replace("key: [code, day]", "key: [day, code, close]")),
        (PRICES, APPEND),
        (APPEND, REPLACE),
        (REPLACE.replace("key: [code, day]", "key: []"), PRICES),
        (PRICES, PRICES + "  timestamps: false\n"),
        (PRICES, PRICES),
    ],
)
def test_a_rebuilt_table_is_that_of_an_empty_database(
    server_dsn: str, dsn: str, tmp_path: Path, before: str, after: str
) -> None:
    loaded(dsn, tmp_path, before, a=[1, 2, "junk", *range(4, 120)], b=[7])
    changed = flow(tmp_path, after)
    done = rebuild(changed, dsn, tmp_path)
    assert (done.rows, done.files, done.dropped) == (119, 2, 0)
    assert is_whole(dsn, changed, tmp_path)
    with fresh_postgres(server_dsn) as empty:
        run(changed, empty, tmp_path)
        names = ", ".join(changed.target.columns)
        everything = f"SELECT {names} FROM prices ORDER BY {names}"
        assert rows(dsn, everything) == rows(empty, everything)
        assert quarantined(dsn) == quarantined(empty)
        with psycopg.connect(dsn) as one, psycopg.connect(empty) as other:
            assert storage.columns_of(one, "prices") == storage.columns_of(other, "prices")
    deliver(tmp_path, "c.csv", lines("c", [5]))
    assert run(changed, dsn, tmp_path).rows == 1
    assert is_whole(dsn, changed, tmp_path)


def test_readers_see_the_old_rows_or_the_new_and_never_none(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, a=[1, 2])
    doubled = flow(tmp_path, PRICES + "handlers: [{derive: {close: close * 2}}]\n")
    seen: set[object] = set()
    done, started = threading.Event(), threading.Event()

    def read_again() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not done.is_set():
                seen.add(connection.execute("SELECT count(*), sum(close) FROM prices").fetchone())
                started.set()

    reader = threading.Thread(target=read_again)
    reader.start()
    assert started.wait(30)
    try:
        rebuild(doubled, dsn, tmp_path)
    finally:
        done.set()
        reader.join()
    assert seen <= {(2, 3), (2, 6)}
    assert closes(dsn) == [2, 4]


def test_views_grants_and_indexes_are_kept(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, a=[1])
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE VIEW volumes AS SELECT sum(volume) AS volume FROM prices")
        connection.execute("CREATE INDEX by_close ON prices (close)")
        connection.execute("GRANT SELECT ON prices TO PUBLIC")
    rebuild(flow(tmp_path, SMALL), dsn, tmp_path)
    assert rows(dsn, "SELECT volume FROM volumes") == [(100,)]
    assert rows(dsn, "SELECT indexname FROM pg_indexes WHERE tablename = 'prices' ORDER BY 1") == [
        ("by_close",),
        ("prices_pkey",),
    ]
    assert rows(dsn, "SELECT has_table_privilege('pg_monitor', 'prices', 'SELECT')") == [(True,)]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE MATERIALIZED VIEW kept AS SELECT close FROM prices", "depend on it: materialized view kept"),
        ("CREATE VIEW needs AS SELECT volume FROM prices", r"column \S*volume\S* does not exist"),
        ("CREATE TABLE prices_rebuild (a int)", "a table prices_rebuild exists"),
    ],
)
def test_what_would_break_is_said_before_a_file_is_read(dsn: str, tmp_path: Path, made: str, said: str) -> None:
    loaded(dsn, tmp_path, a=[1])
    with psycopg.connect(dsn) as connection:
        connection.execute(made.encode())
    (tmp_path / "a.csv").write_text("not read")
    with pytest.raises(Exception, match=said):
        rebuild(flow(tmp_path, NARROW), dsn, tmp_path)
    assert closes(dsn) == [1]


def test_rows_that_no_file_has_are_only_dropped_when_asked(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, a=[1, 2, 3], b=[5])
    (tmp_path / "b.csv").unlink()
    deliver(tmp_path, "a.csv", lines("a", [1]))
    small = flow(tmp_path, SMALL)
    with pytest.raises(FlowError, match=r"3 of its rows are in no file now, such as those of b.csv"):
        rebuild(small, dsn, tmp_path)
    assert (closes(dsn), closes(dsn, "b")) == ([1, 2, 3], [5])
    done = rebuild(small, dsn, tmp_path, drop_rows=True)
    assert (done.rows, done.dropped, closes(dsn)) == (1, 3, [1])
    assert metadata(dsn)["b.csv"]["status"] == "pending"
    assert is_whole(dsn, small, tmp_path)
    deliver(tmp_path, "b.csv", lines("b", [5]))
    assert run(small, dsn, tmp_path).rows == 1


def test_a_failed_file_leaves_the_old_table_and_the_next_rebuild_continues(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, a=[1], b=[2])
    deliver(tmp_path, "b.csv", "code,day\n")
    small = flow(tmp_path, SMALL)
    with pytest.raises(FlowError, match=r"1 files failed: b.csv:1: the header has no close"):
        rebuild(small, dsn, tmp_path)
    assert closes(dsn, "b") == [2]
    deliver(tmp_path, "b.csv", lines("b", [3]))
    assert rebuild(small, dsn, tmp_path).rows == 2
    assert (closes(dsn), closes(dsn, "b")) == ([1], [3])
    assert is_whole(dsn, small, tmp_path)


def test_a_table_of_two_flows_is_not_rebuilt(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, a=[1])
    other = flow(tmp_path, PRICES, "other")
    run(other, dsn, tmp_path)
    with pytest.raises(FlowError, match="flows other load into it too"):
        rebuild(flow(tmp_path, SMALL), dsn, tmp_path)


def test_two_rebuilds_at_once_and_a_table_that_is_not_there_are_rejected(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", lines("a", [1]))
    prices = flow(tmp_path)
    with pytest.raises(FlowError, match="it does not exist yet; marketdata flows run prices creates it"):
        rebuild(prices, dsn, tmp_path)
    run(prices, dsn, tmp_path)
    rejected = pytest.raises(FlowError, match="another rebuild of it is in progress")
    with psycopg.connect(dsn) as connection, rejected:
        connection.execute("SELECT pg_advisory_lock(hashtextextended('rebuild of prices', 4))")
        rebuild(prices, dsn, tmp_path)


MEANWHILE = """import polars as pl
from pathlib import Path

def add(frame):
    from tests.flows.test_flow_rebuild import meanwhile
    meanwhile(Path(__file__).parent, frame["code"][0])
    return frame
"""
DONE: dict[Path, Any] = {}


def meanwhile(folder: Path, code: str) -> None:
    """What a test wants to happen once while the file of a code is being read."""
    if code == "b" and folder in DONE:
        DONE.pop(folder)()


@pytest.mark.parametrize("what", ["rebuild", "forget"])
@pytest.mark.parametrize("text", [PRICES, REPLACE])
def test_a_load_that_a_rebuild_or_forget_overtakes_ends_with_the_files_number(
    dsn: str, tmp_path: Path, text: str, what: str
) -> None:
    (tmp_path / "mine.py").write_text(MEANWHILE)
    prices = flow(tmp_path, text + "handlers: [{call: {function: .mine.add}}]\n")
    deliver(tmp_path, "a.csv", lines("a", [1]))
    deliver(tmp_path, "b.csv", lines("b", [2]))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "b.csv", lines("b", [3]))

    def forgotten() -> None:
        with psycopg.connect(dsn) as connection:
            forget(connection, prices, ["b.csv"])

    DONE[tmp_path] = forgotten if what == "forget" else lambda: rebuild(prices, dsn, tmp_path)
    assert not run(prices, dsn, tmp_path).failed
    assert tmp_path not in DONE
    assert closes(dsn, "b") == [3]
    assert is_whole(dsn, prices, tmp_path)


@pytest.mark.parametrize(
    ("first", "stride"), [pytest.param(0, 41, id="quick"), pytest.param(1, 2, id="all", marks=pytest.mark.slow)]
)
def test_a_killed_rebuild_leaves_the_old_table_or_the_new(
    dsn: str, tmp_path: Path, survived: Load, first: int, stride: int
) -> None:
    loaded(dsn, tmp_path, SMALL, a=range(1, 40), b=[1, 2, "junk", *range(4, 110)])
    texts = {"integer": SMALL, "double precision": PRICES.replace("volume: bigint", "volume: double")}
    known, steps, ended = rows(dsn), first, False
    while not ended:
        now = kind_of_volume(dsn)
        (other,) = texts.keys() - {now}
        old, new = flow(tmp_path, texts[now]), flow(tmp_path, texts[other])
        if (steps - first) // stride % 2:  # what the last one has loaded is out of date then
            deliver(tmp_path, "a.csv", lines("a", range(1, 40)))
            run(old, dsn, tmp_path)
        ended = survived(new.file, dsn, tmp_path, steps)
        assert rows(dsn) == known
        after = kind_of_volume(dsn)
        assert after == other or not ended
        assert has_books(dsn, new if after == other else old, tmp_path)
        steps += stride
    assert rebuild(flow(tmp_path, texts[now]), dsn, tmp_path).rows == len(known)
    assert is_whole(dsn, flow(tmp_path, texts[now]), tmp_path)
    assert steps > 60


def kind_of_volume(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        return storage.columns_of(connection, "prices")["volume"]
