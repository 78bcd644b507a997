"""Every structured log event, with its level, fields and module, from the calls in the code."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.generate.markdown import code, codes, paragraph, table
from marketdata_assets import logs

PACKAGE = Path(__file__).parents[2] / "marketdata_assets"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
EVENT = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, order=True)
class LogCall:
    event: str
    module: str
    level: str
    fields: tuple[str, ...]


def page() -> str:
    rows: dict[tuple[str, str], tuple[set[str], dict[str, None]]] = {}
    for call in sorted(_calls()):
        levels, fields = rows.setdefault((call.event, call.module), (set(), {}))
        levels.add(call.level)
        fields.update(dict.fromkeys(call.fields))
    listed = [
        (code(event), ", ".join(sorted(levels)), codes(fields), code(module))
        for (event, module), (levels, fields) in rows.items()
    ]
    introduction = paragraph(
        "A log line is an event name with key-value fields: `reconnecting market=okx attempt=3`."
        " `MARKETDATA_LOG_FORMAT` is `text`, the default, or `json`, one object per line. The same event about the same"
        f" subject is logged at most {logs.LINES_PER_KEY} times, and any event at most {logs.LINES_PER_EVENT} times, in"
        f" {logs.WINDOW_SECONDS:g} s;"
        " the next line has the number of suppressed lines in `suppressed`. Passwords and tokens are replaced by"
        f" `{logs.REDACTED}`. Logs of Dagster runs are in the UI."
    )
    return f"# Log events\n\n{introduction}\n" + table(("event", "level", "fields", "module"), listed)


def _calls() -> Iterator[LogCall]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            logger, event = ast.unparse(node.func.value), node.args[0]
            if node.func.attr not in LEVELS or not logger.endswith("log") or not isinstance(event, ast.Constant):
                continue
            if isinstance(event.value, str) and EVENT.fullmatch(event.value):
                fields = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
                module = str(file.relative_to(PACKAGE))
                yield LogCall(event.value, module, LEVELS[node.func.attr], fields)
