"""What the collector remembers on disk of itself: how far it was, and what it could not read.

The records' own safety is the business of the sinks.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from marketdata_assets.exchanges.records import DeadLetter, Exchange, MarketType

MB = 1 << 20


class Since:
    """Until when everything of each market is safe, in ns: what a later run may have missed begins there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[str, int]:
        """By market, as `binance spot`; empty when no run was before, or what it left cannot be read."""
        try:
            found = json.loads(self.file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logging.getLogger(__name__).warning("%s cannot be read (%s): no gap is told for the stop", self.file, error)
            return {}
        return {str(name): int(moment) for name, moment in found.items()} if isinstance(found, dict) else {}

    def write(self, moments: Mapping[str, int]) -> None:
        """Replace what stands there, in one step. Markets that are not named keep what they have."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({**self.read(), **moments}))
        new.replace(self.file)


class DeadLetters:
    """Messages that could not be read, a line of JSON each, in two files that are used in turn.

    `keep` only takes them into memory; at most `most` between two calls of `write`, all are counted elsewhere.
    """

    def __init__(self, file: Path, *, most: int = 1000, max_bytes: int = 64 * MB) -> None:
        self.file = file
        self._most, self._max_bytes = most, max_bytes
        self._lines: list[bytes] = []

    def keep(self, exchange: Exchange, market_type: MarketType, letter: DeadLetter) -> None:
        """Take one."""
        if len(self._lines) >= self._most:
            return
        about = {"ts_recv": letter.ts_recv, "exchange": exchange, "market_type": market_type, "cause": letter.cause}
        try:
            raw: dict[str, str | bytes] = {"raw": letter.raw.decode()}
        except UnicodeDecodeError:
            raw = {"raw_base64": letter.raw}
        self._lines.append(msgspec.json.encode({**about, **raw}) + b"\n")

    def write(self) -> None:
        """Write what came since the last call; raises OSError, then it is kept."""
        if not self._lines:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.exists() and self.file.stat().st_size >= self._max_bytes:
            self.file.replace(self.file.with_suffix(".1.ndjson"))
        lines = list(self._lines)
        with self.file.open("ab") as handle:
            handle.writelines(lines)
        del self._lines[: len(lines)]
