"""Which parser a channel of the socket and a path of REST belong to, and what we have no record for."""

from collections.abc import Callable, Mapping

from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.okx import book, candles, derivatives, tickers, trades
from marketdata_assets.exchanges.okx.wire import VENUE, Arg, Find, Parse
from marketdata_assets.exchanges.outcomes import Control

ByFind = Callable[[Find], Parse]

OF_ONE = {
    "trades": trades.trades,
    "trades-all": trades.trades,
    "liquidations": trades.polled_liquidations,
    "bbo-tbt": tickers.best_prices,
}
"""Channels whose elements do not say the instrument again, or need not."""

OF_MANY: dict[str, ByFind] = {
    "option-trades": trades.option_trades,
    "liquidation-orders": trades.liquidations,
    "tickers": tickers.tickers,
    "mark-price": tickers.mark_prices,
    "opt-summary": tickers.option_summaries,
    "funding-rate": derivatives.funding_rates,
    "open-interest": derivatives.open_interest,
}

NO_RECORD = frozenset(
    {
        "adl-warning",
        "block-tickers",
        "economic-calendar",
        "estimated-price",
        "index-tickers",
        "price-limit",
        "public-block-trades",
        "public-struc-block-trades",
        "status",
    }
)
NO_RECORD_PREFIXES = ("sprd-", "mark-price-candle", "index-candle")
"""Spreads of two instruments are no instruments of ours; candles of mark and index prices have no volume."""

BOOKS = book.CHANGES | book.WHOLE

PATHS_OF_ONE = {
    "market/books": book.polled_books,
    "market/books-full": book.polled_books,
    "market/trades": trades.trades,
    "market/history-trades": trades.trades,
    "rubik/stat/contracts/open-interest-history": derivatives.past_open_interest,
}
PATHS_OF_MANY: dict[str, ByFind] = {
    "market/ticker": tickers.tickers,
    "market/tickers": tickers.tickers,
    "public/mark-price": tickers.mark_prices,
    "public/opt-summary": tickers.option_summaries,
    "public/funding-rate": derivatives.funding_rates,
    "public/funding-rate-history": derivatives.paid_rates,
    "public/open-interest": derivatives.open_interest,
}
CANDLE_PATHS = frozenset({"market/candles", "market/history-candles"})
INSTRUMENTS_PATH = "public/instruments"


def of_channel(arg: Arg, find: Find) -> Parse:
    """The parser of a subscription, books excepted. Raises BadMessage for a channel that nobody documented."""
    channel = arg.channel
    if channel in OF_ONE:
        return OF_ONE[channel](find(arg.inst_id))
    if channel in OF_MANY:
        return OF_MANY[channel](find)
    if channel.startswith("candle") and (bar := candles.bar_of(channel.removeprefix("candle"))):
        return candles.candles(find(arg.inst_id), bar)
    if channel in NO_RECORD or channel.startswith(NO_RECORD_PREFIXES):
        return ignored(str(arg))
    raise BadMessage(VENUE, f"channel {channel[:40]!r} is not known")


def of_path(path: str, query: Mapping[str, str], find: Find) -> Parse:
    """The parser of an answer of REST, lists of instruments excepted; `path` is what stands behind /api/v5/."""
    if path in PATHS_OF_MANY:
        return PATHS_OF_MANY[path](find)
    if path in PATHS_OF_ONE:
        return PATHS_OF_ONE[path](find(query.get("instId", "")))
    if path in CANDLE_PATHS:
        bar = candles.bar_of(query.get("bar", "1m"))
        if bar is None:
            raise BadMessage(VENUE, f"candles of {query['bar'][:40]!r} were asked for")
        return candles.candles(find(query.get("instId", "")), bar)
    return ignored(path)


def ignored(what: str) -> Parse:
    """Messages that are as documented and that become no record."""
    return lambda _raw, _ts_recv, _connection: [Control("ignored", what)]
