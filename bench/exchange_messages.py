"""Messages of Binance's spot market: shaped ones, whose prices wander, and recorded ones where the fixtures are.

`exchange_venues` makes those of other venues of the shaped ones.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from marketdata_assets.exchanges.captures.capture import open_capture

SYMBOL = "BTCUSDT"
MIDDLE = 6_000_000  # in cents
DEEP = 1000  # levels of a side at the start
FIRST_ID = 50_000_000_000
START_MS = 1_723_000_000_000

RECORDED_TRADES = "2021-04-05_10sym_120s.ndjson"
RECORDED_UPDATES = "hft_btcusdt_20240808.txt.gz"
TIMES = 20  # recorded trades are few: so many times the same

Changes = list[tuple[str, str]]


@dataclass(frozen=True)
class Messages:
    """Trades, and updates of the book of one instrument with the snapshot before them."""

    name: str
    trades: list[bytes]
    updates: list[bytes]
    snapshot: bytes
    venue: str = "binance"

    def write(self, folder: Path) -> None:
        """For the peer."""
        folder.mkdir()
        (folder / "trades").write_bytes(b"\n".join(self.trades))
        (folder / "updates").write_bytes(b"\n".join(self.updates))
        (folder / "snapshot").write_bytes(self.snapshot)


def shaped(count: int, updated: int, levels: int) -> Messages:
    """So many trades, and so many updates of so many levels on both sides together."""
    return Messages("shaped", [*trades(count)], [*updates(updated, levels)], snapshot())


def recorded() -> Messages | None:
    """What was recorded; None where the fixtures are not."""
    root = Path(os.environ.get("MARKETDATA_FIXTURES") or Path(__file__).parents[1] / "../shared/fixtures").resolve()
    folder = root / "binance-spot" / "capture"
    if not folder.is_dir():
        return None
    traded = [one.raw for one in open_capture(folder / RECORDED_TRADES).entries() if b'@aggTrade"' in one.raw[:60]]
    entries = [*open_capture(folder / RECORDED_UPDATES).entries()]
    (whole,) = [one.raw for one in entries if one.kind == "http"]
    return Messages("recorded", traded * TIMES, [one.raw for one in entries if b"@depth@" in one.raw[:60]], whole)


def trades(count: int) -> Iterator[bytes]:
    """Aggregate trades of a combined stream."""
    random = Random(1)
    for number in range(count):
        data = {
            "e": "aggTrade",
            "E": START_MS + number,
            "s": SYMBOL,
            "a": 3_000_000_000 + number,
            "p": _price(MIDDLE + random.randint(-5000, 5000)),
            "q": _size(random.randint(1, 2 * 10**7)),
            "f": 4_000_000_000 + 2 * number,
            "l": 4_000_000_001 + 2 * number,
            "T": START_MS + number - 1,
            "m": random.random() < 0.5,
            "M": True,
        }
        yield _wrapped("aggTrade", data)


def snapshot() -> bytes:
    """The book before the first update."""
    bids = [(_price(MIDDLE - ticks), "1.00000000") for ticks in range(1, DEEP + 1)]
    asks = [(_price(MIDDLE + ticks), "1.00000000") for ticks in range(1, DEEP + 1)]
    return as_json({"lastUpdateId": FIRST_ID, "bids": bids, "asks": asks})


def updates(count: int, levels: int) -> Iterator[bytes]:
    """Updates of so many levels on both sides together.

    Of the levels, two in five are there and change, one in four is new, as many go: about what recordings show.
    """
    random = Random(2)
    middle, last = MIDDLE, FIRST_ID
    bids = set(range(MIDDLE - DEEP, MIDDLE))
    asks = set(range(MIDDLE + 1, MIDDLE + DEEP + 1))
    for number in range(count):
        middle += random.choice((-1, 0, 0, 1))
        data = {
            "e": "depthUpdate",
            "E": START_MS + 100 * number,
            "s": SYMBOL,
            "U": last + 1,
            "u": last + levels,
            "b": _changes(random, bids, middle, -1, levels // 2),
            "a": _changes(random, asks, middle, 1, levels // 2),
        }
        last += levels
        yield _wrapped("depth@100ms", data)


def _changes(random: Random, there: set[int], middle: int, away: int, count: int) -> Changes:
    """Levels of one side; those that the middle has reached go."""
    sizes = {price: 0 for price in there if (price - middle) * away <= 0}
    while len(sizes) < count:
        price = middle + away * (1 + int(random.expovariate(1 / 60)))
        if price not in sizes:
            goes = random.random() < (0.4 if price in there else 0.15)
            sizes[price] = 0 if goes else random.randint(1, 10**8)
    for price, size in sizes.items():
        (there.add if size else there.discard)(price)
    return [(_price(price), _size(size)) for price, size in sorted(sizes.items(), reverse=away < 0)]


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}000000"


def _size(units: int) -> str:
    return f"{units // 10**5}.{units % 10**5:05d}000"


def _wrapped(stream: str, data: dict[str, object]) -> bytes:
    return as_json({"stream": f"{SYMBOL.lower()}@{stream}", "data": data})


def as_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
