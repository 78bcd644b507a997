"""Records of an invented market, for tests of what carries them."""

from marketdata_assets.exchanges.records import (
    FundingRate,
    Gap,
    InstrumentState,
    Kline,
    Liquidation,
    OpenInterest,
    OrderBook,
    Ticker,
    Trade,
)

START = 1_700_000_000_000_000_000


def place(name: str = "ABC") -> tuple[str, str, str, str]:
    return "binance", "linear", f"{name}-USDT", f"{name}USDT"


def trade(number: int, name: str = "ABC", ts: int | None = None) -> Trade:
    return Trade(*place(name), START, START + number if ts is None else ts, str(number), "1.50", "2", None, "buy")


def trades(count: int, name: str = "ABC", first: int = 1) -> list[Trade]:
    return [trade(number, name) for number in range(first, first + count)]


def delta(number: int, name: str = "ABC") -> OrderBook:
    """The update with that number, which follows the one before."""
    level = (("1.5", str(number)),)
    ids = {"first_id": number, "last_id": number, "prev_id": number - 1}
    return OrderBook(*place(name), START, START + number, "delta", level, (), "base", **ids)


def snapshot(number: int, name: str = "ABC", ts: int | None = None) -> OrderBook:
    """The book as it is after that update."""
    level = (("1.5", str(number)),)
    when = START + number if ts is None else ts
    return OrderBook(*place(name), START + number, when, "snapshot", level, (), "base", None, number)


def ticker(number: int, name: str = "ABC") -> Ticker:
    return Ticker(*place(name), None, START + number, bid="1.4", ask="1.6", update_id=number)


def candle(number: int, name: str = "ABC", *, minute: int = 0, closed: bool | None = False) -> Kline:
    opened = START + minute * 60_000_000_000
    prices = ("1", "2", "1", str(number))
    return Kline(
        *place(name),
        START + number,
        START + number,
        "1m",
        opened,
        opened + 60_000_000_000,
        *prices,
        "5",
        None,
        None,
        None,
        None,
        None,
        closed,
    )


def funding(number: int, name: str = "ABC") -> FundingRate:
    return FundingRate(*place(name), START + number, START + number, "0.0001", START)


def interest(number: int, name: str = "ABC") -> OpenInterest:
    return OpenInterest(*place(name), START + number, START + number, None, str(number), None)


def liquidation(number: int, name: str = "ABC") -> Liquidation:
    return Liquidation(*place(name), START + number, START + number, "sell", "1.5", "2", None)


def state(number: int) -> InstrumentState:
    return InstrumentState(*place(), None, START + number, "trading", "TRADING")


def gap(number: int, name: str = "ABC") -> Gap:
    return Gap(*place(name), "depth", number, number + 2, START + number, START + number, "sequence")
