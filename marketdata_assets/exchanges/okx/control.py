"""What OKX says besides data: answers to subscriptions, errors, notices.

    {"event":"subscribe","arg":{"channel":"trades","instId":"ABC-USDT"},"connId":"a1b2"}
    {"event":"error","code":"60018","msg":"Wrong URL or channel ...","connId":"a1b2"}
    {"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade ..."}

https://www.okx.com/docs-v5/en/#overview-websocket-subscribe
https://www.okx.com/docs-v5/en/#overview-websocket-notification
`ping` and `pong` are bare texts. The answers of REST say `code` and `msg` too, "0" where nothing is wrong.
"""

import msgspec

from marketdata_assets.exchanges.errors import BadMessage
from marketdata_assets.exchanges.okx.wire import VENUE, Arg, Wire
from marketdata_assets.exchanges.outcomes import Control, ControlKind, Outcome, VenueError

BARE: dict[bytes, ControlKind] = {b"pong": "pong", b"ping": "heartbeat"}

UNSUBSCRIBED = "unsubscribe "
"""Stands before the subscription in the ack of its end."""

TOO_MANY = frozenset({"50011", "50040", "50061", "60014", "60023"})
"""Codes of requests that came too fast: https://www.okx.com/docs-v5/en/#error-code"""


class Event(Wire, frozen=True, gc=False):
    event: str
    arg: Arg | None = None
    code: str = ""
    msg: str = ""
    channel: str = ""  # of the count of connections
    conn_count: str = msgspec.field(name="connCount", default="")


class Status(Wire, frozen=True, gc=False):
    """What an answer of REST says of itself."""

    code: str
    msg: str = ""


_event = msgspec.json.Decoder(Event).decode
_status = msgspec.json.Decoder(Status).decode


def event(raw: bytes) -> tuple[Outcome, Arg | None]:
    """What an event means, and the subscription that it is about."""
    told = _event(raw)
    match told.event:
        case "subscribe":
            return Control("ack", str(_arg(told))), told.arg
        case "unsubscribe":
            return Control("ack", f"{UNSUBSCRIBED}{_arg(told)}"), told.arg
        case "error" | "channel-conn-count-error":
            return _error(told.code, told.msg or told.event), told.arg
        case "notice":
            return Control("notice", f"{told.code} {told.msg}".strip()), None
        case "login":
            return Control("login", told.code), None
        case "channel-conn-count":
            return Control("notice", f"{told.conn_count} connections to {told.channel}"), None
    raise BadMessage(VENUE, f"an event {told.event[:40]!r}")


def refusal(raw: bytes) -> VenueError | None:
    """The error that an answer of REST is; null when it is none."""
    status = _status(raw)
    return _error(status.code, status.msg) if status.code != "0" else None


def _arg(told: Event) -> Arg:
    if told.arg is None:
        raise BadMessage(VENUE, f"{told.event} without arg")
    return told.arg


def _error(code: str, message: str) -> VenueError:
    number = int(code) if code.isascii() and code.isdecimal() and len(code) < 10 else code
    return VenueError(number, message, code in TOO_MANY)
