"""One line of a package as the document MongoDB takes, or the reason why it does not.

{"id":"xVWpJpp","type":"REGULAR","dateCreated":"2025-09-16T21:30:00-04:00","settings":{...},"is":{"checks":[...]}}
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

import bson
import msgspec
from bson.errors import BSONError

from marketdata_assets.alphas import raw_files
from marketdata_assets.alphas.layout import Kind
from marketdata_assets.alphas.merge import Document
from marketdata_assets.stores import mongo

DATES = ("dateCreated", "dateModified", "dateSubmitted")
REVISION = "_rev"
"""The only field that is added to a document: how often it has been written."""

MAX_BYTES = mongo.MAX_BYTES - 64 * 1024
"""MongoDB's limit, less a margin for `_id` and the revision."""
MAX_DEPTH = 100

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_RESERVED = ("_id", REVISION)
_OPEN, _CLOSE = b"[{", b"]}"


class Rejected(Exception):
    """A document that is not imported, and why."""


@dataclass(frozen=True, slots=True)
class Alpha:
    """A readable alpha: its id, when it was last changed (None if it does not say), and its BSON without `_id`."""

    id: str
    modified: dt.datetime | None
    bson: bytes


def read(raw: bytes, kind: Kind) -> Alpha:
    """Read one line. Dates become UTC; everything else stays as it is. Raises Rejected."""
    document = _parse(raw)
    name = document.get("id")
    if not isinstance(name, str) or not name:
        raise Rejected("has no id" if name is None else f"id {str(name)[:40]!r} is no text")
    if document.get("type") not in (None, kind.upper()):
        raise Rejected(f"type is {document['type']!r} in a {kind} package")
    for key in document:
        if key in _RESERVED:
            raise Rejected(f"key {key!r} is reserved for the database")
        if key[:1] == "$":
            raise Rejected(f"key {key!r} begins with $, which MongoDB rejects")
    for key in DATES:
        if document.get(key) is not None:
            document[key] = instant(key, document[key])
    try:
        encoded = bson.encode(document)
    except (BSONError, OverflowError, UnicodeError) as error:
        raise Rejected(f"MongoDB cannot keep it: {error}") from error
    if b"$ref" in encoded and bson.decode(encoded, mongo.CODEC) != document:
        raise Rejected("has an object with $ref, $id and a $db of null, which the driver does not read back")
    if len(encoded) > MAX_BYTES:
        raise Rejected(f"{len(encoded) / 2**20:.1f} MiB as BSON, over MongoDB's limit of 16 MiB")
    return Alpha(name, document.get("dateModified") or document.get("dateCreated"), bytes(encoded))


def instant(key: str, value: Any) -> dt.datetime:
    """An ISO 8601 date and time as UTC, in whole milliseconds as MongoDB keeps them.

    `2025-09-16T21:30:00-04:00` is 01:30 UTC of the next day; without an offset it is New York's clock.
    """
    moment = raw_files.instant(value) if isinstance(value, str) and _MOMENT.match(value) else None
    if moment is not None:
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    raise Rejected(f"{key} {str(value)[:40]!r} is no date and time")


def _parse(raw: bytes) -> Document:
    try:
        document = msgspec.json.decode(raw)
    except UnicodeDecodeError as error:
        raise Rejected(f"not UTF-8 at byte {error.start}") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Rejected(f"no JSON: {error}") from error
    if not isinstance(document, dict):
        raise Rejected(f"a JSON {type(document).__name__}, not an object")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise Rejected(f"nested deeper than {MAX_DEPTH} levels, which MongoDB rejects")
    return document


def _depth(raw: bytes) -> int:
    """How deep brackets go; those within strings do not count."""
    deepest = depth = 0
    for bracket in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", raw):
        if bracket in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in _CLOSE:
            depth -= 1
    return deepest
