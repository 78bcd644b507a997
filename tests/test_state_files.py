"""Small files of our own: replaced whole, private, set aside when unreadable; locks that nobody else can hold."""

import datetime as dt
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets import lock_waits, state_files
from marketdata_assets.alphas.changes import Seen
from marketdata_assets.alphas.files import locked
from marketdata_assets.alphas.login import SessionFile
from marketdata_assets.alphas.packaging import Mark, recorded
from marketdata_assets.collector.jetstream.spool import Spool
from marketdata_assets.collector.shard_files import Checkpoint
from marketdata_assets.export.folder import Manifest
from marketdata_assets.local import password, record, run_lock
from marketdata_assets.logs import get_logger
from marketdata_assets.stores.clickhouse_rewrite import _group
from marketdata_assets.ui.guard import token_file


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def open_umask() -> Any:
    before = os.umask(0)
    yield
    os.umask(before)


CUT_OFF = [b"", b"\0" * 40, b"{", b"[1, 2", b"[" * 100_000]
ODD = [b'{"a": "\xff"}', b"null", b'{"pid": 1}', b"7", b'"x"', b'{"urls": {"a": 1}}', b'{"okx spot": []}', b"[]"]


STATES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "collector's checkpoint": ("since.json", lambda home: Checkpoint(home / "since.json").read()),
    "session": ("lk.session", lambda home: SessionFile(home, "lk", "me").load()),
    "mark of packages": (
        "lk/packages/regular/.2024-01.packed",
        lambda home: recorded(home, "lk", "regular", "2024-01", Mark),
    ),
    "seen": (
        "lk/changed_data/.seen.json",
        lambda home: Seen(home, "lk", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)).state.until,
    ),
    "export": (".versions.json", lambda home: Manifest(home).entries),
    "stack": ("stack.json", record.read),
}


@pytest.mark.parametrize("content", CUT_OFF + ODD, ids=range(len(CUT_OFF + ODD)))
@pytest.mark.parametrize("name", STATES)
def test_a_state_that_cannot_be_read_is_set_aside_and_named(
    name: str, content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_files, "log", get_logger(state_files.__name__))  # which has said nothing yet
    file, look = STATES[name]
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    nothing = look(tmp_path)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        found = look(tmp_path)
    aside = list(path.parent.glob(f"{path.name}.unreadable-*"))
    assert len(aside) == 1 or (content in ODD and not aside)
    if aside:
        assert found == nothing
        assert not path.exists()
        assert aside[0].read_bytes() == content
        assert f"{path.name} set_aside={aside[0].name}" in caplog.text


def test_a_write_is_whole_private_and_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def seen(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        real(handle)

    monkeypatch.setattr(os, "fsync", seen)
    path = tmp_path / "a" / "state.json"
    state_files.write(path, "one")
    assert (mode(path), mode(path.parent), path.read_text()) == (0o600, 0o700, "one")
    assert [name.startswith(".state.json.") or name == "a" for name in synced] == [True, True]
    path.chmod(0o644)
    state_files.write(path, b"two")
    assert (mode(path), path.read_bytes()) == (0o600, b"two")
    with pytest.raises(TypeError):
        state_files.write(path, None)  # type: ignore[arg-type]
    assert path.read_bytes() == b"two"
    assert [one.name for one in path.parent.iterdir()] == ["state.json"]


def test_a_token_or_password_is_made_again_when_its_file_lost_its_content(tmp_path: Path) -> None:
    for read in (lambda: token_file(tmp_path).read_text(), lambda: password.of(tmp_path), lambda: _group(tmp_path)):
        first = read()
        assert first == read()
        for name in ("ui_token", "password", "group"):
            (tmp_path / name).write_bytes(b"\0" * 9)
        assert read().strip("\0")
    assert {mode(tmp_path / name) for name in ("ui_token", "password", "group")} == {0o600}


def test_every_lock_and_folder_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with run_lock.held(home, "run"), locked(home / "alphas" / "2026-08"), record.hold(home):
        Spool(home / "collector" / "spool", 1 << 20).close()
        Checkpoint(home / "collector" / "since.json").write({"okx spot": 1})
        files = [path for path in home.rglob("*") if path.is_file()]
        assert len(files) >= 6
        assert {str(path): mode(path) for path in files if mode(path) & 0o077} == {}
        # Nobody else comes below the data folder; that of alphas may be elsewhere, where others read it.
        assert {mode(folder) for folder in (home, home / "running", home / "collector")} == {0o700}


def test_files_for_others_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "export" / "600000.parquet"
    with state_files.replacing(path, path.with_suffix(".partial")) as file:
        file.write(b"x")
    assert (mode(path), mode(path.parent)) == (0o666, 0o777)


def test_a_lock_file_of_an_older_version_becomes_private(tmp_path: Path) -> None:
    file = tmp_path / "running" / "run.lock"
    file.parent.mkdir()
    file.touch(0o644)
    with run_lock.held(tmp_path, "run"):
        assert (mode(file), mode(file.parent)) == (0o600, 0o700)


def test_an_open_data_folder_becomes_private_but_no_folder_of_everybody(tmp_path: Path) -> None:
    home, shared = tmp_path / "home", tmp_path / "shared"
    for folder, given in ((home, 0o755), (shared, 0o1777)):
        folder.mkdir()
        folder.chmod(given)
        state_files.private_folder(folder)
    assert (mode(home), shared.stat().st_mode & 0o7777) == (0o700, 0o1777)


HOLDER = """
import sys
from pathlib import Path
from marketdata_assets import state_files
with state_files.opened(Path(sys.argv[1])) as file:
    state_files.lock(file)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_waits_long_for_a_lock_reads_who_holds_it_since_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock_waits, "FIRST_SECONDS", 0.0)
    path = tmp_path / ".2026-08.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        with state_files.opened(path) as file:
            assert not state_files.lock(file, wait=False)

        class Ends(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                assert holder.stdin is not None
                holder.stdin.close()

        log = logging.getLogger(lock_waits.__name__)
        log.addHandler(ends := Ends())
        try:
            with locked(tmp_path / "2026-08"):
                pass
        finally:
            log.removeHandler(ends)
    assert f"process {holder.pid} (" in caplog.text
    assert f"since {time.gmtime().tm_year}-" in caplog.text
    assert f"process {os.getpid()}" in path.read_text()


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    state_files.write(path, json.dumps({"a": 1}))
    assert state_files.read(path, json.loads) == {"a": 1}
    assert state_files.read(tmp_path / "none", json.loads) is None
