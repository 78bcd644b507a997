"""What every HTTP client of ours keeps to: where secrets may be sent, and how long a server wants to be left alone.

How often a request is tried, and what an answer means, is the domain's business.
"""

import datetime as dt
from email.utils import parsedate_to_datetime

import httpx

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def safe_url(url: str) -> str:
    """The URL without a slash at its end; ValueError when what is sent there could be read on the way."""
    parsed = httpx.URL(url)
    if parsed.userinfo:
        raise ValueError("must not have a user or password in it")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and parsed.host in LOOPBACK):
        raise ValueError(f"must begin with https://, was {url}")
    return url.rstrip("/")


def retry_after(response: httpx.Response, now: dt.datetime) -> float | None:
    """The seconds of a Retry-After, which may be a number or a date; None when there is none to be understood.

    A date is taken against the server's own clock where it tells it.
    """
    text = response.headers.get("Retry-After", "").strip()
    try:
        return max(float(text), 0.0) if text.lower() not in ("nan", "inf", "infinity") else None
    except ValueError:
        pass
    until = _http_date(text)
    if until is None:
        return None
    return max((until - (_http_date(response.headers.get("Date", "")) or now)).total_seconds(), 0.0)


def _http_date(text: str) -> dt.datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
