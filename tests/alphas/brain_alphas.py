"""Alphas as the test server keeps them: invented ones of `alphas.sample`, at the moments that a test asks for."""

import datetime as dt
import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from marketdata_assets.alphas.layout import Kind
from marketdata_demo import sample_alphas

EASTERN = ZoneInfo("America/New_York")
LETTERS = string.digits + string.ascii_letters


@dataclass(frozen=True)
class Alpha:
    """One alpha in the server's store; `body` is what goes over the wire."""

    id: str
    kind: Kind
    created: dt.datetime
    body: bytes


def served(document: dict[str, Any]) -> Alpha:
    """A document, say of `sample_alphas.alphas`, for the server to hand out."""
    kind: Kind = "super" if document["type"] == "SUPER" else "regular"
    created = dt.datetime.fromisoformat(document["dateCreated"]).astimezone(dt.UTC)
    return Alpha(document["id"], kind, created, json.dumps(document, ensure_ascii=False).encode())


def make(
    number: int, created: dt.datetime, kind: Kind = "regular", *, modified: dt.datetime | None = None, **fields: Any
) -> Alpha:
    """The alpha of this number; the same arguments give the same bytes. `fields` replace top-level ones."""
    [document] = sample_alphas.alphas("server", kind, "2024-11", 1, number)
    modified = modified or created + dt.timedelta(seconds=1)
    dates = {"dateCreated": created.astimezone(EASTERN), "dateModified": modified.astimezone(EASTERN)}
    texts = {name: moment.isoformat() for name, moment in dates.items()}
    return served({**document, "id": alpha_id(number, kind), **texts, **fields})


def spread(
    start: dt.datetime, end: dt.datetime, count: int, kind: Kind = "regular", *, first: int = 0
) -> Iterator[Alpha]:
    """`count` alphas numbered from `first`, evenly over [start, end), on whole seconds."""
    step = (end - start) / max(count, 1)
    for number in range(count):
        moment = (start + step * number).replace(microsecond=0)
        yield make(first + number, moment, kind)


def alpha_id(number: int, kind: Kind) -> str:
    """7 or 8 characters, as the API has both."""
    text = ""
    value = number * 2 + (kind == "super")
    for _ in range(6 + number % 2):
        value, digit = divmod(value, len(LETTERS))
        text = LETTERS[digit] + text
    return "Ax"[number % 2] + text
