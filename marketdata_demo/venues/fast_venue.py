"""A Binance spot market in a process of its own, as fast as it is asked: its frames are ready but for their numbers.

    python -m marketdata_demo.venues.fast_venue [symbols]    # prints its port; ends with its standard input

GET /control?rate=20000 sets messages a second, GET /control alone tells what was sent, by kind and instrument. The mix
is that of recorded traffic: of 14 messages 10 are best prices, 3 trades and 1 an update of the book.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from itertools import cycle
from string import ascii_uppercase
from typing import Any

from aiohttp import web

from marketdata_demo.servers.loopback import json_answer
from marketdata_demo.venues.binance_venue import BinanceVenue
from marketdata_demo.venues.venue import Socket, frame

PULSE = 0.002
QUOTES, TRADES = 10, 3
UNIT = QUOTES + TRADES + 1
FIRST = 10_000_000_000  # numbers keep their length, so that frames do
LEVELS = 20


class Lane:
    """One instrument: frames that lack their numbers only."""

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.update = self.trade = FIRST + index * 100_000_000
        self.trades = 0
        stream = name.lower()
        self._best = _template(
            f'{{"stream":"{stream}@bookTicker","data":{{"u":%(id)s,"s":"{name}","b":"100.00","B":"1.500","a":"100.01",'
            f'"A":"2.250"}}}}',
            1,
        )
        self._trade = [
            _template(
                f'{{"stream":"{stream}@trade","data":{{"e":"trade","E":%(ms)s,"s":"{name}","t":%(id)s,"p":"100.{cents}",'
                f'"q":"0.{size}","T":%(ms)s,"m":{maker},"M":true}}}}',
                3,
            )
            for cents, size, maker in (("00", "125", "true"), ("01", "050", "false"), ("01", "900", "false"))
        ]
        sides = [
            ",".join(f'["{price}","{size}.000"]' for price in prices)
            for prices, size in ((_prices(-1)[:4], 3), (_prices(1)[:3], 4))
        ]
        self._depth = _template(
            f'{{"stream":"{stream}@depth@100ms","data":{{"e":"depthUpdate","E":%(ms)s,"s":"{name}","U":%(id)s,"u":%(id)s,'
            f'"b":[{sides[0]}],"a":[{sides[1]}]}}}}',
            3,
        )

    def unit(self, ms: int) -> bytes:
        """The next messages."""
        best, update, trade = self._best, self.update, self.trade
        self.update, self.trade, self.trades = update + QUOTES, trade + TRADES, self.trades + TRADES
        told = [best % (update + step) for step in range(1, QUOTES + 1)]
        told += [one % (ms, trade + step, ms) for step, one in enumerate(self._trade, 1)]
        told.append(self._depth % (ms, update + 1, update + QUOTES))
        return b"".join(told)

    def book(self) -> Any:
        bids, asks = ([[price, "1.000"] for price in _prices(sign)] for sign in (-1, 1))
        return {"lastUpdateId": self.update, "bids": bids, "asks": asks}


class FastVenue(BinanceVenue):
    """All that is subscribed to goes over whichever sockets there are; every lane is sent whole or not at all."""

    def __init__(self, names: list[str]) -> None:
        super().__init__("spot", names)
        self.lanes = {name: Lane(name, index) for index, name in enumerate(names)}
        self.messages = 0

    async def rest(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/control":
            return await super().rest(request)
        self.rate = float(request.query.get("rate", self.rate))
        sent = Counter({name: lane.trades for name, lane in self.lanes.items()})
        told = {"messages": self.messages, "trades": sum(sent.values()), "by_instrument": dict(sent)}
        told |= {"wanted": len(self.subscribed()), "unsent": self._unsent(), "violations": self.violations}
        return json_answer(told)

    def depth(self, query: Any) -> Any:
        return self.lanes[query["symbol"]].book()

    def on_second(self, market: Any) -> None:
        """Only what is counted is sent."""

    def _burst(self, events: int) -> None:
        """Nothing happens but what the frames say."""

    def _unsent(self) -> int:
        return sum(one.transport.get_write_buffer_size() for one in self.sockets)

    def _ready(self) -> list[tuple[Lane, Socket]]:
        found = []
        for name, lane in self.lanes.items():
            wanted = {f"{name.lower()}@{kind}" for kind in ("bookTicker", "trade", "depth@100ms")}
            found += [(lane, one) for one in self.sockets if wanted <= one.streams]
        return found

    async def _pump(self) -> None:
        owed, before = 0.0, time.monotonic()
        known, ready = None, list[tuple[Lane, Socket]]()
        turns = cycle(ready)
        while True:
            await asyncio.sleep(PULSE)
            now = time.monotonic()
            if known != (known := [(one, len(one.streams)) for one in self.sockets]):
                ready = self._ready()
                turns = cycle(ready)
            owed = min(owed + self.rate * (now - before), self.rate / 4) if ready else 0.0
            before = now
            self._send(turns, int(owed / UNIT))
            owed %= UNIT

    def _send(self, turns: "cycle[tuple[Lane, Socket]]", units: int) -> None:
        ms, parts = self.now_ms(), dict[Socket, list[bytes]]()
        for _ in range(units):
            lane, socket = next(turns)
            parts.setdefault(socket, []).append(lane.unit(ms))
            self.messages += UNIT
        for socket, units_of in parts.items():
            socket.transport.write(b"".join(units_of))


def _template(text: str, numbers: int) -> bytes:
    """A frame for %, whose numbers have 13 (ms) and 11 (id) digits."""
    long = text.replace("%(ms)s", "0" * 13).replace("%(id)s", "0" * len(str(FIRST)))
    head = frame(long.encode())[: -len(long)]
    made = head.replace(b"%", b"%%") + text.replace("%(ms)s", "%d").replace("%(id)s", "%d").encode()
    assert made.count(b"%d") == numbers
    return made


def _prices(sign: int) -> list[str]:
    begin = 100_00 if sign < 0 else 100_01
    return [f"{(begin + sign * step) // 100}.{(begin + sign * step) % 100:02}" for step in range(LEVELS)]


def names_of(symbols: int) -> list[str]:
    """Names without digits."""
    return [f"{ascii_uppercase[index // 26]}{ascii_uppercase[index % 26]}XUSDT" for index in range(symbols)]


def main() -> None:
    symbols = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with FastVenue(names_of(symbols)) as venue:
        print(json.dumps({"port": venue.port}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
