"""A subscription that the venue rejects is reported; the market goes on with all others."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from marketdata_assets.exchanges.instruments import Instrument
from marketdata_assets.exchanges.venue_adapter import Subscription
from marketdata_demo.venues.deribit_venue import DeribitVenue
from marketdata_demo.venues.okx_venue import OkxVenue
from marketdata_demo.venues.venue import Venue
from tests.collector.collecting import Hasty, collecting
from tests.collector.in_loop import in_loop


@pytest.mark.parametrize(
    ("exchange", "market_type", "make", "name", "wrong"),
    [
        ("deribit", "inverse", DeribitVenue, "BTC-PERPETUAL", "chart.trades.BTC-PERPETUAL.240"),
        ("okx", "linear", OkxVenue, "ABC-USDT-SWAP", "candle7m:ABC-USDT-SWAP"),
    ],
)
@in_loop
async def test_a_rejected_subscription_does_not_restart_its_market(
    exchange: str,
    market_type: str,
    make: type[Venue],
    name: str,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def with_a_wrong_one(self: Hasty, instrument: Instrument, types: Sequence[str]) -> list[Subscription]:
        right = self._adapter.subscriptions(instrument, types)
        return [*right, Subscription(wrong, right[0].url, name, "wrong", ("kline",), None)]

    monkeypatch.setattr(Hasty, "subscriptions", with_a_wrong_one, raising=False)
    with make([name], seed=3) as venue:
        async with collecting(venue, exchange, market_type, [name], ["trade", "kline"], tmp_path) as run:  # type: ignore[arg-type]
            await run.until(lambda: len(run.market.state().subscriptions) > 1)
            await run.until(lambda: run.subscription(wrong).status == "rejected")
            await run.emit(50)
            await run.caught_up()
            state = run.market.state()
    assert [one.key for one in state.subscriptions if one.status != "confirmed"] == [wrong]
    assert run.subscription(wrong).error
    assert sum(one.reconnects + one.failures for one in state.connections) == 0
