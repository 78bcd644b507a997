"""Descriptors of venues: found by name, complete, and added by other packages."""

import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from marketdata_assets.collector import config
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.errors import UnknownExchange
from marketdata_assets.exchanges.venue import SPOT_TYPES


@pytest.fixture
def fresh() -> Iterator[None]:
    """Venues as if nobody had looked for them yet, before and after."""
    for cached in (venues.names, venues.find, venues._registered):
        cached.cache_clear()
    yield
    for cached in (venues.names, venues.find, venues._registered):
        cached.cache_clear()


@pytest.mark.parametrize("name", venues.names())
def test_a_descriptor_is_complete(name: str) -> None:
    venue = venues.find(name)
    assert venue.name == name
    for market_type, market in venue.markets.items():
        assert market.rest.startswith("https://")
        assert market.data_types
        assert "kline" not in market.data_types or "1m" in market.intervals
        assert all(re.fullmatch(venue.symbol_pattern, symbol) for symbol in market.symbols)
        adapter = venue.adapter(venue, market_type, intervals=market.intervals)
        assert (adapter.exchange, adapter.market_type) == (name, market_type)
        assert venue.feed(market_type, strict=False).books == {}
    for place in filter(None, (venue.simulator, venue.sample)):
        assert resolve_name(place)


def test_every_interval_of_a_stream_is_read_back() -> None:
    assert [venues.find(name).interval_of(stream) for name, stream in (
        ("binance", "kline_4h"), ("okx", "candle1Dutc"), ("deribit", "chart.trades.60"), ("okx", "trades"),
        ("deribit", "kline_1m"), ("deribit", "chart.trades.240"),
    )] == ["4h", "1d", "1h", None, "1m", None]  # fmt: skip


def test_an_unknown_venue_has_the_nearest_name() -> None:
    with pytest.raises(UnknownExchange, match=r"'Binanse' is unknown; did you mean 'binance'"):
        venues.find("Binanse")


@pytest.mark.usefixtures("fresh")
def test_another_package_adds_a_venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_venue.py").write_text(
        "from dataclasses import replace\n"
        "from marketdata_assets.exchanges.okx.venue import VENUE\n"
        "THEIRS = replace(VENUE, name='theirs', title='Theirs')\n"
    )
    info = tmp_path / "their_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[marketdata_assets.venues]\ntheirs = their_venue:THEIRS\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert venues.names() == (*venues.OWN, "theirs")
    assert venues.find("theirs").title == "Theirs"
    found = config.parse("exchanges: {theirs: {markets: {spot: {symbols: [BTC-USDT]}}}}", "my.yaml")
    assert found.exchanges["theirs"].markets["spot"].data_types == [*SPOT_TYPES]
