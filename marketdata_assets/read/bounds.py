"""Time bounds as users write them, converted for queries. A span includes its start and excludes its end."""

import datetime as dt
import re
from collections.abc import Callable
from typing import Literal
from zoneinfo import ZoneInfo

from marketdata_assets.read.errors import BadMoment, NaiveTime

Moment = dt.datetime | dt.date | str
"""Text is ISO 8601: `2024-01` and `2024-01-31` begin at midnight, `2024-01-31T09:30:00+08:00` is an instant."""

EXCHANGE = ZoneInfo("Asia/Shanghai")

_MONTH = re.compile(r"\d{4}-\d{2}")
_FINER = re.compile(r"[.,][0-9]{6}0*[1-9]")
_NANOSECONDS = re.compile(r"([.,][0-9]{6})([0-9]{1,3})(?![0-9])")


def wall(moment: Moment, zone: ZoneInfo = EXCHANGE) -> dt.datetime:
    """The clock on the wall of the exchange: a time without a zone is its, one with a zone is converted."""
    parsed = _parsed(moment)
    if not isinstance(parsed, dt.datetime):
        return dt.datetime.combine(parsed, dt.time())
    return parsed if parsed.tzinfo is None else parsed.astimezone(zone).replace(tzinfo=None)


def instant(moment: Moment, table: str) -> dt.datetime:
    """An instant in UTC; a date is its midnight in UTC. Raises NaiveTime for a time without a zone."""
    parsed = _parsed(moment)
    if not isinstance(parsed, dt.datetime):
        return dt.datetime.combine(parsed, dt.time(), dt.UTC)
    if parsed.tzinfo is None:
        raise NaiveTime(moment, table)
    return parsed.astimezone(dt.UTC)


def day(moment: Moment) -> dt.date | None:
    """The date, when it is one and no time of day."""
    parsed = _parsed(moment)
    return None if isinstance(parsed, dt.datetime) else parsed


def nanoseconds(moment: Moment, table: str) -> int:
    """An instant as nanoseconds since 1970, exactly; a text may have nine digits of a second."""
    fine = _NANOSECONDS.search(moment) if isinstance(moment, str) else None
    text = f"{moment[: fine.end(1)]}{moment[fine.end() :]}" if fine and isinstance(moment, str) else moment
    passed = instant(text, table) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    microseconds = passed.days * 86_400_000_000 + passed.seconds * 1_000_000 + passed.microseconds
    return microseconds * 1000 + (int(fine[2].ljust(3, "0")) if fine else 0)


def span(
    start: Moment | None, end: Moment | None, convert: Callable[[Moment], dt.datetime]
) -> tuple[tuple[Literal[">="], dt.datetime | None], tuple[Literal["<"], dt.datetime | None]]:
    """Both bounds, converted, with the sign that compares a time with each. BadMoment when they are out of order."""
    first, last = (None if bound is None else convert(bound) for bound in (start, end))
    if first is not None and last is not None and last < first:
        raise BadMoment(end, f"is before the start {start!r}")
    return (">=", first), ("<", last)


def _parsed(moment: Moment) -> dt.datetime | dt.date:
    if isinstance(moment, dt.date):
        return moment
    if not isinstance(moment, str):
        raise BadMoment(moment, "is no date or time")
    if _FINER.search(moment):  # Python would cut them
        raise BadMoment(moment, "has digits after those of microseconds, which bounds do not have")
    text = f"{moment}-01" if _MONTH.fullmatch(moment) else moment
    try:
        return dt.date.fromisoformat(text) if len(text) <= len("2024-01-31") else dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise BadMoment(moment, f"is no date or time ({error})") from None
