"""Captures of the invented market, a folder of files as the collector writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory

from marketdata_assets.exchanges import venues
from marketdata_assets.exchanges.captures.native_format import Entry
from marketdata_assets.exchanges.captures.writer import CaptureWriter
from marketdata_assets.exchanges.records import Exchange
from marketdata_demo.venues.market import VENUES, Plan, markets
from marketdata_demo.venues.voice import Voice


@cache
def voice(venue: Exchange) -> Voice:
    """How a venue tells of the market."""
    found: Voice = resolve_name(venues.find(venue).sample)
    return found


@dataclass(frozen=True)
class Written:
    """What was written. `trades` and `bars` are by venue and the venue's instrument: messages of trades that are in
    the files, and minutes in which somebody traded, those of lost messages included."""

    files: tuple[Path, ...]
    trades: Mapping[tuple[Exchange, str], int]
    bars: Mapping[tuple[Exchange, str], int]


def entries(venue: Exchange, plan: Plan) -> list[Entry]:
    """All that comes from a venue, in the order of receipt."""
    told, coins = voice(venue), markets(plan, venue)
    made = sorted((entry for market in coins for entry in told.entries(market)), key=lambda entry: entry.ts_recv)
    return [*told.opening(coins), *made]


def write(folder: Path, plan: Plan) -> Written:
    """Write a capture of each venue. A file that already has this content is not touched."""
    files: list[Path] = []
    trades: dict[tuple[Exchange, str], int] = {}
    bars: dict[tuple[Exchange, str], int] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for venue in VENUES:
        files += _written(folder, venue, plan)
        for market in markets(plan, venue):
            about = venue, voice(venue).name(market)
            trades[about] = len(market.fills) - len(market.lost)
            bars[about] = sum(bool(bar.fills) for bar in market.bars)
    return Written(tuple(files), trades, bars)


def _written(folder: Path, venue: Exchange, plan: Plan) -> list[Path]:
    """The files of a venue; they come in whole or not at all."""
    with TemporaryDirectory(dir=folder, prefix=".sample-") as beside:
        span = (plan.end - plan.first) * 2_000_000
        with CaptureWriter(Path(beside), venue, voice(venue).market_type, max_span_ns=span) as writer:
            for entry in entries(venue, plan):
                writer.write(entry.ts_recv, entry.kind, entry.raw, connection=entry.connection, url=entry.url)
        placed = []
        for path in writer.paths:
            target = folder / path.name
            if not (target.is_file() and target.read_bytes() == path.read_bytes()):
                path.replace(target)
            placed.append(target)
        return placed
