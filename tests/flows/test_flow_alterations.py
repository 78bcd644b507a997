"""A table and a changed declaration: what is altered in place, what only a rebuild does, and what happens to views."""

from pathlib import Path

import psycopg
import pytest

from marketdata_assets.flows import alterations, storage
from marketdata_assets.flows import run as running
from marketdata_assets.flows.errors import FlowError
from tests.flows.flow_files import PRICES, closes, deliver, flow, lines, loaded, rows, run

SMALL = PRICES.replace("volume: bigint", "volume: integer")
REPLACE = PRICES.replace("mode: upsert", "mode: replace")
NARROW = PRICES.replace(", volume: bigint}", "}").replace(", volume: volume}", "}")


def types(dsn: str, table: str = "prices") -> dict[str, str]:
    with psycopg.connect(dsn) as connection:
        return storage.columns_of(connection, table)


@pytest.mark.parametrize(
    ("found", "wanted", "fits"),
    [
        ("integer", "bigint", True),
        ("smallint", "bigint", True),
        ("bigint", "integer", False),
        ("integer", "numeric(14,4)", True),
        ("integer", "numeric(13,4)", False),
        ("bigint", "numeric(19,0)", True),
        ("bigint", "numeric(18,0)", False),
        ("bigint", "double precision", False),
        ("numeric(16,4)", "numeric(18,6)", True),
        ("numeric(16,4)", "numeric(18,7)", False),
        ("numeric(16,4)", "numeric(16,2)", False),
        ("numeric(16,4)", "double precision", False),
        ("real", "double precision", True),
        ("double precision", "real", False),
        ("date", "timestamp without time zone", True),
        ("date", "timestamp with time zone", False),
        ("timestamp without time zone", "date", False),
        ("character varying(8)", "text", True),
        ("character varying", "text", True),
        ("integer", "text", False),
    ],
)
def test_a_type_widens_by_rule(found: str, wanted: str, fits: bool) -> None:
    assert alterations.widens(found, wanted) is fits


def test_a_new_column_is_added_and_its_values_are_loaded(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, NARROW, a=[1, 2])
    report = run(flow(tmp_path), dsn, tmp_path)
    assert (report.count("ok"), len(report.altered)) == (1, 1)
    assert "it has no column volume" in report.altered[0]
    assert rows(dsn, "SELECT volume FROM prices") == [(100,), (100,)]
    assert run(flow(tmp_path), dsn, tmp_path).altered == ()


def test_a_new_column_of_appended_rows_is_null_until_a_rebuild(dsn: str, tmp_path: Path) -> None:
    append = "mode: append"
    loaded(dsn, tmp_path, NARROW.replace("mode: upsert", append), a=[1])
    deliver(tmp_path, "b.csv", lines("b", [2]))
    report = run(flow(tmp_path, PRICES.replace("mode: upsert", append)), dsn, tmp_path)
    assert "until a rebuild" in report.altered[0]
    assert rows(dsn, "SELECT code, volume FROM prices ORDER BY code") == [("a", None), ("b", 100)]


@pytest.mark.parametrize("text", [SMALL, SMALL.replace("mode: upsert", "mode: replace")])
def test_a_wider_type_is_altered_in_place_under_its_views(dsn: str, tmp_path: Path, text: str) -> None:
    loaded(dsn, tmp_path, text, a=[1, 2])
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE VIEW volumes AS SELECT code, sum(volume) AS volume FROM prices GROUP BY code")
        connection.execute(
            "CREATE VIEW doubled WITH (security_barrier=true) AS SELECT volume * 2 AS volume FROM volumes"
        )
        connection.execute("COMMENT ON VIEW volumes IS 'for reports'")
        connection.execute("GRANT SELECT ON doubled TO PUBLIC")
    report = run(flow(tmp_path, text.replace("volume: integer", "volume: bigint")), dsn, tmp_path)
    assert (report.failed, len(report.altered)) == ((), 1)
    assert types(dsn)["volume"] == "bigint"
    assert rows(dsn, "SELECT volume FROM doubled") == [(400,)]
    assert rows(dsn, "SELECT obj_description('volumes'::regclass)") == [("for reports",)]
    options = (
        "SELECT reloptions, has_table_privilege('pg_monitor', oid, 'SELECT') FROM pg_class WHERE relname = 'doubled'"
    )
    assert rows(dsn, options) == [(["security_barrier=true"], True)]


def test_what_depends_on_a_column_and_cannot_make_way_leaves_the_table_as_it_was(dsn: str, tmp_path: Path) -> None:
    loaded(dsn, tmp_path, SMALL, a=[1])
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE VIEW plain AS SELECT volume FROM prices")
        connection.execute("CREATE MATERIALIZED VIEW kept AS SELECT volume FROM prices")
    with pytest.raises(FlowError, match=r"volume is integer, declared bigint: cannot alter type of a column used by"):
        run(flow(tmp_path), dsn, tmp_path)
    assert types(dsn)["volume"] == "integer"
    assert rows(dsn, "SELECT volume FROM plain") == [(100,)]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (PRICES, NARROW, "its column volume is not declared"),
        (PRICES, PRICES.replace("volume: bigint}\n", "volume: integer}\n"), "volume is bigint, declared integer"),
        (
            PRICES,
            PRICES.replace("key: [code, day]", "key: [code]"),
            r"its primary key is \(code, day\), declared \(code\)",
        ),
        (PRICES, PRICES.replace("mode: upsert", "mode: append"), "its column etl_unit is not declared"),
        (PRICES.replace("mode: upsert", "mode: append"), REPLACE, "it has no column etl_unit"),
        (PRICES, PRICES + "  timestamps: false\n", "its column created_at is not declared"),
    ],
)
def test_what_would_lose_something_changes_nothing(
    dsn: str, tmp_path: Path, before: str, after: str, said: str
) -> None:
    loaded(dsn, tmp_path, before, a=[1])
    known = types(dsn)
    with pytest.raises(FlowError, match=said):
        run(flow(tmp_path, after), dsn, tmp_path)
    assert (types(dsn), closes(dsn)) == (known, [1])


def test_our_own_columns_come_and_go(dsn: str, tmp_path: Path) -> None:
    untimed = PRICES + "  timestamps: false\n"
    loaded(dsn, tmp_path, untimed, a=[1])
    for text in (PRICES, PRICES.replace("mode: upsert", "mode: upsert\n  order_by: file time"), PRICES, REPLACE):
        changed = flow(tmp_path, text)
        assert not run(changed, dsn, tmp_path).failed
        with psycopg.connect(dsn) as connection:
            assert storage.drift(connection, changed) == []
            assert running.outdated(connection, changed, tmp_path) == []
    assert rows(dsn, "SELECT count(*) FROM pg_indexes WHERE tablename = 'prices' AND indexdef LIKE '%(etl_unit)'") == [
        (1,)
    ]


def test_a_column_that_orders_rows_is_never_null(dsn: str, tmp_path: Path) -> None:
    by_volume = PRICES.replace("mode: upsert", "mode: upsert\n  order_by: volume")
    loaded(dsn, tmp_path, a=[1])
    assert "SET NOT NULL" in run(flow(tmp_path, by_volume), dsn, tmp_path).altered[0]
    assert "DROP NOT NULL" in run(flow(tmp_path), dsn, tmp_path).altered[0]
    deliver(tmp_path, "b.csv", "code,day,close,volume\nb,2024-01-01,1,\n")
    run(flow(tmp_path), dsn, tmp_path)
    with pytest.raises(FlowError, match="volume is NULL in some rows, declared never"):
        run(flow(tmp_path, by_volume), dsn, tmp_path)
