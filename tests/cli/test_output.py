"""What reaches a terminal: no control character and no secret of anybody else, and nothing is read as markup."""

import ast
import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import marketdata_assets
from marketdata_assets.cli import output

CODE = Path(marketdata_assets.__file__).parent
CONTROLS = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029, 0xD800]
HOSTILE = st.text(
    st.one_of(st.sampled_from([chr(number) for number in CONTROLS]), st.sampled_from("\\[]/=red x")), max_size=12
)
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

WAYS: dict[str, Callable[[str], Any]] = {
    "cell": lambda text: output.table("quarantine", ("reason",), [[text]]),
    "column": lambda text: output.table("quarantine", (text,), [["x"]]),
    "title": lambda text: output.table(text, ("reason",), [["x"]]),
    "error": output.fail,
    "warning": lambda text: output.warn("check", text),
    "line": lambda text: output.console().print(text),
    "note": lambda text: output.notes().print(f"written {text}"),
    "result": lambda text: output.result(False, {}, text),
    "json": lambda text: output.as_json({text: [text, {"a": text}], "b": Path(text)}),
}


def printed(way: Callable[[str], Any], text: str) -> str:
    streams = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        way(text)
    return "".join(stream.getvalue() for stream in streams)


@pytest.mark.parametrize("way", WAYS)
@given(text=HOSTILE)
def test_no_control_character_is_printed_and_no_text_is_markup(way: str, text: str) -> None:
    told = printed(WAYS[way], text)
    assert not OBEYED.search(told)
    assert told.isprintable() or set(filter(lambda one: not one.isprintable(), told)) == {"\n"}
    if way == "json":
        assert json.loads(told)[text][0] == text


def test_a_value_of_several_lines_is_one_line_of_a_table() -> None:
    assert "a\\nb" in printed(WAYS["cell"], "a\nb")


@pytest.mark.parametrize("text", [r"\[/nope]", "[/x]", r"a\[link=http://evil]k", "\\", "[red]x[/red]", ":smile:"])
@pytest.mark.parametrize("way", ["cell", "error", "warning", "line", "result", "title"])
def test_markup_is_printed_as_it_is_written(way: str, text: str) -> None:
    assert text in printed(WAYS[way], text)


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_masked_whatever_prints_it(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETDATA_POSTGRES_DSN", "postgresql://me:canary%40b1c2@host/db")
    if way != "json":
        assert "***" in printed(WAYS[way], "login canary@b1c2 failed")
    for form in ("canary@b1c2", "canary%40b1c2", "Y2FuYXJ5QGIxYzI"):
        assert form not in printed(WAYS[way], form).replace(f'"{form}":', "")


def test_a_line_of_another_process_is_forwarded_without_what_a_terminal_obeys() -> None:
    assert output.forwarded(b"\x1b]0;PWNED\x07 \xff\n") == b"\\u001b]0;PWNED\\u0007 \xef\xbf\xbd\n"


def test_every_other_line_is_printed_there() -> None:
    """Nothing else makes a console, a table or a bar; what writes to stdout itself writes documents of ours."""
    written = {
        "cli/collect.py": "the table of metrics",
        "cli/flows.py": "the schema of a flow",
        "cli/figures.py": "metrics",
        "cli/output.py": "here",
        "cli/replay.py": "records as JSON",
        "cli/servers.py": "lines that output.forwarded made",
        "collector/sinks/stdout.py": "records as JSON",
        "cli/__init__.py": "it only flushes",
        "cli/app.py": "the version, and a traceback that is escaped",
        "logs.py": "its formatters escape",
        "standard_streams.py": "it passes on what others have made",
    }
    found = set()
    for path in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            streams = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if name in ("print", "typer.echo", "Console") or streams in (
                "sys.stdout",
                "sys.stderr",
            ):
                found.add(path.relative_to(CODE).as_posix())
    assert found == written.keys()
