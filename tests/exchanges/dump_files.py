"""Files as tardis.dev serves them, invented."""

import gzip
from collections.abc import Sequence
from pathlib import Path

from marketdata_assets.exchanges.tardis import ABOUT, COLUMNS

DAY = "2024-01-01"
BEGIN = 1_704_067_200_000_000
"""The beginning of the day, in microseconds."""

DERIBIT, BINANCE = ("deribit", "BTC-PERPETUAL"), ("binance-futures", "BTCUSDT")


def moment(ms: int, delay_us: int = 7411) -> str:
    """Times of the venue and of arrival as cells."""
    return f"{BEGIN + ms * 1000},{BEGIN + ms * 1000 + delay_us}"


def row(about: tuple[str, str], ms: int, *cells: object) -> str:
    return ",".join([*about, moment(ms), *map(str, cells)])


def write(folder: Path, kind: str, rows: Sequence[str], about: tuple[str, str] = DERIBIT) -> Path:
    """A file of a day, as the clients of tardis.dev name it."""
    path = folder / f"{about[0]}_{kind}_{DAY}_{about[1]}.csv.gz"
    header = ",".join((*ABOUT, *COLUMNS[kind]))
    path.write_bytes(
        gzip.compress("".join(f"{line}\n" for line in (header, *rows)).encode()) if rows else gzip.compress(b"")
    )
    return path
