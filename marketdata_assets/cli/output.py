"""What the commands print: tables and bars for people on stderr or stdout, one JSON object for machines on stdout."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from marketdata_assets.progress import reporting_to
from marketdata_assets.secret_values import escaped, masker, shown
from marketdata_assets.standard_streams import STDOUT

Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]

WIDTH_IN_A_FILE = 160
_MODE = "correct its owner and mode, or name another folder: MARKETDATA_HOME is that of all data"
_SPACE = "free space on its disk"
REMEDIES = {errno.EACCES: _MODE, errno.EPERM: _MODE, errno.EROFS: _MODE, errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE}
REDIRECT = "redirect it to a file or to /dev/null"
NEWLINE = "\n"
SILENT = Console(file=None, quiet=True)


class _Shown(RenderHook):
    """The one place where text reaches a terminal: without secrets and control characters, but for our own styles."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        mask = masker()
        return [_ShownText(one, mask) for one in renderables]


@dataclass(frozen=True)
class _ShownText:
    inner: ConsoleRenderable
    mask: Callable[[str], str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self.inner, options):
            yield Segment(text if control else shown(text, NEWLINE, self.mask), style, control)


def console(*, stderr: bool = False) -> Console:
    """Where results go. Nothing that is printed is markup."""
    width = WIDTH_IN_A_FILE if not stderr and not sys.stdout.isatty() else None
    made = Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False, width=width)
    made.push_render_hook(_Shown())
    return made


def notes() -> Console:
    """Where everything that is not the result goes."""
    return console(stderr=True)


def fail(message: str) -> None:
    """Say why a command failed."""
    notes().print(Text.assemble(("error", "bold red"), f" {shown(message, NEWLINE)}"))


def failed_file(error: OSError) -> bool:
    """Say that a file or the standard output cannot be read or written; False for what concerns neither."""
    if error.filename is None and error.errno not in REMEDIES:  # a write names no file
        return False
    if error.filename != STDOUT or error.errno != errno.EPIPE:  # `| head` has read what it wants
        remedy = REDIRECT if error.filename == STDOUT else REMEDIES.get(error.errno or 0, "")
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        fail(f"{place}{error.strerror or error}{'; ' if remedy else ''}{remedy}")
    return True


def warn(title: str, message: str) -> None:
    """Say what a person has to look at, though the command did not fail by it."""
    notes().print(Text.assemble((title, "yellow"), f" {shown(message, NEWLINE)}"))


def login_link(before: str, url: str) -> None:
    """Print an address that logs in: of all that is printed, the one secret that is meant to be seen."""
    sys.stderr.write(f"{before} {escaped(url, NEWLINE)}\n")
    sys.stderr.flush()


def forwarded(line: bytes) -> bytes:
    """A line of another process as it may reach the terminal."""
    return shown(line.decode("utf-8", "replace"), NEWLINE).encode()


def as_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object, at once: its reader may be waiting while the command continues."""
    sys.stdout.write(escaped(json.dumps(_masked(value, masker()), ensure_ascii=False, default=str)) + "\n")
    sys.stdout.flush()


def result(
    json_wanted: bool,
    document: Mapping[str, Any],
    *lines: str,
    show: Callable[[], object] | None = None,
    success: bool = True,
) -> None:
    """Print what a command did: one JSON object, or what `show` prints, and lines. Exit with 1 without success."""
    if json_wanted:
        as_json(document)
    elif show:
        show()
    for line in () if json_wanted else lines:
        console().print(line)
    if not success:
        raise typer.Exit(1)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows as a table; numbers are right-aligned."""
    drawn = Table(title=shown(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        drawn.add_column(shown(name), justify="right" if numeric else "left", overflow="fold")
    mask = masker()
    for row in rows:
        drawn.add_row(*[_cell(value, mask) for value in row])
    console().print(drawn)


@contextmanager
def bar(label: str, quiet: bool = False) -> Iterator[None]:
    """Show a progress bar of the work inside the block; each new piece of work restarts it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        # Takes the room that is left, so that a long name squeezes nothing else.
        TextColumn(
            "{task.fields[what]}", "dim", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
    )
    where = notes()
    with Progress(
        *columns, console=where, disable=quiet or not where.is_terminal, transient=True, expand=True
    ) as progress:
        task = progress.add_task(label, total=None, what="")

        def watch(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, what=shown(what.rpartition("/")[2]))

        with reporting_to(watch):
            yield


def summary(rows: int, rejected: int, seconds: float, extra: str = "") -> str:
    """The one line at the end of a load."""
    speed = f"{rows / seconds:,.0f}" if seconds > 0 else "0"
    return f"{rows:,} rows, {rejected:,} rejected, {seconds:.1f} s, {speed} rows/s{extra}"


def _cell(value: Any, mask: Callable[[str], str]) -> Text:
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    return Text("" if value is None else shown(str(value), mask=mask))


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    """A document without secrets in its texts."""
    if isinstance(value, Mapping):
        return {name: _masked(one, mask) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(one, mask) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else mask(str(value))
