"""Raw alphas of a month, from our slices and from both layouts of the old tool: slices, and a file an alpha.

Alphas leave here as the raw bytes they came as, with their id and dates beside them. What is done with them, and
whether MongoDB will take them, is decided elsewhere.
"""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec

from marketdata_assets.alphas.file_index import NO_WINDOW, Listed
from marketdata_assets.alphas.layout import Window, month_window
from marketdata_assets.input_limits import NOT_JSON
from marketdata_assets.loading.errors import BadFile
from marketdata_assets.loading.files import Opener, Unit
from marketdata_assets.months import FIRST_ALPHA_MONTH

BRAIN_TIME = ZoneInfo("America/New_York")
"""What a date without an offset is meant in."""

OLDEST = dt.datetime.min.replace(tzinfo=dt.UTC)

REJECT_CHARACTERS = 2000
"""How much of a rejected element is kept."""

_BLANKS = frozenset(" \t\r\n")


@dataclass(frozen=True)
class RawFile:
    """A raw file, or a member of one, that may hold alphas of a month."""

    listed: Listed
    unit: Unit
    reach: Window  # the whole months its alphas may lie in; its rejects belong to the first
    start: dt.datetime | None  # where an alpha without a date is filed

    @property
    def place(self) -> str:
        """The path under the root, by which rejects name it."""
        return f"{self.listed.name}!{self.unit.member}" if self.unit.member else self.listed.name


class Alpha(msgspec.Struct, frozen=True, gc=False):
    """One alpha: its raw bytes, and what of them decides where it is filed and which version is newer."""

    id: str
    created: dt.datetime | None  # UTC; None when it is missing or no date
    modified: dt.datetime | None  # UTC; None when it is missing or no date
    day: dt.date  # the UTC day it is filed under
    raw: msgspec.Raw | bytes  # as it came; `packaging.compact` makes one line of it


class Reject(msgspec.Struct, frozen=True):
    """An element that is no alpha."""

    place: str  # file:index, from 1
    reason: str
    raw: str


class Head(msgspec.Struct, rename="camel", gc=False):
    """The fields of an alpha that are read here."""

    id: str | None = None
    date_created: str | None = None
    date_modified: str | None = None


_READ = frozenset(Head.__struct_encode_fields__)


class NoAlpha(ValueError):
    """Why an element is no alpha; never leaves the package."""


_head = msgspec.json.Decoder(Head)
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


def raw_files(one: Listed, month: str) -> list[RawFile]:
    """What is read of a listed file for a month; nothing of a slice of other months. Raises BadFile."""
    if one.found.problem:
        raise BadFile(one.found.location, one.found.problem)
    files, wanted = [], month_window(month)
    for unit, window in one.units():
        if one.single:
            start = window.start if window and wanted.start <= window.start < wanted.end else None
            files.append(RawFile(one, unit, wanted, start))
        elif window is None:
            raise BadFile(unit.place, NO_WINDOW)
        elif month in window.months:
            first = max(window.months[0], min(FIRST_ALPHA_MONTH, window.months[-1]))
            reach = Window(month_window(first).start, month_window(window.months[-1]).end)
            files.append(RawFile(one, unit, reach, max(window.start, reach.start)))
    return files


def read_raw(file: RawFile, wanted: Window, opener: Opener) -> Iterator[Alpha | Reject]:
    """The alphas of `file` on the days of the month `wanted`, and what is no alpha; BadFile before the first."""
    first, end = wanted.start.date(), wanted.end.date()
    at_home = file.reach.start == wanted.start
    with opener.open(file.unit) as stream:
        data = stream.read()
    for index, raw in enumerate(elements(data, file.unit.place, file.listed.single), 1):
        try:
            alpha = alpha_of(raw, file.start)
            if alpha.created is not None and not file.reach.start <= alpha.created < file.reach.end:
                moment = f"{alpha.created:%Y-%m-%dT%H:%M:%SZ}"
                raise NoAlpha(f"dateCreated {moment} lies outside the months of the file from {FIRST_ALPHA_MONTH} on")
        except NoAlpha as error:
            if at_home:
                text = str(bytes(raw), "utf-8", "replace")[:REJECT_CHARACTERS]
                yield Reject(f"{file.place}:{index}", str(error), text)
            continue
        if first <= alpha.day < end:
            yield alpha


def alpha_of(raw: msgspec.Raw | bytes, start: dt.datetime | None) -> Alpha:
    """Read id and dates of one element, filed at `start` when it has no date; NoAlpha when it is none."""
    try:
        head = _head.decode(raw)
    except NOT_JSON:
        head = _odd_head(raw)
    if not head.id:
        raise NoAlpha("no id")
    created = instant(head.date_created)
    filed = created or start
    if filed is None:
        raise NoAlpha("dateCreated is missing or no date, and the file name has no window of the month")
    return Alpha(head.id, created, instant(head.date_modified), filed.date(), raw)


def instant(text: str | None) -> dt.datetime | None:
    """The UTC instant of an ISO 8601 text; without an offset it is New York time; None when it is no date.

    >>> instant("2025-09-16T21:30:00-04:00")
    datetime.datetime(2025, 9, 17, 1, 30, tzinfo=datetime.timezone.utc)
    """
    try:
        moment = dt.datetime.fromisoformat(text or "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=BRAIN_TIME)
        return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def not_utf8(data: bytes) -> str | None:
    """Why `data` is not UTF-8; None when it is."""
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    return None


def elements(data: bytes, place: str, single: bool = False) -> list[msgspec.Raw] | list[bytes]:
    """The elements of a slice, or a single alpha. Raises BadFile for what is no JSON even with one odd element."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    cause = not_utf8(data)
    if not data.strip():
        cause = "it is empty"
    elif cause is None and data.lstrip()[:1] != (b"{" if single else b"["):
        cause = "not a JSON object" if single else "not a JSON array"
    if cause:
        raise BadFile(place, cause)
    try:
        return [msgspec.json.decode(data, type=msgspec.Raw)] if single else _elements.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        return split(data, place, single, error)


def split(data: bytes, place: str, single: bool, cause: Exception) -> list[bytes]:
    """Split elements of which one is not strict JSON, such as a NaN, so that the others can be loaded."""
    text, scan = data.decode(), json.JSONDecoder(strict=False).raw_decode
    position, pieces = text.index("{" if single else "["), list[bytes]()
    if not single:
        position = _blank(text, position + 1)
    try:
        while True:
            start, (_, position) = position, scan(text, position)
            pieces.append(text[start:position].encode())
            position = _blank(text, position)
            if single or text[position : position + 1] != ",":
                break
            position = _blank(text, position + 1)
        if text[position:].rstrip() != ("" if single else "]"):
            raise ValueError("something else follows")
    except (ValueError, RecursionError):
        raise BadFile(place, f"no JSON, or cut off ({cause})") from cause
    return pieces


def members(data: bytes) -> dict[str, bytes]:
    """The members of an object with an element that is not strict JSON. Raises ValueError or RecursionError."""
    text, scan = data.decode(), json.JSONDecoder(strict=False).raw_decode
    position, found = _blank(text, text.index("{") + 1), dict[str, bytes]()
    while text[position : position + 1] != "}":
        name, position = scan(text, position)
        if not isinstance(name, str):
            raise ValueError(f"a member is named {name!r:.40}")
        start = _blank(text, text.index(":", position) + 1)
        _, position = scan(text, start)
        found[name] = text[start:position].encode()
        position = _blank(text, position)
        if text[position : position + 1] == ",":
            position = _blank(text, position + 1)
    return found


def _blank(text: str, position: int) -> int:
    while text[position : position + 1] in _BLANKS:
        position += 1
    return position


def _odd_head(raw: msgspec.Raw | bytes) -> Head:
    """The head of an element that has something other than text where id and dates belong."""
    try:
        fields = {key: bytes(raw) for key, raw in _fields.decode(raw).items()}
        read = {key: _text.decode(raw) if raw[:1] == b'"' else None for key, raw in fields.items() if key in _READ}
    except msgspec.ValidationError:
        raise NoAlpha("not a JSON object") from None
    except NOT_JSON as error:
        raise NoAlpha(f"no JSON ({error})") from None
    if "id" in fields and fields["id"][:1] not in (b'"', b"n"):
        raise NoAlpha(f"id is not a string: {str(fields['id'], 'utf-8', 'replace')[:40]}")
    return Head(read.get("id"), read.get("dateCreated"), read.get("dateModified"))
