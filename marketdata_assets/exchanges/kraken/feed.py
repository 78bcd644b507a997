"""The session of Kraken's public socket, without the socket: bytes in, outcomes out. Live and replay use the same."""

from collections.abc import Mapping

from marketdata_assets.exchanges.channel_feed import ChannelFeed
from marketdata_assets.exchanges.errors import UnknownInstrument
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.kraken import book, parse, wire
from marketdata_assets.exchanges.kraken.book import BookStream
from marketdata_assets.exchanges.kraken.instruments import instruments, named, rest_name
from marketdata_assets.exchanges.kraken.wire import VENUE
from marketdata_assets.exchanges.records import Control, ControlKind, Outcome
from marketdata_assets.exchanges.wire import field

BOOK = "book"
CHANNELS = {"trade": parse.trades, "ticker": parse.tickers, "ohlc": parse.candles}
# {"channel":"heartbeat"}
# https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/heartbeat: every second, when nothing else comes.
CONTROLS: dict[str, ControlKind] = {"heartbeat": "heartbeat", "status": "notice"}
SYMBOL = field("symbol")


class KrakenFeed(ChannelFeed):
    """The spot market of Kraken. `books` has one state for each pair, by `book:pair`."""

    venue, book_type, book_channels = VENUE, BookStream, (BOOK,)
    channels, controls = CHANNELS, {**CONTROLS, "instrument": "ignored", "level3": "ignored"}
    books: dict[str, BookStream]  # type: ignore[assignment]  # of book_type
    _named, _decode_book, _names = staticmethod(named), staticmethod(book.decode), SYMBOL.findall
    _end, _book_word = b',"type"', b'"book"'  # what follows the channel

    def prepare(self) -> None:
        super().prepare()
        self._answers = {"answer": self._confirmed}

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        if error := wire.error_of(raw):
            return [error]
        match path.rpartition("/")[2]:
            case "AssetPairs":
                return self._learned(instruments(raw, ts_recv))
            case "Trades":
                return parse.past_trades(raw, ts_recv, self._of_rest(query.get("pair", "")))
            case "OHLC":
                pair = self._of_rest(query.get("pair", ""))
                return parse.past_candles(raw, ts_recv, pair, int(query.get("interval", "1")))
        return [Control("ignored", path)]

    def _of_rest(self, pair: str) -> Instrument:
        for one in (*self.instruments.values(), *self.instruments.known.values()):
            if rest_name(one) == pair:
                return one
        raise UnknownInstrument(VENUE, pair)

    def _stream_of(self, raw: bytes) -> str:
        head = wire.answer(raw)
        return "answer" if head.method else head.channel or "unknown"

    def _confirmed(self, raw: bytes) -> list[Outcome]:
        """The answer to a request; that to a subscription of a book says how deep it is."""
        made, about = wire.answered(raw)
        if about and about.depth:
            self.state_of(about.key, self.instruments[about.symbol], BOOK).depth = about.depth
        return made
