"""Whatever part of a market is stored, and however a venue reported it: what is added completes it, once."""

from collections import Counter
from decimal import Decimal
from itertools import groupby
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_assets.exchanges.tables.trade_matching import StoredTrade, match_trades, missing_numbers

Happened = tuple[int, int, int, str]
"""Moment, price, size and side of one trade; its number is its place."""


@st.composite
def happened(draw: st.DrawFn) -> list[Happened]:
    """Trades in order; often several of one moment, price and side."""
    step = st.tuples(st.integers(0, 1), st.integers(1, 2), st.integers(1, 4), st.booleans())
    moment, found = 1000, []
    for later, price, size, buys in draw(st.lists(step, min_size=1)):
        moment += later
        found.append((moment, price, size, "buy" if buys else "sell"))
    return found


def gap(exchange: Any, market_type: Any, stream: str, ids: tuple[int, int] | tuple[None, None] = (None, None)) -> Gap:
    return Gap(exchange, market_type, "ABC-USDT", "ABC", stream, *ids, 0, 10**6, "reopened")


def trade(exchange: Any, market_type: Any, number: int, one: Happened, first: int | None = None) -> Trade:
    moment, price, size, side = one
    ids = (None, None) if first is None else (str(first), str(number))
    about = (exchange, market_type, "ABC-USDT", "ABC", moment, moment)
    return Trade(*about, str(number), str(price), str(size), None, side, *ids)  # type: ignore[arg-type]


def standing(one: Trade) -> StoredTrade:
    price, size = Decimal(one.price), Decimal(one.size or 0)
    return StoredTrade(one.trade_id, one.ts_event or 0, price, size, one.side, one.first_id, one.last_id)


def runs(every: list[Happened]) -> list[list[int]]:
    """Places of trades that follow one another at one moment, price and side: what a venue may put together."""
    places = range(len(every))
    return [list(some) for _, some in groupby(places, lambda at: (every[at][0], every[at][1], every[at][3]))]


def together(exchange: Any, market_type: Any, every: list[Happened], places: list[int], *, ids: bool) -> Trade:
    size = sum(every[place][2] for place in places)
    moment, price, _, side = every[places[0]]
    whole = (moment, price, size, side)
    return trade(exchange, market_type, places[-1] + 1, whole, places[0] + 1 if ids else None)


@given(happened(), st.data())
def test_okx_has_every_size_once(every: list[Happened], data: st.DataObject) -> None:
    kept = [run for run in runs(every) if data.draw(st.booleans())]
    stored = [together("okx", "spot", every, run, ids=False) for run in kept]
    history = [trade("okx", "spot", place + 1, one) for place, one in enumerate(every)]
    found = match_trades(gap("okx", "spot", "trades"), [standing(one) for one in stored], history)
    missing = {int(one.trade_id) - 1 for one in found.missing}
    assert missing == set(range(len(every))) - {place for run in kept for place in run}
    assert (found.known, found.objections) == (len(stored), [])


@given(happened(), st.data())
def test_binance_has_every_single_trade_once(every: list[Happened], data: st.DataObject) -> None:
    kept = {place for place in range(len(every)) if data.draw(st.booleans())}
    stored = [trade("binance", "spot", place + 1, every[place]) for place in sorted(kept)]
    history = [together("binance", "spot", every, run, ids=True) for run in runs(every)]
    about = gap("binance", "spot", "trade", (0, len(every) + 1))
    found = match_trades(about, [standing(one) for one in stored], history)
    assert (found.known, found.objections) == (len(stored), [])
    assert missing_numbers(about, found.numbers) == ""
    covered: Counter[int] = Counter()
    for one in found.missing:
        first, last = int(one.first_id or one.trade_id), int(one.last_id or one.trade_id)
        covered.update(range(first - 1, last))
        assert (one.first_id is None) <= (first == last)
    assert set(covered) | kept == set(range(len(every)))
    assert max(covered.values(), default=1) == 1
    lone = [one for one in found.missing if one.first_id is None]
    assert not {int(one.trade_id) - 1 for one in lone} & kept


@given(happened(), st.data())
def test_binance_has_every_aggregate_once(every: list[Happened], data: st.DataObject) -> None:
    whole = [together("binance", "linear", every, run, ids=True) for run in runs(every)]
    numbered = [replace(one, trade_id=str(at)) for at, one in enumerate(whole, 500)]
    kept = [one for one in numbered if data.draw(st.booleans())]
    about = gap("binance", "linear", "aggTrade", (499, 500 + len(numbered)))
    found = match_trades(about, [standing(one) for one in kept], numbered)
    assert found.missing == [one for one in numbered if one not in kept]
    assert (found.known, found.objections) == (len(kept), [])
    assert missing_numbers(about, found.numbers) == ""


@given(happened(), st.data())
def test_history_that_lacks_something_is_objected_to(every: list[Happened], data: st.DataObject) -> None:
    stored = [trade("binance", "spot", place + 1, one) for place, one in enumerate(every)]
    lacking = data.draw(st.integers(0, len(every) - 1))
    history = [trade("binance", "spot", at + 1, one, at + 1) for at, one in enumerate(every) if at != lacking]
    assert match_trades(gap("binance", "spot", "trade"), [standing(one) for one in stored], history).objections
    without = [standing(one) for at, one in enumerate(stored) if at != lacking]
    about = gap("binance", "spot", "trade", (0, len(every) + 1))
    found = match_trades(about, without, history)
    assert not found.objections
    assert "lacks 1 numbers" in missing_numbers(about, found.numbers)
