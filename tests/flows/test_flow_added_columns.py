"""Flows that add new columns of their files to the table: once, whole, in any order, by any number of workers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows import checks, new_columns, storage, trial
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import FlowDefinition, parse, read
from marketdata_assets.flows.errors import FlowError
from marketdata_assets.flows.forget import forget
from marketdata_assets.flows.rebuild import rebuild
from marketdata_assets.flows.status import plan
from marketdata_assets.stores.postgres import connect
from tests.dying import Load, server
from tests.examples import FEW
from tests.flows.flow_files import PRICES, deliver, flow, only_error, rows, run
from tests.flows.test_flow_new_columns import found

ADDING = PRICES.replace("loader:", "loader:\n  new_columns: add")
BY_FILE = ADDING.replace("mode: upsert", "mode: upsert\n  removed_rows: delete")
SCHEMAS = count()


def doomed(file: str, dsn: str) -> None:
    """Add two columns, as a worker does that found them."""
    with connect(dsn) as connection:
        prices = new_columns.present(connection, read(Path(file)))
        new_columns.add(connection, prices, new_columns.named(prices, "a.csv", {"x", "y"}), "a.csv", "killed")


def text(code: str, **more: str) -> str:
    """A file of one row, with more columns."""
    return f"code,day,close,volume{''.join(f',{name}' for name in more)}\n" + (
        f"{code},2024-01-01,1,100{''.join(f',{value}' for value in more.values())}\n"
    )


def table(dsn: str) -> list[dict[str, object]]:
    """The rows by code, with all that files have given."""
    query = "SELECT to_jsonb(prices) - '{day,close,volume,etl_unit,created_at,updated_at}'::text[] FROM prices"
    return [row[0] for row in rows(dsn, f"{query} ORDER BY code, day")]


def no_drift(dsn: str, prices: FlowDefinition) -> bool:
    with psycopg.connect(dsn) as connection:
        return checks.no_drift(connection, prices).passed and checks.no_new_columns(connection, prices).passed


def test_a_new_column_is_added_once_and_reported(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, ADDING)
    deliver(tmp_path, "a.csv", text("a", vwap="3"))
    report = run(prices, dsn, tmp_path)
    assert (report.rows, report.failed) == (1, ())
    assert report.altered == ("new column vwap of a.csv, NULL in rows of files that lack it",)
    assert (table(dsn), no_drift(dsn, prices)) == ([{"code": "a", "vwap": "3"}], True)
    assert (run(prices, dsn, tmp_path).unchanged, found(dsn, prices)) == (1, [])


def test_earlier_files_have_no_value_until_they_are_delivered_with_it_and_nothing_is_loaded_again(
    dsn: str, tmp_path: Path
) -> None:
    prices = flow(tmp_path, ADDING)
    deliver(tmp_path, "a.csv", text("a"))
    run(prices, dsn, tmp_path)
    deliver(tmp_path, "b.csv", text("b", Vwap="2"))
    deliver(tmp_path, "c.csv", text("c", Vwap=" NA", lastPrice="3"))
    assert run(prices, dsn, tmp_path).count("ok") == 2
    assert table(dsn) == [
        {"code": "a", "vwap": None, "last_price": None},
        {"code": "b", "vwap": "2", "last_price": None},
        {"code": "c", "vwap": "NA", "last_price": "3"},
    ]
    deliver(tmp_path, "a.csv", text("a", Vwap="1"))
    deliver(tmp_path, "b.csv", text("b"))
    report = run(prices, dsn, tmp_path)
    assert (report.count("ok"), report.unchanged, report.altered) == (2, 1, ())
    assert [row["vwap"] for row in table(dsn)] == ["1", None, "NA"]


def test_files_that_were_loaded_without_their_new_columns_are_loaded_again_once_the_flow_adds_them(
    dsn: str, tmp_path: Path
) -> None:
    deliver(tmp_path, "a.csv", text("a", vwap="1"))
    deliver(tmp_path, "b.csv", text("b"))
    run(flow(tmp_path), dsn, tmp_path)
    prices = flow(tmp_path, ADDING)
    with psycopg.connect(dsn) as connection:
        assert [unit.place for unit in plan(connection, prices, tmp_path).stale] == ["a.csv"]
    assert run(prices, dsn, tmp_path).unchanged == 1
    assert [row["vwap"] for row in table(dsn)] == ["1", None]
    assert running.code_version(prices) == running.code_version(flow(tmp_path))
    assert run(flow(tmp_path), dsn, tmp_path).unchanged == 2
    deliver(tmp_path, "b.csv", text("b", vwap="2"))
    run(flow(tmp_path), dsn, tmp_path)
    assert [row["vwap"] for row in table(dsn)] == ["1", "2"], "an added column stays one of the flow's"


def test_appended_rows_get_new_columns_and_are_never_loaded_again(dsn: str, tmp_path: Path) -> None:
    append = PRICES.replace("mode: upsert", "mode: append")
    deliver(tmp_path, "a.csv", text("a", vwap="1"))
    run(flow(tmp_path, append), dsn, tmp_path)
    prices = flow(tmp_path, append.replace("loader:", "loader:\n  new_columns: add"))
    deliver(tmp_path, "b.csv", text("b", vwap="2"))
    assert run(prices, dsn, tmp_path).unchanged == 1
    assert [row["vwap"] for row in table(dsn)] == [None, "2"]


def test_an_added_column_that_is_declared_keeps_its_values_or_names_the_rebuild(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", text("a", vwap="1.5"))
    run(flow(tmp_path, ADDING), dsn, tmp_path)
    taking = ADDING.replace("volume: volume}", "volume: volume, vwap: vwap}")
    same = flow(tmp_path, taking.replace("volume: bigint}\n", "volume: bigint, vwap: text}\n"))
    assert (run(same, dsn, tmp_path).altered, table(dsn)) == ((), [{"code": "a", "vwap": "1.5"}])
    typed = flow(tmp_path, taking.replace("volume: bigint}", "volume: bigint, vwap: double}"))
    with psycopg.connect(dsn) as connection:
        seen = plan(connection, typed, tmp_path)
    assert [change.text for change in seen.alterations] == ["vwap is text, declared double precision"]
    with pytest.raises(FlowError, match="flows rebuild prices"):
        run(typed, dsn, tmp_path)
    rebuild(typed, dsn, tmp_path, run_id="rebuild", fanout=Fanout(1))
    assert (table(dsn), no_drift(dsn, typed)) == ([{"code": "a", "vwap": 1.5}], True)
    ignoring = flow(tmp_path, ADDING.replace("loader:", "loader:\n  ignored_columns: [vwap]"))
    with pytest.raises(FlowError, match="its column vwap is not declared"):
        run(ignoring, dsn, tmp_path)


def test_a_rebuild_and_a_new_table_keep_added_columns_and_forgetting_deletes_rows_only(
    dsn: str, tmp_path: Path
) -> None:
    prices = flow(tmp_path, ADDING)
    deliver(tmp_path, "a.csv", text("a", vwap="1"))
    deliver(tmp_path, "b.csv", text("b"))
    run(prices, dsn, tmp_path)
    rebuild(flow(tmp_path), dsn, tmp_path, run_id="rebuild", fanout=Fanout(1))
    both = [{"code": "a", "vwap": "1"}, {"code": "b", "vwap": None}]
    assert (table(dsn), no_drift(dsn, prices), run(prices, dsn, tmp_path).unchanged) == (both, True, 2)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE prices")
    run(prices, dsn, tmp_path)
    assert table(dsn) == both
    (tmp_path / "a.csv").unlink()
    with psycopg.connect(dsn) as connection:
        forget(connection, prices, ["a.csv"])
    assert (table(dsn), run(prices, dsn, tmp_path).unchanged) == ([{"code": "b", "vwap": None}], 1)


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ({"备忘": "1"}, "new column 备忘 is not added: no name of small letters, digits and _ follows from it"),
        ({"etl_unit": "1"}, "new column etl_unit is not added: the flow has another column etl_unit"),
        ({"Close": "1"}, "new column Close is not added: the flow has another column close"),
        ({"vwap": "1", "VWAP": "1"}, "new column vwap is not added: the flow has another column vwap"),
    ],
)
def test_a_column_without_a_name_of_its_own_fails_its_file_and_alters_nothing(
    dsn: str, tmp_path: Path, columns: dict[str, str], cause: str
) -> None:
    prices = flow(tmp_path, ADDING)
    deliver(tmp_path, "a.csv", text("a", **columns))
    assert cause in only_error(prices, dsn, tmp_path)
    assert (table(dsn), no_drift(dsn, prices)) == ([], True)


def test_handlers_that_drop_a_new_column_are_named(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigFile, match="take select out"):
        parse(ADDING + "handlers: [{select: [code, day, close, volume]}]\n")
    (tmp_path / "mine.py").write_text("def cut(frame):\n    return frame.select('code', 'day', 'close', 'volume')\n")
    prices = flow(tmp_path, ADDING + "handlers: [{call: {function: .mine.cut}}]\n")
    deliver(tmp_path, "a.csv", text("a", vwap="1"))
    assert "new column vwap is not added: the handlers do not keep it" in only_error(prices, dsn, tmp_path)
    assert no_drift(dsn, prices)


def test_a_table_of_several_flows_gets_no_columns_of_one(dsn: str, tmp_path: Path) -> None:
    deliver(tmp_path, "a.csv", text("a"))
    run(flow(tmp_path, PRICES, "other"), dsn, tmp_path)
    prices = flow(tmp_path, ADDING)
    deliver(tmp_path, "b.csv", text("b", vwap="1"))
    assert "flows other load into prices too" in only_error(prices, dsn, tmp_path)


def test_a_preview_shows_what_would_be_added(tmp_path: Path) -> None:
    prices = flow(tmp_path, ADDING)
    path = deliver(tmp_path, "a.csv", text("a", vwap="1.5"))
    *_, last = trial.preview(prices, trial.units_at(prices, path)[0])
    assert last.rows.columns == ["code", "day", "close", "volume", "vwap"]
    assert trial.try_file(prices, path).rows["vwap"].to_list() == ["1.5"]


def test_a_flow_takes_the_columns_of_a_backup(dsn: str, tmp_path: Path) -> None:
    prices = flow(tmp_path, ADDING)
    names = [*storage.declared(prices.target), "vwap"]
    with psycopg.connect(dsn) as connection:
        storage.ensure(connection, new_columns.with_columns(prices, names))
        assert sorted(storage.columns_of(connection, "prices")) == sorted(names)


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


@pytest.mark.slow
def test_a_kill_before_any_step_leaves_no_column_without_its_record(dsn: str, tmp_path: Path, survived: Load) -> None:
    prices = flow(tmp_path, ADDING)
    deliver(tmp_path, "a.csv", text("a"))
    run(prices, dsn, tmp_path)
    steps = 0
    while not survived(prices.file, dsn, steps):
        with psycopg.connect(dsn) as connection:
            assert (checks.no_drift(connection, prices).passed, new_columns.added(connection, prices.dataset)) == (
                True,
                (),
            )
        steps += 1
    assert steps > 5
    deliver(tmp_path, "a.csv", text("a", y="2", x="1"))
    assert not run(prices, dsn, tmp_path).failed
    assert (table(dsn), no_drift(dsn, prices)) == ([{"code": "a", "x": "1", "y": "2"}], True)


NAMES = ("a_2.csv", "a_10.csv", "b.csv")
DELIVERIES = st.lists(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.tuples(st.sampled_from("uv"), st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"))),
        min_size=1,
    ),
    min_size=1,
    max_size=4,
)


@FEW
@given(deliveries=DELIVERIES, twice=st.booleans())
def test_files_in_any_order_and_runs_at_once_end_in_the_table_of_one_run(
    dsn: str, deliveries: list[dict[str, tuple[str, dict[str, str]]]], twice: bool
) -> None:
    with TemporaryDirectory(prefix="added-") as home, psycopg.connect(dsn, autocommit=True) as connection:
        folder, names = Path(home), [f"added_{next(SCHEMAS)}" for _ in range(2)]
        for name in names:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        live, empty = (f"{dsn} options='-c search_path={name}'" for name in names)
        prices = flow(folder, BY_FILE)
        for files in deliveries:
            for name, (code, more) in files.items():
                deliver(folder, name, text(code, **more))
            if twice:
                with ThreadPoolExecutor(2) as pool:
                    ended = [*pool.map(lambda _: run(prices, live, folder), range(2))]
            else:
                ended = [run(prices, live, folder, units=[name]) for name in files]
            assert not [unit.error for report in ended for unit in report.failed]
        for one in (live, empty):
            run(prices, one, folder)
        values = [[{k: v for k, v in row.items() if v is not None} for row in table(one)] for one in (live, empty)]
        assert values[0] == values[1]
        assert no_drift(live, prices)
        with psycopg.connect(live) as one:
            assert checks.every_row_accounted(one, prices).passed
            assert running.outdated(one, prices, folder) == []
