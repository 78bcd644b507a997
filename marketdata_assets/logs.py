"""Structured log lines: an event name and key-value facts, as text or as JSON, rate-limited and without secrets.

    log = get_logger(__name__)
    log.warning("reconnecting", venue="okx", attempt=3, wait_s=2.0)

is `reconnecting venue=okx attempt=3 wait_s=2.0`. Handlers are the standard library's; a process calls `configure` once.
Which events are worth a line is decided where they happen.
"""

import datetime as dt
import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marketdata_assets.secret_values import MASK as REDACTED
from marketdata_assets.secret_values import escaped, shown

Format = Literal["text", "json"]

WINDOW_SECONDS = 60.0
LINES_PER_KEY = 5
"""Lines of an event about the same thing in one window; what it is about are its texts, such as venue="okx"."""
LINES_PER_EVENT = 50
"""Lines of an event in one window, whatever they are about."""

_SECRET_NAME = re.compile(r"password|passwd|secret|token|api_?key|cookie|authorization|credential", re.IGNORECASE)
_SECRET_IN_TEXT = re.compile(
    r"((?:token|secret|api_?key|signature|access_token)[\"']?\s*[=:]\s*[\"']?|authorization:\s*(?:(?:bearer|basic)\s+)?|bearer\s+)[^\s&\"',;]+",
    re.IGNORECASE,
)
_MAX_CHARACTERS = 500
_VARYING = frozenset({"error", "cause", "reason"})
"""Facts that say how something failed, not what the line is about."""


class Logger:
    """Writes structured lines to the standard library's logger of the same name."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logging.getLogger(name)
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def info(self, event: str, /, **facts: Any) -> None:
        self._write(logging.INFO, event, facts)

    def warning(self, event: str, /, **facts: Any) -> None:
        self._write(logging.WARNING, event, facts)

    def error(self, event: str, /, **facts: Any) -> None:
        self._write(logging.ERROR, event, facts)

    def exception(self, event: str, /, **facts: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, event, facts, traceback=True)

    def _write(self, level: int, event: str, facts: dict[str, Any], *, traceback: bool = False) -> None:
        if not self._logger.isEnabledFor(level):
            return
        suppressed = self._admit(event, facts)
        if suppressed is None:
            return
        texts = {name: _shown(name, value) for name, value in facts.items()}
        if suppressed:
            texts["suppressed"] = suppressed
        line = " ".join([event, *(f"{name}={_quoted(str(value))}" for name, value in texts.items())])
        extra = {"event": event, "facts": texts}
        self._logger.log(level, "%s", line, extra=extra, exc_info=traceback, stacklevel=3)

    def _admit(self, event: str, facts: Mapping[str, Any]) -> int | None:
        """How many lines of the event were suppressed before this one; None when it is suppressed too."""
        now = self._clock()
        window = self._windows.get(event)
        before = 0
        if window is None or now - window.begin >= WINDOW_SECONDS:
            before = window.suppressed if window else 0
            window = self._windows[event] = _Window(now)
        about = tuple(value for name, value in facts.items() if isinstance(value, str) and name not in _VARYING)
        if window.lines.total() >= LINES_PER_EVENT or window.lines[about] >= LINES_PER_KEY:
            window.suppressed += 1
            return None
        window.lines[about] += 1
        return before


@dataclass
class _Window:
    begin: float
    lines: Counter[tuple[str, ...]] = field(default_factory=Counter)
    suppressed: int = 0


def get_logger(name: str) -> Logger:
    return Logger(name)


def configure(form: Format, level: int | str = logging.WARNING) -> None:
    """Write the package's lines of `level` and above, and any other library's warnings, to stderr.

    Does nothing to handlers where the process has set up logging itself.
    """
    logging.getLogger(__package__).setLevel(level)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # warns of rollbacks that fail after the error that is raised
    if logging.root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(_TEXT))
    logging.root.addHandler(handler)


_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """One line a record; a traceback follows in indented lines, so that no text of it looks like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        return redacted(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return _indented(stack_info)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, event, and the facts beside them."""

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", {})
        line = {
            **facts,
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "event", None) or redacted(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info), "\n")
        return escaped(json.dumps(line, ensure_ascii=False, default=str))


def redacted(text: str, keep: str = "") -> str:
    """The text without secrets, without values that follow the name of one, and without control characters."""
    return _SECRET_IN_TEXT.sub(rf"\g<1>{REDACTED}", shown(text, keep))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in redacted(text, "\n").split("\n"))


def _shown(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return REDACTED
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3)
    text = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    return redacted(" ".join(text.split()))[:_MAX_CHARACTERS]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if not text or re.search(r"[\s\"=]", text) else text
