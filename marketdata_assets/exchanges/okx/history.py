"""OKX's history over REST: candles, trades, funding, open interest, and what is listed now.

All lists come newest first, and `after` asks for what is older than a time or a trade.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.instruments import Instrument, Instruments
from marketdata_assets.exchanges.okx import parse, wire
from marketdata_assets.exchanges.okx.instruments import instruments
from marketdata_assets.exchanges.okx.wire import VENUE, Data
from marketdata_assets.exchanges.records import FundingRate, Kline, OpenInterest, Parser, Trade, VenueError
from marketdata_assets.exchanges.rest import Answer, Limits, Rest
from marketdata_assets.exchanges.rest_history import (
    Cursor,
    Fetch,
    FetchedPage,
    Page,
    Row,
    Window,
    as_bad_page,
    rows_at,
    walk,
    word_of,
)
from marketdata_assets.exchanges.wire import MS
from marketdata_assets.input_limits import NOT_JSON

T = TypeVar("T", Kline, Trade, FundingRate, OpenInterest)

URL = "https://www.okx.com"
API = "/api/v5/"
PAGE = 100  # the most rows of an answer, of the least generous of these lists

PER_2_SECONDS = {
    "market/history-candles": 20,
    "market/history-trades": 20,
    "public/funding-rate-history": 10,
    "public/open-interest": 20,
    "public/instruments": 20,
    "public/underlying": 20,
    "rubik/stat/contracts/open-interest-history": 10,
}
"""Requests, by address, as the documentation says of each path."""

BARS = {
    **{text: text for text in ("1s", "1m", "3m", "5m", "15m", "30m")},
    **{f"{hours}h": f"{hours}H" for hours in (1, 2, 4)},
    **{f"{hours}h": f"{hours}Hutc" for hours in (6, 12)},
    **{f"{days}d": f"{days}Dutc" for days in (1, 2, 3)},
    "1w": "1Wutc",
    "1M": "1Mutc",
    "3M": "3Mutc",
}
"""OKX's word for an interval; of its days, which begin at UTC+8 or at UTC, the ones that other venues have too."""

PERIODS = {name: bar for name, bar in BARS.items() if name[-1] in "mhd" and name not in ("1m", "3m")}


_underlyings = msgspec.json.Decoder(Data[list[str]]).decode


def limits(budgets: BudgetPlace, host: str = "www.okx.com") -> Limits:
    """The rate limits of OKX, one for each path, shared by all processes that use these budgets."""
    lanes = {
        path: Budget(budgets, f"{host}.{path.replace('/', '.')}", 2.0, most) for path, most in PER_2_SECONDS.items()
    }
    return Limits(Budget(budgets, host, 2.0, sum(PER_2_SECONDS.values())), lanes)


def error_of(raw: bytes) -> VenueError | None:
    """What an answer says is wrong; null as well when it cannot be read."""
    try:
        return wire.refusal(raw)
    except NOT_JSON:
        return None


class OkxHistory:
    """Histories of single instruments, newest first. Windows are half-open, of ns; a stored cursor resumes one."""

    def __init__(self, client: Rest, instruments: Instruments) -> None:
        self.instruments = instruments
        self._client = client

    async def listed(self) -> list[Instrument]:
        """All instruments that are traded now; they are taken into `instruments` too."""
        answer = await self._get("public/underlying", instType="OPTION")
        with as_bad_page(f"{VENUE} instruments"):
            families = [name for names in _underlyings(answer.raw).data for name in names]
        kinds = [{"instType": kind} for kind in ("SPOT", "SWAP", "FUTURES")]
        listed: list[Instrument] = []
        for query in [*kinds, *({"instType": "OPTION", "instFamily": family} for family in families)]:
            answer = await self._get("public/instruments", **query)
            with as_bad_page(f"{VENUE} instruments"):
                listed += instruments(answer.raw).instruments
        self.instruments.add(listed)
        return listed

    def klines(self, instrument: str, interval: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Candles that begin in the window and are closed. ValueError for an interval that OKX does not have."""
        word = word_of("OKX", interval, BARS)
        bar = parse.bar_of(word)
        assert bar  # all of BARS are
        parser, query = parse.candles(self.instruments[instrument], bar), {"instId": instrument, "bar": word}
        what, path = f"klines {interval} {instrument}", "market/history-candles"
        return self._by_time(what, where, path, parser, Kline, "open_time", **query)

    def trades(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Trades; OKX keeps those of three months."""
        fetch = partial(self._trades, instrument, parse.trades(self.instruments[instrument]))
        return self._walk(f"trades {instrument}", where, fetch)

    def funding(self, instrument: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """What was paid in the window; OKX keeps three months."""
        parser, path = parse.paid_rates(self.instruments.__getitem__), "public/funding-rate-history"
        what = f"funding {instrument}"
        return self._by_time(what, where, path, parser, FundingRate, "funding_time", instId=instrument)

    def past_open_interest(self, instrument: str, period: str, where: Window | Cursor) -> AsyncIterator[Page]:
        """Open interest of the window, so often; OKX keeps 1440 rows. ValueError for a period that it does not have."""
        parser = parse.past_open_interest(self.instruments[instrument])
        query = {"instId": instrument, "period": word_of("OKX", period, PERIODS)}
        what, path = f"open interest {period} {instrument}", "rubik/stat/contracts/open-interest-history"
        return self._by_time(what, where, path, parser, OpenInterest, "ts_event", bound="end", **query)

    async def _trades(self, instrument: str, parser: Parser, cursor: Cursor) -> FetchedPage:
        """The first page goes by time, the others by the number of the trade that came last."""
        number = cursor.number
        by = {"type": "2", "after": _after(cursor)} if number is None else {"type": "1", "after": str(number)}
        answer = await self._get("market/history-trades", instId=instrument, limit=str(PAGE), **by)
        rows = [
            Row(record.ts_event, record.trade_id, (record,))
            for record in _read(cursor.about, answer, parser, Trade)
            if record.ts_event is not None
        ]
        return _fetched(cursor, rows, rows[-1].key if rows else None)

    def _by_time(
        self,
        what: str,
        where: Window | Cursor,
        path: str,
        parser: Parser,
        kind: type[T],
        field: str,
        *,
        bound: str = "after",
        **query: str,
    ) -> AsyncIterator[Page]:
        """Pages of a path that goes by time: the records of a page are older than the parameter `bound`."""

        async def fetch(cursor: Cursor) -> FetchedPage:
            answer = await self._get(path, **query, **{bound: _after(cursor)}, limit=str(PAGE))
            return _fetched(cursor, rows_at(_read(cursor.about, answer, parser, kind), field))

        return self._walk(what, where, fetch)

    def _walk(self, what: str, where: Window | Cursor, fetch: Fetch) -> AsyncIterator[Page]:
        return walk(f"{VENUE} {what}", where, fetch, newest_first=True)

    async def _get(self, path: str, **params: str) -> Answer:
        return await self._client.get(API + path, params, lane=path)


def _fetched(cursor: Cursor, rows: Sequence[Row], token: str | None = None) -> FetchedPage:
    """The rows of an answer that are in the window; what is older than it, or nothing new at all, is the end."""
    new = [row for row in rows if row.time != cursor.at or row.key not in cursor.seen]
    inside = [row for row in new if row.time >= cursor.start]
    return FetchedPage(inside, done=not inside or len(inside) < len(new), token=token)


def _after(cursor: Cursor) -> str:
    """The millisecond behind the cursor: OKX answers with what is older than that."""
    return str(cursor.at // MS + 1)


def _read(about: str, answer: Answer, parser: Parser, kind: type[T]) -> list[T]:
    with as_bad_page(about):
        return [record for record in parser(answer.raw, answer.ts_recv, 0) if isinstance(record, kind)]
