"""The books of one market: a chain for each instrument that diffs or snapshots came for, and which need a snapshot."""

from collections.abc import Sequence

from marketdata_assets.exchanges.binance import parse
from marketdata_assets.exchanges.binance.answers import Depth
from marketdata_assets.exchanges.binance.chain import Chain, Diff, Snapshot
from marketdata_assets.exchanges.binance.facts import NS, Facts, Known
from marketdata_assets.exchanges.binance.instruments import VENUE
from marketdata_assets.exchanges.books import BookState
from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.outcomes import Control, Outcome
from marketdata_assets.exchanges.records import Gap, OrderBook, Ticker
from marketdata_assets.exchanges.wants import Want

_WAITS = Control("notice", "a diff waits for its snapshot")
_IN_THE_BOOK = Control("ignored", "a diff that the book holds already")


class MarketBooks:
    """All by the venue's name of an instrument. Without `keep` levels become records and no books."""

    def __init__(self, known: Known, *, keep: bool) -> None:
        self.keep = keep
        self.chains: dict[str, Chain] = {}
        self.states: dict[str, BookState] = {}
        self.wants: dict[str, Want] = {}
        self._known = known

    def changed(self, name: str, diff: Diff, connection: int) -> list[Outcome]:
        """What becomes of a change. Raises BadMessage, BadLevel, UnknownInstrument; then it was not taken."""
        if not self.keep:
            return [parse.delta(self._known[name], diff)]
        chain = self.chains.get(name) or self._begun(name, self._known[name])
        made = chain.diff(diff, connection)
        if made and not self.wants and chain.state.status == "live":
            return made  # type: ignore[return-value]  # a list of some outcomes is one of outcomes
        return self._settled(name, made, diff.ts_recv) or [_IN_THE_BOOK if chain.live else _WAITS]

    def snapshot(self, found: Depth, symbol: str, ts_recv: int) -> list[Outcome]:
        """What becomes of a snapshot; `symbol` is "" where only the snapshot may say of which instrument it is."""
        name = symbol or found.symbol or self._only_one_that_waits()
        if found.symbol not in (None, name):
            raise BadMessage(VENUE, f"a snapshot of {name} says that it is of {(found.symbol or '')[:40]}")
        one = self._known[name]
        if not self.keep:
            return [parse.best_levels(one, found.T, ts_recv, found.bids, found.asks, found.lastUpdateId)]
        chain = self.chains.get(name) or self._begun(name, one)
        moment = None if found.T is None else found.T * NS
        made = chain.snapshot(Snapshot(found.lastUpdateId, found.bids, found.asks, moment, ts_recv))
        if made is None:
            return [Control("ignored", f"a snapshot of {name} that is not needed, or too old")]
        return self._settled(name, made, ts_recv) or [Control("notice", f"a snapshot of {name} waits for a diff")]

    def told(self, best: Ticker) -> list[Outcome]:
        """Best prices, held against the book if there is one."""
        chain = self.chains.get(best.instrument)
        wrong = chain.best(best) if chain else None
        return [best, *self._settled(best.instrument, wrong, best.ts_recv)] if wrong else [best]

    def reopened(self, ts_recv: int, connection: int) -> list[Outcome]:
        """The socket of `connection` is a new one: each book on it needs a snapshot again."""
        made: list[Outcome] = []
        for name, chain in self.chains.items():
            made += self._settled(name, chain.reopened(connection, ts_recv), ts_recv)
        return made

    def forget(self, name: str) -> None:
        """An instrument is no longer followed: its book is not to be believed any more."""
        for by_name in (self.chains, self.states, self.wants):
            by_name.pop(name, None)

    def _begun(self, name: str, one: Facts) -> Chain:
        chain = self.chains[name] = Chain(one.one, "depth")
        self.states[name] = chain.state
        return chain

    def _only_one_that_waits(self) -> str:
        names = [name for name, state in self.states.items() if state.status != "live"]
        if len(names) != 1:
            raise BadMessage(VENUE, "a snapshot that does not say of which instrument")
        return names[0]

    def _settled(self, name: str, made: Sequence[OrderBook | Gap], ts_recv: int) -> list[Outcome]:
        """What a chain made, once it is known whether its book needs a snapshot."""
        if self.states[name].status == "live":
            self.wants.pop(name, None)
        elif name not in self.wants:
            self.wants[name] = Want(name, "depth", "snapshot", ts_recv)
        return [*made]
