"""`marketdata up`: the local stack and the Dagster UI, until Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Annotated

import typer

from marketdata_assets.cli import output
from marketdata_assets.cli.instance import PROJECT, environment
from marketdata_assets.local.errors import PortTaken
from marketdata_assets.local.process import port_is_free, tied_to_us
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.secret_values import without_password
from marketdata_assets.settings import Settings

SUPERSEDED = "Function `dev_command` is superseded"
"""Said of `dagster dev` at every start; `dg dev` is the same code, in a package that a deployment has no use for."""


def up(
    ui: Annotated[bool, typer.Option(help="also start the Dagster UI and its daemon")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="print the URLs as one JSON object")] = False,
) -> None:
    """Start the local stack and the Dagster UI on the data folder; Ctrl-C stops both, the data stays."""
    settings = Settings()
    say = output.notes().print
    if ui:
        need_ui_port(settings)
    with LocalStack(settings, progress=say) as stack:
        found = environment(settings, stack.endpoints)
        shown = {name: without_password(value) for name, value in found.items()}
        if as_json:
            output.as_json(shown)
        else:
            output.table("local stack", ("variable", "value"), sorted(shown.items()))
        serve(settings, found, ui)


def need_ui_port(settings: Settings) -> None:
    """Raise PortTaken when something else listens where the UI shall; `dagster dev` itself would wait for ever."""
    if not port_is_free(settings.ui_port):
        raise PortTaken("the Dagster UI", settings.ui_port, "MARKETDATA_UI_PORT")


def serve(settings: Settings, found: dict[str, str], ui: bool) -> None:
    """Stay in the foreground with the UI, or with the servers alone, until a signal."""
    code = 0
    with _stop_on_signal():
        if not ui:
            output.notes().print("running; Ctrl-C stops it")
            signal.pause()
            return
        url = f"http://127.0.0.1:{settings.ui_port}"
        output.notes().print(f"Dagster UI at {url} in a few seconds; Ctrl-C stops everything, the data stays")
        command = [
            sys.executable, "-W", f"ignore:{SUPERSEDED}", "-m", "dagster", "dev", "-w", str(PROJECT / "workspace.yaml"),
            "--host", "127.0.0.1", "--port", str(settings.ui_port), "--log-level", "warning",
        ]  # fmt: skip
        process = subprocess.Popen(
            tied_to_us(command, signal.SIGINT, None),
            env={**os.environ, **found},
            cwd=settings.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stopping = threading.Event()
        threading.Thread(target=_pass_on, args=(process, stopping), daemon=True).start()
        try:
            code = process.wait()
        finally:
            stopping.set()
            _stop(process)
    if code != 0:
        output.fail(f"the Dagster UI ended with exit code {code}; its own words are above")
        raise typer.Exit(1)


def _pass_on(process: subprocess.Popen[bytes], stopping: threading.Event) -> None:
    """Print what the UI prints until it is stopped: sensors that look then report a code server that is gone."""
    assert process.stdout is not None
    for line in process.stdout:
        if not stopping.is_set():
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End `dagster dev` and what it has started; its daemon may hang on a code server that is gone."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    with suppress(ProcessLookupError, PermissionError):
        until = time.monotonic() + 5
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _stop_on_signal:  # noqa: N801 - reads as a statement
    """Let SIGTERM end the block like Ctrl-C, and let both end it quietly."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        # polars takes SIGINT over when it is imported, and restarts what Ctrl-C should interrupt.
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        signal.signal(signal.SIGTERM, self._before)
        return kind is KeyboardInterrupt
