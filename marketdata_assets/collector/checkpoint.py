"""Files of the collector itself: the checkpoint of each market, and messages that could not be read.

Spools and captures belong to the sinks.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from marketdata_assets import state_files
from marketdata_assets.exchanges.records import DeadLetter, Exchange, MarketType

MB = 1 << 20


class Checkpoint:
    """Until when (ns) everything of each market is safe: the gap of the next run begins there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[str, int]:
        """By market, as `binance spot`; empty before the first run, or when the file is damaged."""
        return state_files.read(self.file, _moments) or {}

    def write(self, moments: Mapping[str, int]) -> None:
        """Replace the file atomically. Markets that are not named keep their checkpoint."""
        state_files.write(self.file, json.dumps({**self.read(), **moments}))


def _moments(content: bytes) -> dict[str, int]:
    return {str(name): int(moment) for name, moment in json.loads(content).items()}


class DeadLetterFile:
    """Messages that could not be read, one JSON line each, in two files that rotate.

    `keep` only buffers, at most `most` between two calls of `write`; all are counted elsewhere.
    """

    def __init__(self, file: Path, *, most: int = 1000, max_bytes: int = 64 * MB) -> None:
        self.file = file
        self._most, self._max_bytes = most, max_bytes
        self._lines: list[bytes] = []

    def keep(self, exchange: Exchange, market_type: MarketType, letter: DeadLetter) -> None:
        """Buffer one."""
        if len(self._lines) >= self._most:
            return
        about = {"ts_recv": letter.ts_recv, "exchange": exchange, "market_type": market_type, "cause": letter.cause}
        try:
            raw: dict[str, str | bytes] = {"raw": letter.raw.decode()}
        except UnicodeDecodeError:
            raw = {"raw_base64": letter.raw}
        self._lines.append(msgspec.json.encode({**about, **raw}) + b"\n")

    def write(self) -> None:
        """Write the buffer; it is kept when this raises OSError."""
        if not self._lines:
            return
        if self.file.exists() and self.file.stat().st_size >= self._max_bytes:
            self.file.replace(self.file.with_suffix(".1.ndjson"))
        lines = list(self._lines)
        with state_files.opened(self.file, "ab") as handle:
            handle.writelines(lines)
        del self._lines[: len(lines)]
