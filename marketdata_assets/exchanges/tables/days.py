"""UTC days: their bounds, for queries and in nanoseconds."""

import datetime as dt

DAY_NS = 86_400_000_000_000


def span(day: dt.date) -> dict[str, dt.datetime]:
    """The day as `first` and `end`, half open, to bind."""
    first = dt.datetime.combine(day, dt.time(), dt.UTC)
    return {"first": first, "end": first + dt.timedelta(days=1)}


def bounds(day: dt.date) -> tuple[int, int]:
    """The day's first moment and the one behind it, ns."""
    first = int(span(day)["first"].timestamp()) * 1_000_000_000
    return first, first + DAY_NS
