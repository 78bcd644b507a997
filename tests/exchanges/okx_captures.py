"""Recorded traffic of OKX, line by line."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

FOLDER = "okx/capture"
CONN_A = "2021-07-22_l2tbt_10inst_31s_connA.ndjson"
CONN_B = "2021-07-22_l2tbt_10inst_31s_connB.ndjson"
BOOKS_2022 = "2022-05-13_books_3inst_12s.ndjson"


class _Line(msgspec.Struct):
    recv: str
    dir: str
    data: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True)
class Heard:
    """One message, as it came over the socket."""

    raw: bytes
    ts_recv: int


_line = msgspec.json.Decoder(_Line).decode


def heard(fixtures: Path, name: str) -> Iterator[Heard]:
    """The messages of a capture."""
    with (fixtures / FOLDER / name).open("rb") as file:
        for text in file:
            line = _line(text)
            if line.dir == "in":
                yield Heard(bytes(line.data), int(Decimal(line.recv) * 10**9))
