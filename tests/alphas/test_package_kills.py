"""Packaging that is killed at any step, and processes that package one month at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archives import ACCOUNT, MONTH, alpha, on_disk, pack, packed, put
from dying import child

from marketdata_demo import sample_alphas

FILE_STEPS = (
    *((os, name) for name in ("replace", "unlink", "fsync", "mkdir", "pread")),
    *((Path, name) for name in ("open", "read_bytes")),
)


def doomed(work: Callable[[], Any], steps: int) -> bool:
    """Do `work` in a child that is killed before the file system step after `steps`; True when it needed no more."""
    code = child(steps, work, FILE_STEPS)
    assert code in (0, -signal.SIGKILL)
    return code == 0


def test_a_kill_at_any_write_loses_nothing(tmp_path: Path) -> None:
    raw, wanted = tmp_path / "raw", tmp_path / "wanted"
    old = [alpha(f"o{day}", f"2024-11-0{day}T09:00:00Z") for day in (1, 2)]
    new = [alpha(f"n{day}", f"2024-11-0{day}T09:00:00Z") for day in (2, 3)]
    for root in (raw, wanted):
        first = put(root, "2024-11-01T00:00", old, hours=96, mtime=1)
        pack(root)
        first.unlink()
        put(root, "2024-11-01T00:00", [*new, 7], hours=72, mtime=2)
    pack(wanted)
    for steps in range(200):
        root = tmp_path / str(steps)
        subprocess.run(["cp", "-a", raw, root], check=True)
        survived = doomed(lambda root=root: pack(root), steps)  # type: ignore[misc]
        ids = {document["id"] for documents in packed(root).values() for document in documents}
        assert ids >= {"o1", "o2"}
        pack(root)
        assert on_disk(root) == on_disk(wanted)
        if survived:
            break
    assert steps > 20


def test_processes_packaging_the_same_month_at_once_end_in_the_same_files(tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    for root in (together, alone):
        sample_alphas.write_archive(root, ACCOUNT, ["2024-10", MONTH], regular=200, superalphas=0)
    pack(alone)
    code = (
        "import sys; from pathlib import Path; from marketdata_assets.alphas.packaging import package\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(6): package(Path(sys.argv[1]), 'lk', 'regular', '2024-11')"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, together], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for n in range(3)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline()
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.close()
    for process in processes:
        assert process.stdout
        assert process.wait(timeout=300) == 0
        process.stdout.close()
    pack(together)
    assert on_disk(together) == on_disk(alone)
