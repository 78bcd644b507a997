"""Deleting what is loaded of symbols: by month, for all of them at once, repeatable, and nothing of the others."""

import datetime as dt
from collections.abc import Callable

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client

from marketdata_assets.reference.records import Days
from marketdata_assets.stores import clickhouse, clickhouse_rewrite
from marketdata_assets.stores import clickhouse_ledger as ledger
from marketdata_assets.stores.bookkeeping import Reject
from marketdata_assets.ticks import registry
from tests.ticks.tick_rows import JANUARY, NOW, assert_ledger_agrees, bars, entry, land, one, stored

FEBRUARY = Days.month("2026-02")
A, B, C = "600000.SH", "600001.SH", "000001.SZ"
LOADED = (A, B, C)


class Killed(BaseException):
    pass


@pytest.fixture
def loaded(client: Client) -> Client:
    """Two months of three symbols, one of them with a rejected row."""
    reject = Reject(7, "bad", "raw", slice="2026-01-05")
    land(client, [one(A, rejects=(reject,), rejected=1, read=441), one(B), one(C)])
    land(client, [one(symbol, FEBRUARY) for symbol in LOADED])
    return client


def delete(client: Client, *symbols: str) -> dict[str, int]:
    return registry.delete_loaded(client, symbols, run_id="removal", now=NOW)


def rest(*symbols: str) -> pl.DataFrame:
    frames = [bars(symbol, days) for symbol in sorted(symbols) for days in (JANUARY, FEBRUARY)]
    return pl.concat(frames)


def test_rows_and_entries_of_the_symbols_are_gone_until_they_are_loaded_again_and_all_others_are_kept(
    loaded: Client,
) -> None:
    expected = 2 * (bars(A, JANUARY).height + bars(A, FEBRUARY).height)
    assert delete(loaded, A, B) == {"tick_data": expected, "order_book": 0, "factors": 0}
    assert stored(loaded).equals(rest(C))
    assert {load.source for load in ledger.entries(loaded, "tick_data")} == {C}
    assert ledger.quarantined(loaded, "tick_data") == []
    assert_ledger_agrees(loaded)
    assert delete(loaded, A, B) == {"tick_data": 0, "order_book": 0, "factors": 0}
    assert stored(loaded).equals(rest(C))
    land(loaded, [one(A, seed=3)])
    assert stored(loaded, A).equals(bars(A, JANUARY, seed=3))
    assert (entry(loaded, A).previous_hash, entry(loaded, A).outcome) == (None, "ok")
    assert_ledger_agrees(loaded)


@pytest.mark.parametrize("step", [5, *(pytest.param(step, marks=pytest.mark.slow) for step in (0, 1, 2, 3, 4, 6, 7))])
def test_a_deletion_that_was_killed_is_continued_by_the_same_call(
    loaded: Client, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Killed before one of: the four steps that matter of the newer month, and the same of the older one."""
    left = [step]

    def dying(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*arguments, **named)

        return call

    with monkeypatch.context() as patched, pytest.raises(Killed):
        for owner, name in (
            (clickhouse_rewrite.Stage, "delete"),
            (ledger, "record_pending"),
            (clickhouse_rewrite.Stage, "publish"),
            (ledger, "record"),
        ):
            patched.setattr(owner, name, dying(getattr(owner, name)))
        delete(loaded, A, B)
    for days in (JANUARY, FEBRUARY):
        kept = [stored(loaded, symbol).filter(pl.col("date").is_between(days.first, days.last)) for symbol in (A, B)]
        assert [frame.height for frame in kept] in ([0, 0], [bars(A, days).height] * 2), "a month is deleted as a whole"
    delete(loaded, A, B)
    assert stored(loaded).equals(rest(C))
    assert {load.source for load in ledger.entries(loaded, "tick_data")} == {C}
    assert_ledger_agrees(loaded)


def test_a_removed_symbol_is_kept_out_until_it_is_restored(client: Client) -> None:
    instruments = _instruments(A, B)
    registry.refresh(client, instruments, None, None, now=NOW)
    for _ in range(2):
        registry.remove(client, [A], now=NOW)
        assert [one.symbol for one in registry.listed(client)] == [B]
        again = registry.refresh(client, instruments, None, None, now=NOW + dt.timedelta(days=1))
        assert (again.symbols, again.added, again.vanished, again.removed) == (1, (), (), (A,))
        assert [one.symbol for one in registry.listed(client)] == [B]
    registry.restore(client, [A, B], now=NOW)
    assert registry.removed(client) == set()
    back = registry.refresh(client, instruments, None, None, now=NOW + dt.timedelta(days=2))
    assert (back.added, back.removed) == ((A,), ())
    assert [one.name for one in registry.listed(client)] == [f"name of {A}", f"name of {B}"]


def test_a_refresh_that_began_before_a_removal_does_not_undo_it(client: Client) -> None:
    registry.refresh(client, _instruments(A, B), None, None, now=NOW)
    row = clickhouse.read(client, "SELECT * FROM symbols WHERE symbol = {symbol:String}", {"symbol": A})
    registry.remove(client, [A], now=NOW - dt.timedelta(hours=1))  # a clock that is slow
    clickhouse.insert(client, "symbols", row, ("status", "source"))
    assert registry.removed(client) == {A}


def _instruments(*symbols: str) -> pl.DataFrame:
    known = {"listed": dt.date(2010, 1, 4), "delisted": None, "status": "listed", "source": "tushare"}
    return pl.DataFrame([{"symbol": symbol, "name": f"name of {symbol}", **known} for symbol in symbols])
