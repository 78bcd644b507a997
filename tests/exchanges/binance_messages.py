"""A feed of Binance under test, and what it said of messages of one instrument."""

from dataclasses import dataclass, field

from marketdata_assets.exchanges.binance.feed import BinanceFeed
from marketdata_assets.exchanges.records import Gap, MarketType, OrderBook, Outcome

NAME = "ABCUSDT"
URL = "https://api.example/depth?symbol=ABCUSDT&limit=1000"


@dataclass
class Run:
    """A feed, and what it said so far."""

    feed: BinanceFeed
    said: list[Outcome] = field(default_factory=list)
    clock: int = 0

    @classmethod
    def of(cls, market_type: MarketType) -> "Run":
        return cls(BinanceFeed(market_type, strict=False))

    def push(self, raw: bytes, connection: int = 0) -> list[Outcome]:
        self.clock += 1
        made = self.feed.push(raw, self.clock, connection=connection)
        self.said += made
        return made

    def answer(self, raw: bytes, url: str = URL) -> list[Outcome]:
        self.clock += 1
        made = self.feed.answer(url, raw, self.clock)
        self.said += made
        return made

    @property
    def gaps(self) -> list[Gap]:
        return [one for one in self.said if isinstance(one, Gap)]

    @property
    def books(self) -> list[OrderBook]:
        return [one for one in self.said if isinstance(one, OrderBook)]
