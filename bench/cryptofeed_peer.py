"""Runs in an environment of its own: cryptofeed takes the messages of a file, as often as it is told on stdin.

Its symbols and its snapshot are given to it, so that it asks no server. What it costs goes to stdout, a line a round.
A folder has sets of `trades`, `updates` and the `snapshot` before them, and `symbols`.
"""

import asyncio
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptofeed.defines import L2_BOOK, TRADES
from cryptofeed.exchanges import OKX, Binance, Bybit, Deribit
from cryptofeed.symbols import Symbols
from yapic import json as fast_json

VENUES: dict[str, tuple[Any, dict[str, str]]] = {
    "bybit": (Bybit, {"BTC-USDT-PERP": "BTCUSDT"}),
    "okx": (OKX, {"BTC-USDT": "BTC-USDT"}),
    "deribit": (Deribit, {"BTC-USDC-PERP": "BTC_USDC-PERPETUAL"}),
}
"""Each by the name of its set; the other sets are of Binance."""
KEYS = {"deribit": {"key_id": "none", "key_secret": "none"}}
"""It takes the channels of Deribit with a key only; it is not used."""
SOCKET = SimpleNamespace(address="wss://stream.bybit.com/v5/public/linear", uuid="")


class Snapshot:
    """Stands in for the connection that asks for the book."""

    def __init__(self, raw: str) -> None:
        self.raw = raw

    async def read(self, _: str) -> str:
        return self.raw


class Trades:
    """Every trade becomes JSON, in the way of cryptofeed's own backends, with exact numbers as ours."""

    def __init__(self) -> None:
        self.last = b""

    async def __call__(self, trade: Any, receipt: float) -> None:
        data = trade.to_dict(numeric_type=str, none_to=None)
        data["receipt_timestamp"] = receipt
        self.last = fast_json.dumps(data).encode()


class Books:
    """The best prices of every book."""

    def __init__(self) -> None:
        self.last: Any = None

    async def __call__(self, book: Any, receipt: float) -> None:
        self.last = book.book.bids.index(0), book.book.asks.index(0)


async def take(feed: Any, messages: list[str], socket: Any) -> float:
    """CPU seconds for all messages."""
    handle = feed.message_handler
    now = time.time()
    started = time.process_time()
    for message in messages:
        await handle(message, socket, now)
    return time.process_time() - started


def one_round(name: str, kind: str, messages: list[str], snapshot: str, symbols: list[str]) -> dict[str, Any]:
    callback: Any = Trades() if kind == "trades" else Books()
    channel = TRADES if kind == "trades" else L2_BOOK
    venue, listed = VENUES.get(name, (Binance, dict.fromkeys(symbols, "")))
    feed = venue(symbols=list(listed), channels=[channel], callbacks={channel: callback}, config=KEYS)
    feed.http_conn = Snapshot(snapshot)
    feed.seq_no = {}  # Deribit makes it when it subscribes
    cpu_s = asyncio.run(take(feed, messages, SOCKET))
    last = callback.last.decode() if kind == "trades" else [[str(part) for part in level] for level in callback.last]
    return {"cpu_s": cpu_s, "last": last}


def main(folder: Path) -> None:
    symbols = json.loads((folder / "symbols").read_text())
    Symbols.set("BINANCE", symbols, {"tick_size": {}, "instrument_type": dict.fromkeys(symbols, "spot")})
    for venue, listed in VENUES.values():
        kinds = {name: "perpetual" if name.endswith("-PERP") else "spot" for name in listed}
        Symbols.set(venue.id, listed, {"tick_size": {}, "instrument_type": kinds})
    sets = {path.name: path for path in folder.iterdir() if path.is_dir()}
    print(json.dumps({"version": version("cryptofeed")}), flush=True)
    for line in sys.stdin:
        name, kind = line.split()
        messages = (sets[name] / kind).read_text().splitlines()
        snapshot = (sets[name] / "snapshot").read_text()
        print(json.dumps(one_round(name, kind, messages, snapshot, list(symbols))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
