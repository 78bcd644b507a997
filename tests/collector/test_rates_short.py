"""The bench of rates in short: what it counts is what was sent. How fast it is, is not asked here."""

from pathlib import Path

from bench.collector_rates import soak

SYMBOLS, RATE, SECONDS, WARM = 3, 1500.0, 2.0, 0.5


def test_every_message_of_a_fast_venue_is_stored_once(tmp_path: Path) -> None:
    one = soak(tmp_path, RATE, SECONDS, WARM, SYMBOLS)
    assert one.violations == []
    assert one.trades_sent > RATE / 14 * 3
    assert one.stored["trade"] == one.trades_sent
    assert one.stored["ticker"] == one.messages_sent * 10 // 14
    assert one.tables == {"rows": one.trades_sent, "in bars": one.trades_sent}
    assert set(one.stored) == {"trade", "ticker", "orderbook"}
    assert one.report["errors"] == {}
    assert one.report["messages"] >= one.messages_sent
    assert one.rate > 0
    assert one.lag_ms(0.5) <= one.lag_ms(0.99) < float("inf")
