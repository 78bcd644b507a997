"""Files of the collector itself, by shard: checkpoint and listed states of each market, and messages that could not be
read.

What shards of another count left is found here too: nothing of it may be lost.

Spools and captures belong to the sinks.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from marketdata_assets import state_files
from marketdata_assets.collector.connections import Shard
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.jetstream.spool import SUFFIX, Spool
from marketdata_assets.exchanges.records import DeadLetter, Exchange, InstrumentState, MarketType
from marketdata_assets.logs import get_logger

SPOOLS = ("jetstream", "clickhouse")
"""The sinks that have one, and their folders."""
MB = 1 << 20

log = get_logger(__name__)


def own_path(folder: Path, name: str, shard: Shard, suffix: str = "") -> Path:
    """A path that no other shard uses."""
    part = "" if shard.count == 1 else f"-{shard.index}-of-{shard.count}"
    return folder / f"{name}{part}{suffix}"


def paths_by_count(folder: Path, name: str, suffix: str = "") -> dict[int, list[Path]]:
    """All paths that `own_path` gave to shards, by their count."""
    form = re.compile(rf"{re.escape(name)}(?:-[0-9]+-of-([0-9]+))?{re.escape(suffix)}")
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.glob(f"{name}*")):
        if match := form.fullmatch(path.name):
            found.setdefault(int(match[1] or 1), []).append(path)
    return found


def open_spool(folder: Path, name: str, shard: Shard, max_bytes: int) -> Spool:
    """The spool of this shard, with the messages that shards of another count left. Raises CollectorError."""
    spool = Spool(own_path(folder, name, shard), max_bytes)
    for count, paths in paths_by_count(folder, name).items():
        for path in paths if count != shard.count else ():
            if any(path.glob(f"*{SUFFIX}")):
                with suppress(CollectorError):  # a process uses it, and delivers what it has
                    log.info("spool_adopted", folder=str(path), messages=spool.adopt(path))
    return spool


def report_unused_spools(folder: Path, sinks: Sequence[str]) -> None:
    """Log each spool with messages whose sink is none of these: nobody delivers them."""
    for name in (one for one in SPOOLS if one not in sinks):
        for path in (one for paths in paths_by_count(folder, name).values() for one in paths):
            if size := sum(segment.stat().st_size for segment in path.glob(f"*{SUFFIX}")):
                log.error("spool_unused", folder=str(path), bytes=size, effect=f"not delivered without the sink {name}")


def moments(folder: Path, shard: Shard) -> dict[str, int]:
    """Until when (ns) each market is safe: by the checkpoint of this shard, or by a later run of another count."""
    runs = [[own_path(folder, "since", shard, ".json")]]
    runs += [paths for count, paths in paths_by_count(folder, "since", ".json").items() if count != shard.count]
    read = [[Checkpoint(path).read() for path in paths] for paths in runs]
    markets = {market for run in read for each in run for market in each}
    return {market: _of_last_run(read, market) for market in markets}


def _of_last_run(runs: Sequence[Sequence[Mapping[str, int]]], market: str) -> int:
    """The first moment of the shards of the run whose last one is the latest."""
    by_run = [[each[market] for each in run if market in each] for run in runs]
    return min(max(by_run, key=lambda each: max(each, default=0)))


class Checkpoint:
    """Until when (ns) everything of each market is safe: the gap of the next run begins there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[str, int]:
        """By market, as `binance spot`; empty before the first run, or when the file is damaged."""
        return state_files.read(self.file, msgspec.json.Decoder(dict[str, int]).decode) or {}

    def write(self, moments: Mapping[str, int]) -> None:
        """Replace the file atomically. Markets that are not named keep their checkpoint."""
        state_files.write(self.file, json.dumps({**self.read(), **moments}))


class ListedFile:
    """The last states of the instruments of each market: what changes until the next start is an event then."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[str, list[InstrumentState]]:
        """By market, as `binance spot`; empty before the first run, or when the file is damaged."""
        return state_files.read(self.file, msgspec.json.Decoder(dict[str, list[InstrumentState]]).decode) or {}

    def write(self, states: Mapping[str, Iterable[InstrumentState]]) -> None:
        """Replace the file atomically. Markets that are not named keep their states."""
        if states:
            named = {market: [*listed] for market, listed in states.items()}
            state_files.write(self.file, msgspec.json.encode({**self.read(), **named}))


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
