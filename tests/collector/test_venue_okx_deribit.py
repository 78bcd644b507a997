"""The simulated OKX and Deribit against our own feeds: what they send is read whole, and makes the venue's books."""

from typing import Any

import pytest
from venue_client import Client, assert_whole, same

from marketdata_assets.exchanges.deribit import session as deribit
from marketdata_assets.exchanges.deribit.feed import DeribitFeed
from marketdata_assets.exchanges.instruments import Instruments
from marketdata_assets.exchanges.okx import session as okx
from marketdata_assets.exchanges.okx.feed import OkxFeed
from marketdata_assets.exchanges.okx.wire import Arg
from marketdata_assets.exchanges.records import (
    Control,
    FundingRate,
    Kline,
    Liquidation,
    OpenInterest,
    Outcome,
    Ticker,
    VenueError,
)
from marketdata_assets.exchanges.records import OrderBook as Levels
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.okx_venue import OkxVenue

OKX_NAMES = ["ABC-USDT", "ABC-USDT-SWAP", "ABC-USD-SWAP"]
DERIBIT_NAMES = ["ABC-PERPETUAL", "ABC_USDC-PERPETUAL", "ABC_USDC"]
PUBLIC = ("trades", "books", "bbo-tbt", "tickers", "funding-rate", "open-interest", "mark-price")
LISTS = [f"/api/v5/public/instruments?instType={kind}" for kind in ("SPOT", "SWAP")]


def _okx(venue: OkxVenue, path: str, args: list[Arg]) -> Client:
    return Client(venue, OkxFeed(), path, okx.subscriptions(args), lists=LISTS)


def test_okx_sends_what_our_feed_reads_whole() -> None:
    with OkxVenue(OKX_NAMES, seed=5) as venue:
        args = [Arg(channel, inst_id=name) for name in OKX_NAMES for channel in PUBLIC]
        client = _okx(venue, "/ws/v5/public", [*args, Arg("liquidation-orders", inst_type="SWAP")]).talk(300)
        source = venue.source()
    trades = {name: [str(one.number) for one in made] for name, made in source.trades.items()}
    assert_whole(client, trades, (Levels, Ticker, FundingRate, OpenInterest, Liquidation))
    for name in OKX_NAMES:
        assert same(client.feed.books[f"books:{name}"].book, venue.markets[name])


def test_okx_has_candles_on_its_business_address_alone() -> None:
    args = [Arg("candle1m", inst_id=name) for name in OKX_NAMES]
    with OkxVenue(OKX_NAMES, speed=120.0) as venue:
        wrong = _okx(venue, "/ws/v5/public", args).talk(1, 0.1)
        right = _okx(venue, "/ws/v5/business", [*args, *(Arg("trades-all", inst_id=name) for name in OKX_NAMES)]).talk(
            10
        )
    assert {error.code for error in wrong.of(VenueError)} == {60018}
    assert not wrong.of(Kline)
    assert {one.instrument for one in right.of(Kline) if one.closed} == set(OKX_NAMES)


def test_okx_cuts_who_says_nothing() -> None:
    with OkxVenue(OKX_NAMES, silence_seconds=0.2) as venue:
        client = _okx(venue, "/ws/v5/public", [Arg("trades", inst_id=OKX_NAMES[0])])
        with pytest.raises(ConnectionError):
            client.talk(0, 0.5, rate=0.0)
        assert venue.violations == ["/ws/v5/public: silence"]


def test_deribit_sends_what_our_feed_reads_whole() -> None:
    session = deribit.Session()
    kinds: list[Any] = ["trade", "book", "ticker"]
    channels = [deribit.channel(kind, name) for name in DERIBIT_NAMES for kind in kinds]
    channels += [deribit.channel("kline", name, "1m") for name in DERIBIT_NAMES]
    channels += [deribit.channel("quote", name) for name in DERIBIT_NAMES]
    with DeribitVenue(DERIBIT_NAMES, seed=5, speed=120.0, heartbeat_seconds=0.2) as venue:
        client = Client(
            venue,
            DeribitFeed("inverse", Instruments("deribit")),
            "/ws/api/v2",
            [*session.hello(), *session.subscribe(channels)],
            lists=["/api/v2/public/get_instruments"],
            reply=lambda made: _test(session, made),
        ).talk(300)
        source = venue.source()
    trades = {name: [f"ABC-{one.number}" for one in made] for name, made in source.trades.items()}
    assert_whole(client, trades, (Levels, Ticker, FundingRate, OpenInterest, Kline))
    assert {"heartbeat", "test_request", "pong"} <= {one.kind for one in client.of(Control)}
    for name in DERIBIT_NAMES:
        assert same(client.feed.books[f"book.100ms:{name}"].book, venue.markets[name])


def test_deribit_leaves_out_of_its_answer_what_it_does_not_know() -> None:
    session = deribit.Session()
    with DeribitVenue(DERIBIT_NAMES) as venue:
        asks = session.subscribe(["trades.NONE-PERPETUAL.100ms", f"trades.{DERIBIT_NAMES[0]}.100ms"])
        client = Client(venue, DeribitFeed("inverse", Instruments("deribit")), "/ws/api/v2", asks).talk(1, 0.05)
    assert [one.detail for one in client.of(Control) if one.kind == "ack"] == [f"trades.{DERIBIT_NAMES[0]}.100ms"]


def _test(session: deribit.Session, made: Outcome) -> bytes | None:
    return session.read_reply(b"", [made]).reply
