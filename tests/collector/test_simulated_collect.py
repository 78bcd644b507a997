"""`marketdata collect --simulated`: every market of every venue, as exchanges of their own, until the command ends."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from marketdata_assets.cli.collect import simulate
from marketdata_assets.collector import config as configuration
from marketdata_assets.collector.assembly import Places
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.service import Collector
from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.captures.capture import open_capture
from marketdata_assets.exchanges.replay import replay
from marketdata_assets.local.process import port_answers
from marketdata_demo.venues.okx_venue import OkxVenue
from tests.collector.in_loop import in_loop, until


def every_market() -> configuration.Config:
    text = "".join(
        f"{venue.name}: {{markets: {{{', '.join(f'{one}: {{symbols: [BTC-*]}}' for one in venue.markets)}}}}}, "
        for venue in venues.every()
    )
    return configuration.parse(f"exchanges: {{{text}}}\nhttp: {{port: 0}}\ncapture: {{flush_seconds: 0.05}}", "my.yaml")


@in_loop
async def test_every_market_of_a_configuration_is_simulated_and_ends_with_the_command(tmp_path: Path) -> None:
    with ExitStack() as opened:
        found = simulate(every_market(), opened)
        markets = {(exchange, market_type): market for exchange, market_type, market in found.markets()}
        assert set(markets) == {
            (f"{venue.name}-simulated", market) for venue in venues.every() for market in venue.markets
        }
        ports = [int(str(market.base_url).rpartition(":")[2]) for market in markets.values()]
        places = Places(tmp_path / "own", tmp_path / "budgets", tmp_path / "captures")
        collector, stop = Collector(found, Servers(), places), asyncio.Event()
        running = asyncio.create_task(collector.run(stop))
        await until(lambda: _all_trade(collector, len(markets)) or running.done(), 120)
        stop.set()
        report = await running
        assert all(map(port_answers, ports))
    assert not any(map(port_answers, ports))
    assert (report.remaining, sum(report.errors.values())) == (0, 0)
    for path in (tmp_path / "captures").iterdir():
        capture = open_capture(path)
        records = list[str]()
        replay([path], on_record=lambda record, into=records: into.append(record.exchange))
        assert set(records) == {capture.exchange}
        assert str(capture.exchange).endswith("-simulated")


def _all_trade(collector: Collector, count: int) -> bool:
    states = [one for one in collector.status().markets if one.counters.records["trade"] > 3]
    return len(states) == count


def test_a_market_that_goes_by_itself_forgets_what_is_long_ago() -> None:
    with OkxVenue.by_itself("spot") as venue:
        for name in venue.markets:
            venue.wanted(name, "trade")
        venue.emit(500)
        kept = set[int]()

        def forget() -> None:  # between two bursts of the market
            venue._forget(20)
            kept.update(len(made) for made in venue.source().trades.values())
            kept.update(len(market.recent) for market in venue.markets.values())

        venue.call(forget)
        assert kept == {20}
