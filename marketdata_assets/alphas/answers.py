"""What the BRAIN API answers, read from the bytes as they came. Asking is the business of `calls`."""

import datetime as dt
from dataclasses import dataclass

import httpx
import msgspec

_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Page:
    """A page of the list: alphas as their raw bytes, and beside each its id and date."""

    count: int  # in the whole window, not on this page
    results: list[bytes]
    ids: list[str]
    created: list[dt.datetime | None]  # None where there is no date with an offset


class _List(msgspec.Struct):
    count: int
    results: list[msgspec.Raw]


class _Head(msgspec.Struct, rename="camel"):
    id: str
    date_created: str | None = None


class _Token(msgspec.Struct):
    expiry: float  # seconds left


class _Authentication(msgspec.Struct):
    token: _Token


_list = msgspec.json.Decoder(_List)
_head = msgspec.json.Decoder(_Head)
_authentication = msgspec.json.Decoder(_Authentication)


def decode_page(content: bytes) -> Page:
    """Read the answer to a list; ValueError or msgspec.DecodeError when it is none."""
    content.decode()
    listed = _list.decode(content)
    heads = [_head.decode(raw) for raw in listed.results]
    results = [bytes(raw) for raw in listed.results]
    return Page(listed.count, results, [head.id for head in heads], [_instant(head.date_created) for head in heads])


def decode_alpha(content: bytes) -> bytes:
    """Check that the answer is one alpha and give it back; the same errors when it is none."""
    content.decode()
    _head.decode(content)
    return content


def decode_seconds_left(content: bytes) -> float:
    """How long a login lasts, from `{"user": {"id": ..}, "token": {"expiry": 14400.0}, "permissions": [..]}`."""
    return _authentication.decode(content).token.expiry


def reason(response: httpx.Response) -> str:
    """Why the API refuses, in one line: `{"detail": ".."}`, or a 400 keyed by field such as `{"limit": [".."]}`."""
    try:
        body = response.json()
    except ValueError:
        body = response.text
    if isinstance(body, dict):
        body = body.get("detail") or "; ".join(f"{key}: {_joined(value)}" for key, value in body.items())
    return " ".join(_joined(body).split())[:_REASON_CHARACTERS] or "no reason given"


def _instant(text: str | None) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
