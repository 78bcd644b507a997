"""The monthly K-line: both engines against plain Python, and what a refresh touches."""

import datetime as dt
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from marketdata_assets.bars import changes, kline
from marketdata_assets.bars.kline import RELATION
from marketdata_assets.errors import TerminalError
from marketdata_assets.months import months_from
from tests.bars.bar_files import csv_text, deliver, line, minutes, run
from tests.bars.kline_rows import BOTH_MONTHS, GOOD, Bar, bar, execute, insert, lines


def dirty() -> list[Bar]:
    """For each blemish one code with a clean bar between two blemished ones, one with blemished bars alone."""
    blemishes = [
        *(" ".join("-" if n == k else cell for n, cell in enumerate(GOOD[3:]) if cell) for k in range(6)),
        *(" ".join("NaN" if n == k else cell for n, cell in enumerate(GOOD[3:]) if cell) for k in (0, 1, 2, 3, 5)),
        "10 9 8 9 5 500",
        "10 10 8 11 5 500",
        "8 12 9 11 5 500",
        "10 12 9 8 5 500",
        "10 12 9 11 -5 500",
        "10 12 9 11 5 -500",
        "-4 -1 -5 -2 5 500",
        "-1 -1 -1 -1 0 0",
    ]
    bars: list[Bar] = []
    for number, cells in enumerate(blemishes):
        bars += [bar(time, f"{number:06}.SH", cells=cells) for time in ("2000-06-09 09:30:00", "2000-06-30 15:00:00")]
        bars.append(bar("2000-06-15 10:00:00", f"{number:06}.SH"))
        bars.append(bar("2000-06-15 10:00:00", f"{number:06}.SZ", cells=cells))
    bars += [bar(f"2000-06-1{n} 10:00:00", "900000.SH", name) for n, name in enumerate(["old", "new", None])]
    bars += [bar(f"2000-06-1{n} 10:00:00", "900001.SH", None) for n in range(2)]
    bars += [
        bar(time, "900002.SH") for time in ("2000-06-30 23:59:59.999999", "2000-07-01 00:00:00", "2000-07-31 15:00:00")
    ]
    return bars


def plainly(bars: Sequence[Bar]) -> list[tuple]:
    """The K-lines of `bars`, one Python statement for each rule."""
    months: dict[tuple[dt.datetime, str], list[list]] = {}
    for time, code, name, *cells in bars:
        numbers = [None if cell is None else Decimal(cell) for cell in cells]
        if any(number is None or number.is_nan() for number in numbers):
            continue
        opened, high, low, closed, volume, amount = numbers
        if volume < 0 or amount < 0 or high < max(opened, closed) or low > min(opened, closed):
            continue
        at = dt.datetime.fromisoformat(time)
        month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        months.setdefault((month, code), []).append([at, name, *numbers])
    lines = []
    for (month, code), rows in months.items():
        rows.sort(key=lambda row: row[0])
        named = [row[1] for row in rows if row[1] is not None]
        lines.append(
            (
                month, code, named[-1] if named else None, rows[0][2], max(row[3] for row in rows),
                min(row[4] for row in rows), rows[-1][5], sum(row[6] for row in rows), sum(row[7] for row in rows),
            )
        )  # fmt: skip
    return sorted(lines, key=lambda row: (row[0], row[1]))


def test_dirty_minutes_give_the_kline_that_plain_python_gives(either_dsn: str, request: pytest.FixtureRequest) -> None:
    insert(either_dsn, dirty())
    report = kline.refresh(either_dsn, BOTH_MONTHS)
    assert lines(either_dsn) == plainly(dirty())
    codes = {row[1] for row in plainly(dirty())}
    assert sum(code.endswith("SZ") for code in codes) == 2, "of 19 blemishes two are legal prices"
    assert (report.rows, report.codes) == (len(plainly(dirty())), len(codes))
    assert report.engine in request.node.name


def test_both_engines_give_the_same_rows(plain_dsn: str, timescale_dsn: str) -> None:
    for each in (plain_dsn, timescale_dsn):
        insert(each, dirty())
        kline.refresh(each, BOTH_MONTHS)
    assert lines(plain_dsn) == lines(timescale_dsn)
    assert len(lines(plain_dsn)) > 20


def test_first_minute_of_a_month_that_ends_a_write_is_not_lost(either_dsn: str) -> None:
    """TimescaleDB 2.28.3 takes a month for unchanged where a write to a chunk ends at its first instant (#10296)."""
    times = ("2000-05-25 10:00:00", "2000-06-01 00:00:00")
    insert(either_dsn, [bar(time) for time in times])
    months = ["2000-05", "2000-06"]
    kline.refresh(either_dsn, months)
    with psycopg.connect(either_dsn) as connection:
        connection.execute("UPDATE stock_1min_qfq SET high = 99")
        changes.record(connection, {("600000.SH", month) for month in months}, "a")
    kline.refresh(either_dsn, months)
    assert [row[4] for row in lines(either_dsn)] == [99, 99]


def test_month_without_minutes_loses_its_line(either_dsn: str) -> None:
    insert(either_dsn, [bar("2000-06-09 10:00:00"), bar("2000-07-03 10:00:00")])
    kline.refresh(either_dsn, BOTH_MONTHS)
    execute(either_dsn, "DELETE FROM stock_1min_qfq WHERE time < '2000-07-01'")
    assert kline.refresh(either_dsn, ["2000-06"]).rows == 0
    assert [f"{row[0]:%Y-%m}" for row in lines(either_dsn)] == ["2000-07"]


def test_current_month_is_included(either_dsn: str) -> None:
    today = dt.datetime.now(dt.timezone(dt.timedelta(hours=8))).replace(tzinfo=None, microsecond=0)
    insert(either_dsn, [bar("2000-06-09 10:00:00")])
    kline.refresh(either_dsn, ["2000-06"])
    insert(either_dsn, [bar(str(today))])
    assert kline.refresh(either_dsn, [f"{today:%Y-%m}"]).rows == 1
    assert f"{lines(either_dsn)[-1][0]:%Y-%m-%d}" == f"{today:%Y-%m}-01"


def test_first_refresh_fills_every_month_there_is(either_dsn: str) -> None:
    bars = [bar(f"{year}-0{month}-05 10:00:00") for year in (1999, 2001) for month in (1, 5)]
    insert(either_dsn, bars)
    assert kline.refresh(either_dsn, ["2001-05"]).rows == 1
    assert lines(either_dsn) == plainly(bars)


def test_months_apart_are_refreshed_and_those_between_are_not(either_dsn: str) -> None:
    insert(either_dsn, [bar(f"2000-0{month}-05 10:00:00") for month in range(1, 6)])
    kline.refresh(either_dsn, ["2000-01"])
    execute(either_dsn, "UPDATE stock_1min_qfq SET high = 99")
    kline.refresh(either_dsn, ["2000-05", "2000-01", "2000-02"])
    assert [row[4] for row in lines(either_dsn)] == [99, 99, 12, 12, 99]


def test_another_definition_is_noticed_and_rebuilt_on_request(either_dsn: str) -> None:
    insert(either_dsn, dirty())
    engine = kline.refresh(either_dsn, BOTH_MONTHS).engine
    kind = "TABLE" if engine == "rollup" else "VIEW"
    execute(either_dsn, f"COMMENT ON {kind} stock_monthly_kline IS 'marketdata definition {engine} 000000000000'")
    with pytest.raises(TerminalError, match=r"definition .*000000000000.*marketdata kline rebuild"):
        kline.refresh(either_dsn, BOTH_MONTHS)
    assert kline.refresh(either_dsn, ["2000-06"], rebuild=True).rebuilt
    assert lines(either_dsn) == plainly(dirty())
    assert not kline.refresh(either_dsn, ["2000-06"]).rebuilt


@pytest.mark.parametrize("strange", ["CREATE TABLE {} (month date)", "CREATE VIEW {} AS SELECT now() AS month"])
def test_relation_of_unknown_origin_is_not_taken_over_silently(dsn: str, strange: str) -> None:
    insert(dsn, [GOOD])
    execute(dsn, sql.SQL(strange).format(sql.Identifier(RELATION)).as_string(None))
    with pytest.raises(TerminalError, match="unknown"):
        kline.refresh(dsn, ["2000-06"])
    kline.refresh(dsn, ["2000-06"], rebuild=True)
    assert lines(dsn) == plainly([GOOD])


def test_force_repairs_a_line_that_somebody_changed(either_dsn: str) -> None:
    insert(either_dsn, [GOOD])
    kline.refresh(either_dsn, ["2000-06"])
    execute(either_dsn, "DELETE FROM stock_monthly_kline")
    kline.refresh(either_dsn, ["2000-06"], force=True)
    assert lines(either_dsn) == plainly([GOOD])


def change(dsn: str, month: str, run_id: str, high: str = "99") -> None:
    """Change a month's minutes as the loader does: with its record."""
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE stock_1min_qfq SET high = %s WHERE to_char(time, 'YYYY-MM') = %s", [high, month])
        changes.record(connection, {("600000.SH", month)}, run_id)


def stale(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return set(changes.stale(connection))


def test_months_that_a_run_changed_are_refreshed_with_those_requested(either_dsn: str) -> None:
    insert(either_dsn, [bar(f"2000-0{month}-05 10:00:00") for month in range(1, 5)])
    kline.refresh(either_dsn, ())
    for month, run_id in (("2000-01", "a"), ("2000-02", "a"), ("2000-03", "b"), ("2000-04", "b")):
        change(either_dsn, month, run_id)
    assert kline.refresh(either_dsn, ["2000-04"], run_id="a").months == ("2000-01", "2000-02", "2000-04")
    assert [row[4] for row in lines(either_dsn)] == [99, 99, 12, 99]
    assert stale(either_dsn) == {"2000-03"}


def test_change_that_commits_during_a_refresh_leaves_the_month_stale(
    either_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(either_dsn, [bar("2000-06-09 10:00:00")])
    recompute = kline._recompute

    def slow(*arguments: Any) -> None:
        recompute(*arguments)
        change(either_dsn, "2000-06", "late", next(highs))

    monkeypatch.setattr(kline, "_recompute", slow)
    highs = iter(["50", "60"])
    for _ in range(2):
        change(either_dsn, "2000-06", "early", "40")
        kline.refresh(either_dsn, ["2000-06"])
        assert (lines(either_dsn)[0][4], stale(either_dsn)) == (40, {"2000-06"})
    monkeypatch.undo()
    kline.refresh(either_dsn, ["2000-06"])
    assert (lines(either_dsn)[0][4], stale(either_dsn)) == (60, set())


def test_refresh_that_fails_leaves_the_months_stale(either_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Months are committed one by one, the newest first: those before the failure are done."""
    insert(either_dsn, [bar(f"200{year}-01-05 10:00:00") for year in range(3)])
    kline.refresh(either_dsn, ())
    months = ["2000-01", "2001-01", "2002-01"]
    for month in months:
        change(either_dsn, month, "a")
    recompute = kline._recompute

    def fail(*arguments: Any) -> None:
        recompute(*arguments)
        if arguments[3] == "2001-01":
            raise InterruptedError

    monkeypatch.setattr(kline, "_recompute", fail)
    with pytest.raises(InterruptedError):
        kline.refresh(either_dsn, months_from("2000-01", "2002-12"))
    assert stale(either_dsn) == {"2000-01", "2001-01"}
    assert lines(either_dsn)[-1][4] == 99
    monkeypatch.undo()
    kline.refresh(either_dsn, months)
    assert [row[4] for row in lines(either_dsn)] == [99, 99, 99]
    assert stale(either_dsn) == set()


def test_on_a_plain_table_only_changed_stocks_are_recomputed(plain_dsn: str) -> None:
    insert(plain_dsn, [bar("2000-06-05 10:00:00"), bar("2000-06-05 10:00:00", "000001.SZ")])
    kline.refresh(plain_dsn, ())
    execute(plain_dsn, "UPDATE stock_monthly_kline SET high = 77")
    change(plain_dsn, "2000-06", "a")
    kline.refresh(plain_dsn, ["2000-06"])
    assert {row[1]: row[4] for row in lines(plain_dsn)} == {"600000.SH": 99, "000001.SZ": 77}
    kline.refresh(plain_dsn, ["2000-06"])
    assert {row[1]: row[4] for row in lines(plain_dsn)} == {"600000.SH": 99, "000001.SZ": 99}


def test_a_stock_that_left_a_month_leaves_its_kline(dsn: str) -> None:
    insert(dsn, [bar("2000-06-05 10:00:00"), bar("2000-06-05 10:00:00", "000001.SZ")])
    kline.refresh(dsn, ())
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM stock_1min_qfq WHERE code = '600000.SH'")
        changes.record(connection, {("600000.SH", "2000-06")}, "a")
    kline.refresh(dsn, ["2000-06"])
    assert [row[1] for row in lines(dsn)] == ["000001.SZ"]


def test_a_refresh_waits_for_the_policy_however_long_it_takes(
    timescale_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection named as the policy's refreshes the month and is kept from its end by a lock on the minutes."""
    insert(timescale_dsn, [bar("2000-06-05 10:00:00")])
    kline.refresh(timescale_dsn, ())
    change(timescale_dsn, "2000-06", "a")
    monkeypatch.setattr(kline, "REFRESH_WAITS", (0.1,))
    polls: list[float] = []
    with psycopg.connect(timescale_dsn) as holder, psycopg.connect(timescale_dsn, autocommit=True) as policy:
        [(name,)] = policy.execute(
            """SELECT application_name FROM timescaledb_information.jobs
               WHERE proc_name = 'policy_refresh_continuous_aggregate'"""
        ).fetchall()
        policy.execute("SELECT set_config('application_name', %s, false)", [name])
        [(chunk,)] = holder.execute("SELECT show_chunks('stock_1min_qfq')::text").fetchall()
        holder.execute(f"LOCK {chunk} IN ACCESS EXCLUSIVE MODE".encode())
        call = "CALL refresh_continuous_aggregate('stock_monthly_kline', '2000-06-01', '2000-07-01')"
        running = threading.Thread(target=policy.execute, args=[call])
        running.start()
        pid = policy.info.backend_pid
        waiting = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
        while holder.execute(waiting, [pid]).fetchone() != (1,):
            pass

        def poll(seconds: float) -> None:
            polls.append(seconds)
            if len(polls) == 3:
                holder.rollback()
                running.join()
                policy.close()

        monkeypatch.setattr(kline, "time", SimpleNamespace(sleep=poll, monotonic=monotonic))
        kline.refresh(timescale_dsn, ["2000-06"])
    assert len(polls) >= 3
    assert lines(timescale_dsn)[0][4] == 99


def policies(dsn: str) -> dict[str, int]:
    """Background jobs of the bars and of the K-line, counted."""
    with psycopg.connect(dsn) as connection:
        return dict(
            connection.execute(
                """SELECT hypertable_name, count(*) FROM timescaledb_information.jobs
                   WHERE hypertable_name LIKE 'stock%' GROUP BY 1"""
            ).fetchall()
        )


BOTH_POLICIES = {"stock_1min_qfq": 1, "stock_monthly_kline": 1}


def test_policies_are_there_after_each_refresh(timescale_dsn: str) -> None:
    insert(timescale_dsn, [GOOD])
    for rebuild in (False, False, True):
        kline.refresh(timescale_dsn, ["2000-06"], rebuild=rebuild)
        assert policies(timescale_dsn) == BOTH_POLICIES
    execute(timescale_dsn, "SELECT remove_compression_policy('stock_1min_qfq')")
    kline.refresh(timescale_dsn, ["2000-06"])
    assert policies(timescale_dsn) == BOTH_POLICIES


def test_policy_that_a_killed_run_did_not_add_is_added_by_the_next(
    timescale_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(timescale_dsn, [GOOD])

    def die(connection: psycopg.Connection) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kline, "_ensure_policy", die)
    with pytest.raises(KeyboardInterrupt):
        kline.refresh(timescale_dsn, ["2000-06"])
    monkeypatch.undo()
    assert policies(timescale_dsn) == {"stock_1min_qfq": 1}
    kline.refresh(timescale_dsn, ["2000-06"])
    assert policies(timescale_dsn) == BOTH_POLICIES


def test_policy_that_a_person_changed_is_kept(timescale_dsn: str) -> None:
    insert(timescale_dsn, [GOOD])
    kline.refresh(timescale_dsn, ["2000-06"])
    execute(timescale_dsn, "SELECT remove_continuous_aggregate_policy('stock_monthly_kline')")
    chosen = "'stock_monthly_kline', INTERVAL '9 months', NULL, INTERVAL '5 minutes'"
    execute(timescale_dsn, f"SELECT add_continuous_aggregate_policy({chosen})")
    kline.refresh(timescale_dsn, ["2000-06"])
    with psycopg.connect(timescale_dsn) as connection:
        [(every,)] = connection.execute(
            "SELECT schedule_interval FROM timescaledb_information.jobs WHERE hypertable_name = 'stock_monthly_kline'"
        )
    assert every == dt.timedelta(minutes=5)


def test_correction_of_compressed_months_reaches_the_kline(timescale_dsn: str, tmp_path: Path) -> None:
    """All of them are older than the window of the refresh policy."""

    def load(price: str, day: int) -> None:
        labels = [minute for month in range(1, 13) for minute in minutes(f"2000-{month:02d}-10 09:30:00", 5)]
        for code in ("sh600000", "sz000001"):
            text = csv_text([line(label, code, price) for label in labels])
            deliver(tmp_path / f"{code}_2000.csv", text, day)
        run(timescale_dsn, tmp_path)
        kline.refresh(timescale_dsn, [], run_id="test")

    load("10", 1)
    execute(timescale_dsn, "SELECT compress_chunk(c) FROM show_chunks('stock_1min_qfq') c")
    assert {row[3:7] for row in lines(timescale_dsn)} == {(10, 10, 10, 10)}
    load("-7.5", 2)
    assert {row[3:7] for row in lines(timescale_dsn)} == {(Decimal("-7.5"),) * 4}
    assert len(lines(timescale_dsn)) == 24


def test_refreshes_at_once_of_one_month_all_succeed(either_dsn: str) -> None:
    insert(either_dsn, dirty())
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: kline.refresh(either_dsn, BOTH_MONTHS, force=True), range(4)))
    assert [report.months for report in reports] == [tuple(BOTH_MONTHS)] * 4
    assert lines(either_dsn) == plainly(dirty())
