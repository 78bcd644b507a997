"""Bybit's REST: addresses, rate limits, and the errors in its responses.

https://bybit-exchange.github.io/docs/v5/rate-limit, https://bybit-exchange.github.io/docs/v5/error
"""

import time

import msgspec

from marketdata_assets.budget import Budget, BudgetPlace
from marketdata_assets.exchanges.bybit.wire import Status
from marketdata_assets.exchanges.records import VenueError
from marketdata_assets.exchanges.rest import Limits
from marketdata_assets.input_limits import NOT_JSON

URL = "https://api.bybit.com"
API = "/v5/market/"

SECONDS, REQUESTS = 5.0, 500
"""So many requests in so many seconds, by address. Bybit allows 600 and advises against the very edge."""

TOO_MANY = frozenset({429, 10006, 10018})
BANNED_MS = 600_000  # at least so long does Bybit answer 403 to an address that sent too much

_status = msgspec.json.Decoder(Status).decode


def limits(budgets: BudgetPlace, host: str = "api.bybit.com") -> Limits:
    """The rate limit of Bybit, shared by all processes that use these budgets."""
    return Limits(Budget(budgets, host, SECONDS, REQUESTS))


def error_of(raw: bytes) -> VenueError | None:
    """What a response says is wrong; null as well when it cannot be read."""
    if b"access too frequent" in raw[:200]:  # not JSON
        return VenueError(403, "access too frequent", True, time.time_ns() // 1_000_000 + BANNED_MS)
    try:
        status = _status(raw)
    except NOT_JSON:
        return None
    if not status.ret_code:
        return None
    return VenueError(status.ret_code, status.ret_msg, status.ret_code in TOO_MANY)
