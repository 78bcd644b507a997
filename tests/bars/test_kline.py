"""The monthly K-line: both engines against plain Python, and what a refresh touches."""

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql

from marketdata_assets.bars import kline, schema
from marketdata_assets.bars.kline import DefinitionDrift

Bar = tuple[str, str, str | None, *tuple[str | None, ...]]
"""Time, code, name, open, high, low, close, volume, amount."""

GOOD: Bar = ("2000-06-09 09:31:00", "600000.SH", "名", "10", "12", "9", "11", "5", "500")


def bar(time: str, code: str = "600000.SH", name: str | None = "名", cells: str = "10 12 9 11 5 500") -> Bar:
    return (time, code, name, *(None if cell == "-" else cell for cell in cells.split()))


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


def insert(dsn: str, bars: Sequence[Bar]) -> None:
    with psycopg.connect(dsn) as connection:
        schema.ensure(connection)
        connection.cursor().executemany(
            "INSERT INTO stock_1min_qfq (time, code, name, open, high, low, close, volume, amount)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            bars,
        )


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


def lines(dsn: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        query = f'SELECT {", ".join(kline.COLUMNS)} FROM stock_monthly_kline ORDER BY month, code COLLATE "C"'
        return connection.execute(query.encode()).fetchall()


def execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


BOTH_MONTHS = ["2000-06", "2000-07"]


def test_dirty_minutes_give_the_kline_that_plain_python_gives(either_dsn: str, request: pytest.FixtureRequest) -> None:
    insert(either_dsn, dirty())
    report = kline.refresh(either_dsn, BOTH_MONTHS)
    assert lines(either_dsn) == plainly(dirty())
    assert (report.rows, report.codes) == (len(plainly(dirty())), len({row[1] for row in plainly(dirty())}))
    assert report.engine in request.node.name


def test_plain_python_drops_what_it_should() -> None:
    """The oracle's own check: of 19 blemishes two are legal prices, and a code with only blemishes has no line."""
    codes = {row[1] for row in plainly(dirty())}
    assert sum(code.endswith("SZ") for code in codes) == 2
    assert plainly([GOOD]) == [
        (dt.datetime(2000, 6, 1), "600000.SH", "名", *map(Decimal, ("10", "12", "9", "11", "5", "500")))
    ]


def test_both_engines_give_the_same_rows(dsn: str, timescale_dsn: str) -> None:
    for each in (dsn, timescale_dsn):
        insert(each, dirty())
        kline.refresh(each, BOTH_MONTHS)
    assert lines(dsn) == lines(timescale_dsn)
    assert len(lines(dsn)) > 20


def test_refresh_of_one_month_changes_only_that_month(either_dsn: str) -> None:
    bars = [bar("2000-06-09 10:00:00"), bar("2000-07-03 10:00:00")]
    insert(either_dsn, bars)
    kline.refresh(either_dsn, BOTH_MONTHS)
    execute(either_dsn, "UPDATE stock_1min_qfq SET high = 99")
    assert lines(either_dsn) == plainly(bars)
    kline.refresh(either_dsn, ["2000-06"])
    assert [row[4] for row in lines(either_dsn)] == [99, 12]
    kline.refresh(either_dsn, ["2000-07"])
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
    with pytest.raises(DefinitionDrift, match=r"definition .*000000000000.*marketdata kline rebuild"):
        kline.refresh(either_dsn, BOTH_MONTHS)
    assert kline.refresh(either_dsn, ["2000-06"], rebuild=True).rebuilt
    assert lines(either_dsn) == plainly(dirty())
    assert not kline.refresh(either_dsn, ["2000-06"]).rebuilt


@pytest.mark.parametrize("strange", ["CREATE TABLE {} (month date)", "CREATE VIEW {} AS SELECT now() AS month"])
def test_relation_of_unknown_origin_is_not_taken_over_silently(dsn: str, strange: str) -> None:
    insert(dsn, [GOOD])
    execute(dsn, sql.SQL(strange).format(sql.Identifier(kline.RELATION)).as_string(None))
    with pytest.raises(DefinitionDrift, match="unknown"):
        kline.refresh(dsn, ["2000-06"])
    kline.refresh(dsn, ["2000-06"], rebuild=True)
    assert lines(dsn) == plainly([GOOD])


def test_force_repairs_a_line_that_somebody_changed(either_dsn: str) -> None:
    insert(either_dsn, [GOOD])
    kline.refresh(either_dsn, ["2000-06"])
    execute(either_dsn, "DELETE FROM stock_monthly_kline")
    kline.refresh(either_dsn, ["2000-06"], force=True)
    assert lines(either_dsn) == plainly([GOOD])


def at_once(call: Callable[[], object], count: int) -> list[BaseException]:
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def one() -> None:
        try:
            gate.wait()
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_refreshes_at_once_of_one_month_all_succeed(either_dsn: str) -> None:
    insert(either_dsn, dirty())
    assert at_once(lambda: kline.refresh(either_dsn, BOTH_MONTHS, force=True), 4) == []
    assert lines(either_dsn) == plainly(dirty())
