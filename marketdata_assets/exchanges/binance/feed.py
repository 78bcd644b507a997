"""One market of Binance, messages in and outcomes out: which bytes are which event, and the books they make.

Neither sockets nor clocks are in here. What an event says is the business of `parse`, how a book stays right that of
`book`, what an answer over REST says that of `rest`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from marketdata_assets.exchanges.binance import parse, rest, wire
from marketdata_assets.exchanges.binance.book import Chain, Diff, best_levels
from marketdata_assets.exchanges.binance.event_types import (
    IGNORED,
    OF_FUTURES,
    OF_SPOT,
    Envelope,
    EventType,
    decode_envelope,
    decode_list,
    diff_reader,
    event_types,
    futures_diff,
    is_partial_depth,
    spot_diff,
)
from marketdata_assets.exchanges.binance.instruments import (
    VENUE,
    ExchangeInfo,
    instruments,
    named,
)
from marketdata_assets.exchanges.binance.templates import (
    FORM,
    KEPT_FORMS,
    LATEST_SECOND,
    MILLISECONDS,
    SECOND,
    AggTrades,
    Read,
    template_reader,
)
from marketdata_assets.exchanges.books import Feed
from marketdata_assets.exchanges.errors import UNREADABLE, BadMessage, UnknownInstrument
from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.records import Control, DeadLetter, Outcome, Parser, Ticker, VenueError

KEPT_STREAMS = 20_000  # so many combined streams are known at sight; a connection has 1024 at most
LONG = 320  # no trade and no best prices have so many bytes
_STREAM = b'{"stream":"'
_WAITS = Control("notice", "a diff waits for its snapshot")
_IN_THE_BOOK = Control("ignored", "a diff that the book holds already")

_depth = msgspec.json.Decoder(rest.Depth).decode
_interest = msgspec.json.Decoder(rest.Interest).decode
_exchange_info = msgspec.json.Decoder(ExchangeInfo).decode


class BinanceFeed(Feed):
    """The messages of one market, over any number of sockets. `books` and `resync_requests` are by instrument."""

    venue = VENUE
    book_type, resync = Chain, "snapshot"
    books: dict[str, Chain]  # type: ignore[assignment]  # of book_type

    def prepare(self) -> None:
        self._market = self._of_market()
        self._event_types = event_types(self._market)
        self._take: dict[type, Callable[[Any, Instrument, int, int], list[Outcome]]] = {
            wire.SpotBookTicker: self._best,
            wire.BookTicker: self._best,
            wire.SpotDepth: self._diff,
            wire.FuturesDepth: self._diff,
            wire.OptionDepth: self._partial_depth,
        }
        self._routes: dict[bytes, Parser] = {  # by all up to the first comma: the event, or the combined stream
            f'{{"e":"{name}"'.encode(): self._parser(event_type, wrapped=False)
            for name, event_type in self._event_types.items()
            if name
        }
        self._agg_trades: dict[bytes, AggTrades] = {}
        self._forms: dict[bytes, Read] = {}
        foreign = {"spot": OF_FUTURES, "option": frozenset[str]()}.get(self._market, OF_SPOT)
        self._foreign = [f'"{name}":'.encode() for name in sorted(foreign)]
        self._second: tuple[str, int] = "", 0  # the one of the last aggregate trade, and its ns

    def _named(self, name: str) -> Instrument | None:
        return named(self._market, name)

    def push(self, raw: bytes, ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of a message of the socket with this number."""
        return self.push_all((raw,), ts_recv, connection)

    def push_all(self, raws: Iterable[bytes], ts_recv: int, connection: int = 0) -> list[Outcome]:
        """What becomes of messages that came together, one after the other.

        Written out for aggregate trades, which are most of what comes.
        """
        outcomes: list[Outcome] = []
        known, add, form_of, milliseconds = self._agg_trades.get, outcomes.append, FORM, MILLISECONDS
        second, begin = self._second
        for raw in raws:
            try:
                form = raw.translate(form_of) if len(raw) < LONG else b""
                if template := known(form):
                    cut, make, sizes, side = template
                    at, millisecond, number, price, size, first, last, normal = cut(raw.decode())
                    if at != second or normal != size:
                        if at >= LATEST_SECOND or normal != size:
                            outcomes += self._read(raw, b"", ts_recv, connection)
                            continue
                        second, begin = self._second = at, int(at) * SECOND
                    when = begin + milliseconds[millisecond]
                    if sizes is None:
                        add(make(when, ts_recv, number, price, size, None, side, first, last))
                    else:
                        in_base, contracts = sizes(size, price)
                        add(make(when, ts_recv, number, price, in_base, contracts, side, first, last))
                else:
                    outcomes += self._read(raw, form, ts_recv, connection)
            except UNREADABLE as error:
                add(DeadLetter.of(raw, error, ts_recv))
        return outcomes

    def learn(self, listed: Iterable[Instrument]) -> None:
        """Take a list of instruments; a newer entry replaces an older one."""
        super().learn(listed)
        self._agg_trades.clear()
        self._forms.clear()

    def forget(self, instrument: str) -> None:
        """Stop following an instrument: its book is no longer valid."""
        for by_name in (self.books, self.resync_requests):
            by_name.pop(instrument, None)

    def _stream_of(self, raw: bytes) -> str:
        """As `depth@100ms`; of a bare event its name."""
        envelope = decode_envelope(raw)
        if envelope.stream is not None:
            return envelope.stream.partition("@")[2] or envelope.stream
        if envelope.lastUpdateId is not None:
            return "snapshot"
        return envelope.e or ("bookTicker" if envelope.u is not None else "answer")

    def _read(self, raw: bytes, form: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """One message, by its form where that is known, else in full."""
        if (read := self._forms.get(form)) and (outcomes := read(raw, ts_recv)):
            return outcomes
        begin = raw[:LONG]
        for field in self._foreign:
            if field in begin:
                raise self._of_another_market(field)
        parser = self._routes.get(raw.partition(b",")[0], self._unrouted)
        return parser(raw, ts_recv, connection)

    def _of_another_market(self, field: bytes) -> BadMessage:
        other = "futures" if self._market == "spot" else "spot"
        return BadMessage(
            VENUE,
            f"{field[:-1].decode()} is a field of {other}, and the messages are read as {self._market}:"
            " set --market-type if all are of another market, and record each market in a file of its own if some are",
        )

    def _parser(self, event_type: EventType, *, wrapped: bool) -> Parser:
        """What takes an event that is known by how its message begins."""
        if event_type is self._event_types.get("depthUpdate") and self._market != "option":
            read_diff = diff_reader(self._market, wrapped=wrapped)
            return lambda raw, ts_recv, connection: self._changed(*read_diff(raw, ts_recv), connection)
        decode, convert = event_type.wrapped if wrapped else event_type.bare, event_type.parser

        def parser(raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
            event = decode(raw)
            instrument = self.instruments[event.s]
            if len(raw) < LONG:
                self._form(raw, event, instrument)
            if convert:
                return [convert(event, instrument, ts_recv)]
            return self._take[type(event)](event, instrument, ts_recv, connection)

        return parser

    def _unrouted(self, raw: bytes, ts_recv: int, connection: int) -> list[Outcome]:
        """A message that is not known by how it begins."""
        if self._market == "spot" and raw.startswith(b'{"u":'):
            best: wire.SpotBookTicker = self._event_types[""].bare(raw)
            self._form(raw, best, self.instruments[best.s])
            return self._best(best, self.instruments[best.s], ts_recv, connection)
        stream, data = "", raw
        if raw[:1] != b"[":
            envelope = decode_envelope(raw)
            if envelope.stream is not None:
                stream, data = envelope.stream, bytes(envelope.data)
        if data[:1] == b"[":
            every = decode_list(data)
            return [outcome for one in every for outcome in self._listed(bytes(one), stream, ts_recv, connection)]
        outcomes = self._inside(data, stream, ts_recv, connection)
        if data is not raw:
            self._learn(raw, data, stream)
        return outcomes

    def _learn(self, raw: bytes, data: bytes, stream: str) -> None:
        """Know the next message of this stream at sight."""
        begin, event_type = raw.partition(b",")[0], self._event_type(decode_envelope(data))
        if is_partial_depth(stream) or len(self._routes) >= KEPT_STREAMS:
            return
        if event_type and begin.startswith(_STREAM):
            self._routes[begin] = self._parser(event_type, wrapped=True)

    def _event_type(self, envelope: Envelope) -> EventType | None:
        """The type of an event; without a name, one that has the update of a book is spot's best prices."""
        name = "" if envelope.e is None and envelope.u is not None else envelope.e
        return None if name is None else self._event_types.get(name)

    def _listed(self, data: bytes, stream: str, ts_recv: int, connection: int) -> list[Outcome]:
        """One event of a list of many instruments; one that was listed after our list does not cost the others."""
        try:
            return self._inside(data, stream, ts_recv, connection)
        except UnknownInstrument as error:
            return [Control("ignored", str(error))]

    def _inside(self, data: bytes, stream: str, ts_recv: int, connection: int) -> list[Outcome]:
        """One event, or what is none."""
        envelope = decode_envelope(data)
        event_type = self._event_type(envelope)
        if event_type is None:
            return self._no_event(envelope, data, stream, ts_recv)
        event = event_type.bare(data)
        instrument = self.instruments[event.s]
        if event_type.parser:
            return [event_type.parser(event, instrument, ts_recv)]
        if isinstance(event, wire.FuturesDepth) and is_partial_depth(stream):
            return self._partial_depth(event, instrument, ts_recv, connection)
        return self._take[type(event)](event, instrument, ts_recv, connection)

    def _no_event(self, envelope: Envelope, data: bytes, stream: str, ts_recv: int) -> list[Outcome]:
        """A control message, an answer over the socket, or what a recorder put among the messages."""
        if envelope.e in IGNORED:
            return [Control("ignored", envelope.e)]
        if envelope.e == "serverShutdown":
            return [Control("notice", "the server will shut down: open another socket")]
        if envelope.e is not None:
            raise BadMessage(VENUE, f"the event {envelope.e[:40]!r} is not known")
        if envelope.error or envelope.code is not None:
            error = envelope.error or rest.Failure(envelope.code or 0, envelope.msg)
            return [VenueError(error.code, error.msg, rate_limited=error.code == rest.TOO_MANY_REQUESTS)]
        if envelope.lastUpdateId is not None:
            symbol = stream.partition("@")[0].upper()
            if not is_partial_depth(stream):  # a snapshot that was recorded with the stream
                return self._snapshot(data, symbol, ts_recv)
            depth = _depth(data)
            return [best_levels(self.instruments[symbol], depth.T, ts_recv, depth.bids, depth.asks, depth.lastUpdateId)]
        if envelope.openInterest is not None:
            interest = _interest(data)
            return [rest.open_interest(interest, self.instruments[interest.symbol], ts_recv)]
        if envelope.id is not None:
            return [Control("ack", str(envelope.id))]
        raise BadMessage(VENUE, "it is neither an event nor an answer")

    def _best(self, event: wire.SpotBookTicker, instrument: Instrument, ts_recv: int, _: int) -> list[Outcome]:
        return self._compare_best(parse.book_ticker(event, instrument, ts_recv))

    def _compare_best(self, best: Ticker) -> list[Outcome]:
        """Best prices, compared with the book if there is one."""
        chain = self.books.get(best.instrument)
        wrong = chain.best(best) if chain else None
        return [best, *self._settled(best.instrument, wrong, best.ts_recv)] if wrong else [best]

    def _form(self, raw: bytes, event: Any, instrument: Instrument) -> None:
        no_trade = isinstance(event, wire.FuturesTrade) and event.X == "NA"
        if no_trade or len(self._agg_trades) + len(self._forms) >= KEPT_FORMS:
            return
        reader = template_reader(event, instrument, raw.decode(), self._compare_best)
        if isinstance(reader, tuple):
            self._agg_trades[raw.translate(FORM)] = reader
        elif reader:
            self._forms[raw.translate(FORM)] = reader

    def _diff(
        self, event: wire.SpotDepth | wire.FuturesDepth, instrument: Instrument, ts_recv: int, connection: int
    ) -> list[Outcome]:
        diff = spot_diff(event, ts_recv) if isinstance(event, wire.SpotDepth) else futures_diff(event, ts_recv)
        return self._changed(instrument.name, diff, connection)

    def _changed(self, name: str, diff: Diff, connection: int) -> list[Outcome]:
        chain = self.books.get(name) or self._chain(name)
        outcomes = chain.diff(diff, connection)
        if outcomes and not self.resync_requests and chain.status == "live":
            return outcomes  # type: ignore[return-value]  # a list of some outcomes is one of outcomes
        return self._settled(name, outcomes, diff.ts_recv) or [_IN_THE_BOOK if chain.live else _WAITS]

    def _chain(self, name: str) -> Chain:
        self.state_of(name, self.instruments[name], "depth")
        return self.books[name]

    def _partial_depth(
        self, event: wire.OptionDepth | wire.FuturesDepth, instrument: Instrument, ts_recv: int, _: int
    ) -> list[Outcome]:
        return [best_levels(instrument, event.T, ts_recv, event.b, event.a, event.u)]

    def _snapshot(self, raw: bytes, symbol: str, ts_recv: int) -> list[Outcome]:
        """The book of an instrument.

            GET /fapi/v1/depth?symbol=ABCUSDT&limit=1000
            {"lastUpdateId": 160, "E": 1700000000005, "T": 1700000000003, "bids": [["1.2300", "4.5"]],
             "asks": [["1.2400", "6.7"]]}

        https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#order-book
        """
        depth = _depth(raw)
        name = symbol or depth.symbol
        if not name:
            waiting = [name for name, state in self.books.items() if state.status != "live"]
            if len(waiting) != 1:
                raise BadMessage(VENUE, "a snapshot that does not say of which instrument")
            name = waiting[0]
        if depth.symbol not in (None, name):
            raise BadMessage(VENUE, f"a snapshot of {name} says that it is of {(depth.symbol or '')[:40]}")
        instrument = self.instruments[name]
        if self._market == "option":
            return [best_levels(instrument, depth.T, ts_recv, depth.bids, depth.asks, depth.lastUpdateId)]
        outcomes = self._chain(name).meet(depth, ts_recv)
        if outcomes is None:
            return [Control("ignored", f"a snapshot of {name} that is not needed, or too old")]
        return self._settled(name, outcomes, ts_recv) or [Control("notice", f"a snapshot of {name} waits for a diff")]

    def _answered(self, path: str, query: Mapping[str, str], raw: bytes, ts_recv: int) -> list[Outcome]:
        """Without an address, only its fields say what a response is."""
        if wrong := rest.failure(raw):
            return [wrong]
        what = path.rpartition("/")[2]
        if what in ("depth", ""):
            return self._snapshot(raw, query.get("symbol", ""), ts_recv)
        if what == "exchangeInfo":
            return self._learned(instruments(self._market, _exchange_info(raw), ts_recv))
        if what in ("ping", "time"):
            return [Control("pong", what)]
        return [*rest.records(what, query, raw, self.instruments, ts_recv)]
