"""A rebuild of the K-line: what readers see meanwhile, what is kept, and what it is rejected for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from marketdata_assets.bars import kline
from marketdata_assets.bars.kline import BESIDE, RELATION
from marketdata_assets.errors import TerminalError
from marketdata_assets.stores import relation_swap
from tests.bars.kline_rows import BOTH_MONTHS, GOOD, bar, execute, insert, lines

BARS = [GOOD, bar("2000-07-03 10:00:00")]


@pytest.fixture
def filled_dsn(either_dsn: str) -> str:
    """A K-line of two months on each engine."""
    insert(either_dsn, BARS)
    kline.refresh(either_dsn, BOTH_MONTHS)
    return either_dsn


def rebuild(dsn: str) -> None:
    assert kline.refresh(dsn, (), rebuild=True).rebuilt


def leftovers(dsn: str) -> list[tuple[str]]:
    """Relations and indexes beside the K-line's own."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE %s OR relname LIKE %s",
            [f"{BESIDE}%", f"{RELATION}_replaced%"],
        ).fetchall()


@contextmanager
def reading(dsn: str) -> Iterator[list[int]]:
    """A second connection that counts the rows again and again, a last time after the block; what it has seen."""
    seen: list[int] = []
    done, started = threading.Event(), threading.Event()

    def read() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            last = False
            while not last:
                last = done.is_set()
                [(rows,)] = connection.execute("SELECT count(*) FROM stock_monthly_kline")
                seen.append(rows)
                started.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(30)
    yield seen
    done.set()
    reader.join()


def test_readers_see_the_old_rows_or_the_new_and_never_none(filled_dsn: str) -> None:
    insert(filled_dsn, [bar("2000-08-01 10:00:00")])
    with reading(filled_dsn) as seen:
        rebuild(filled_dsn)
    assert set(seen) == {2, 3}
    assert seen == sorted(seen)
    assert leftovers(filled_dsn) == []


def test_first_refresh_shows_the_kline_when_it_is_complete(either_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(either_dsn, BARS)
    recompute = kline._recompute

    def check(*arguments: Any) -> None:
        recompute(*arguments)
        with psycopg.connect(either_dsn) as connection:
            assert connection.execute("SELECT to_regclass('stock_monthly_kline')").fetchone() == (None,)

    monkeypatch.setattr(kline, "_recompute", check)
    kline.refresh(either_dsn, ["2000-06"])
    assert len(lines(either_dsn)) == 2


def test_rebuild_waits_for_a_reader_and_new_readers_do_not_wait_for_it(
    filled_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relation_swap, "LOCK_TIMEOUT", "50ms")
    with psycopg.connect(filled_dsn) as reader:
        reader.execute("SELECT count(*) FROM stock_monthly_kline")
        work = threading.Thread(target=rebuild, args=[filled_dsn])
        work.start()
        with psycopg.connect(filled_dsn) as other:
            for _ in range(20):
                other.execute("SELECT count(*) FROM stock_monthly_kline")
                other.rollback()
        assert reader.execute("SELECT count(*) FROM stock_monthly_kline").fetchone() == (2,)
        reader.rollback()
        work.join()
    assert leftovers(filled_dsn) == []
    assert len(lines(filled_dsn)) == 2


def test_rebuild_retries_a_drop_that_lost_a_race_in_the_catalog(plain_dsn: str) -> None:
    """TimescaleDB 2.28 drops a continuous aggregate with this error about once in a hundred times while it is read."""
    insert(plain_dsn, BARS)
    kline.refresh(plain_dsn, BOTH_MONTHS)
    execute(
        plain_dsn,
        """CREATE SEQUENCE drops;
           CREATE FUNCTION fail_twice() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
           IF nextval('drops') <= 2 THEN
             RAISE EXCEPTION 'tuple concurrently deleted' USING ERRCODE = 'internal_error';
           END IF; END $$;
           CREATE EVENT TRIGGER failing ON ddl_command_start WHEN TAG IN ('DROP TABLE')
           EXECUTE FUNCTION fail_twice()""",
    )
    rebuild(plain_dsn)
    with psycopg.connect(plain_dsn) as connection:
        [(drops,)] = connection.execute("SELECT last_value FROM drops")
    assert drops > 2
    assert leftovers(plain_dsn) == []
    assert len(lines(plain_dsn)) == 2


def test_views_grants_and_owner_survive_rebuilds(filled_dsn: str) -> None:
    with psycopg.connect(filled_dsn, autocommit=True) as connection:
        role = f"reader_{connection.info.dbname}"
        connection.execute(f"CREATE ROLE {role}".encode())
        try:
            for statement in (
                "CREATE VIEW closes WITH (security_barrier=true) AS SELECT month, code, close FROM stock_monthly_kline",
                "CREATE VIEW highest AS SELECT max(close) AS close FROM closes",
                f"GRANT SELECT ON stock_monthly_kline, closes TO {role}",
            ):
                connection.execute(statement.encode())
            for _ in range(2):
                insert(filled_dsn, [bar("2000-08-01 10:00:00", cells="20 30 20 25 1 1")])
                rebuild(filled_dsn)
                assert connection.execute("SELECT close FROM highest").fetchone() == (25,)
                execute(filled_dsn, "DELETE FROM stock_1min_qfq WHERE time >= '2000-08-01'")
                for relation in ("stock_monthly_kline", "closes"):
                    query = "SELECT has_table_privilege(%s, %s, 'SELECT'), has_table_privilege(%s, %s, 'DELETE')"
                    assert connection.execute(query, [role, relation] * 2).fetchone() == (True, False)
                [(options,)] = connection.execute("SELECT reloptions FROM pg_class WHERE relname = 'closes'")
                assert options == ["security_barrier=true"]
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_indexes_of_a_person_survive_rebuilds(filled_dsn: str) -> None:
    execute(filled_dsn, "CREATE INDEX by_close ON stock_monthly_kline (close) WHERE close > 0")
    for _ in range(2):
        rebuild(filled_dsn)
        with psycopg.connect(filled_dsn) as connection:
            [(made, indexes)] = connection.execute(
                """SELECT pg_get_indexdef(i.indexrelid), (SELECT count(*) FROM pg_index WHERE indrelid = i.indrelid)
                   FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE relname = 'by_close'"""
            )
        assert "USING btree (close) WHERE" in made
        assert indexes == 3
    assert leftovers(filled_dsn) == []


def test_refresh_policies_of_a_person_survive_rebuilds(timescale_dsn: str) -> None:
    insert(timescale_dsn, BARS)
    kline.refresh(timescale_dsn, BOTH_MONTHS)
    execute(timescale_dsn, "SELECT remove_continuous_aggregate_policy('stock_monthly_kline')")
    execute(
        timescale_dsn,
        """SELECT alter_job(add_continuous_aggregate_policy('stock_monthly_kline', start_offset => NULL,
           end_offset => INTERVAL '1 month', schedule_interval => INTERVAL '2 hours'), scheduled => false)""",
    )
    for _ in range(2):
        rebuild(timescale_dsn)
        with psycopg.connect(timescale_dsn) as connection:
            [policy] = connection.execute(
                """SELECT config->>'start_offset', (config->>'end_offset')::interval = '1 month',
                          schedule_interval::text, scheduled
                   FROM timescaledb_information.jobs WHERE hypertable_name = 'stock_monthly_kline'"""
            )
        assert policy == (None, True, "02:00:00", False)


@pytest.fixture
def rejected(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """A rebuild after a statement is rejected by name, before the months are computed and without a change."""

    def check(dsn: str, statement: str, named: str) -> None:
        insert(dsn, BARS)
        kline.refresh(dsn, BOTH_MONTHS)
        execute(dsn, statement.format(RELATION))
        with monkeypatch.context() as patched, pytest.raises(TerminalError, match=named):
            patched.setattr(kline, "_recompute", lambda *_: pytest.fail("computed in vain"))
            rebuild(dsn)
        assert leftovers(dsn) == []
        assert len(lines(dsn)) == 2

    return check


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE MATERIALIZED VIEW best AS SELECT max(close) FROM {}", "materialized view best"),
        (
            "CREATE FUNCTION best() RETURNS numeric LANGUAGE SQL BEGIN ATOMIC SELECT max(close) FROM {}; END",
            r"function best\(\)",
        ),
    ],
)
def test_rebuild_is_rejected_for_what_it_would_drop(
    either_dsn: str, rejected: Callable[[str, str, str], None], statement: str, named: str
) -> None:
    rejected(either_dsn, statement, named)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("SELECT add_retention_policy('{}', INTERVAL '100 years')", r"policy_retention \(job \d+\)"),
        (
            """CREATE MATERIALIZED VIEW years WITH (timescaledb.continuous) AS
               SELECT time_bucket('1 year', month) AS year, max(high) AS high FROM {} GROUP BY 1""",
            "continuous aggregate years",
        ),
    ],
)
def test_rebuild_is_rejected_for_an_aggregate_of_the_aggregate_or_a_policy(
    timescale_dsn: str, rejected: Callable[[str, str, str], None], statement: str, named: str
) -> None:
    rejected(timescale_dsn, statement, named)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE POLICY own ON {} USING (code = current_user)", "policy own on table stock_monthly_kline"),
        ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", "row level security"),
    ],
)
def test_rebuild_is_rejected_for_row_level_security(
    plain_dsn: str, rejected: Callable[[str, str, str], None], statement: str, named: str
) -> None:
    rejected(plain_dsn, statement, named)


def test_rebuild_is_rejected_for_a_view_of_columns_that_the_kline_does_not_have(dsn: str) -> None:
    insert(dsn, BARS)
    execute(dsn, "CREATE TABLE stock_monthly_kline (month date, turnover int)")
    execute(dsn, "CREATE VIEW turnovers AS SELECT turnover FROM stock_monthly_kline")
    with pytest.raises(TerminalError, match=r"VIEW turnovers.*turnover"):
        rebuild(dsn)
    assert leftovers(dsn) == []


def test_killed_rebuild_changes_nothing_and_the_next_refresh_cleans_up(
    filled_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kline, "_recompute", die)
    with pytest.raises(KeyboardInterrupt):
        rebuild(filled_dsn)
    monkeypatch.undo()
    assert leftovers(filled_dsn) != []
    assert len(lines(filled_dsn)) == 2
    kline.refresh(filled_dsn, ["2000-06"])
    assert leftovers(filled_dsn) == []
    assert len(lines(filled_dsn)) == 2


def test_refresh_waits_for_a_rebuild_so_that_no_change_is_lost(
    filled_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh of the old relation would delete the record of a change that the new one does not have."""
    recompute, filled, proceed = kline._recompute, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> None:
        recompute(*arguments)
        if arguments[2] == BESIDE:
            filled.set()
            assert proceed.wait(30)

    monkeypatch.setattr(kline, "_recompute", slow)
    work = threading.Thread(target=rebuild, args=[filled_dsn])
    work.start()
    assert filled.wait(30)
    execute(filled_dsn, "UPDATE stock_1min_qfq SET high = 99")
    other = threading.Thread(target=kline.refresh, args=[filled_dsn, BOTH_MONTHS])
    other.start()
    with psycopg.connect(filled_dsn, autocommit=True) as connection:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while connection.execute(waiting).fetchone() != (1,):
            pass
    proceed.set()
    work.join()
    other.join()
    assert [row[4] for row in lines(filled_dsn)] == [99, 99]
