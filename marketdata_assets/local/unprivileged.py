"""How a root user runs PostgreSQL, which does not start as root.

In a Linux user namespace the process is `nobody` to itself and root to the file system, so the files stay root's and
no folder has to be opened to others. Where the kernel denies namespaces (many containers), the data folder is given
to `nobody`, who may pass through the folder above, and that works only if `nobody` can reach it. This module decides
between the two and changes the user; it does not start PostgreSQL.
"""

import ctypes
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from marketdata_assets.local.errors import RootRefused

CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True)
class Identity:
    """Who a server runs as: `namespace` renames root to this user, `setuid` becomes it."""

    way: Literal["namespace", "setuid"]
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.way}:{self.uid}:{self.gid}"

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Read back what `str` wrote."""
        way, uid, gid = text.split(":")
        return cls("namespace" if way == "namespace" else "setuid", int(uid), int(gid))


def choose(folder: Path, programs: Path) -> Identity | None:
    """Decide who runs the server that keeps `folder`; None for a normal user, who needs no change.

    Raises RootRefused when neither way can reach both the folder and the programs.
    """
    if os.geteuid() != 0:
        return None
    user = _some_user(folder)
    if _namespace_works():
        # In the namespace root keeps its ownership and loses its power over the files of others.
        blocked = _first_closed([folder, programs], uid=0, gid=0)
        if blocked is None:
            return Identity("namespace", user.pw_uid, user.pw_gid)
    blocked = _first_closed([folder.parent, programs], uid=user.pw_uid, gid=user.pw_gid)
    if blocked == folder.parent:  # the data folder, which nobody else may list
        blocked.chmod(0o711)
        blocked = _first_closed([folder.parent, programs], uid=user.pw_uid, gid=user.pw_gid)
    if blocked is not None:
        raise RootRefused(folder, f"the user {user.pw_name} cannot enter {blocked}")
    return Identity("setuid", user.pw_uid, user.pw_gid)


def give(folder: Path, identity: Identity) -> None:
    """Make the files under `folder` belong to whom the server will be on disk; the folder itself comes last."""
    uid, gid = (identity.uid, identity.gid) if identity.way == "setuid" else (0, 0)
    if folder.stat().st_uid == uid:
        return
    for path in [*folder.rglob("*"), folder]:
        os.chown(path, uid, gid, follow_symlinks=False)


def enter(identity: Identity) -> None:
    """Become the identity; for a process with one thread, right before it executes the server."""
    if identity.way == "namespace":
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER) failed")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{identity.uid} 0 1")
        Path("/proc/self/gid_map").write_text(f"{identity.gid} 0 1")
    else:
        os.setgroups([])
        os.setgid(identity.gid)
        os.setuid(identity.uid)


def _some_user(folder: Path) -> pwd.struct_passwd:
    others = [user for user in pwd.getpwall() if user.pw_uid != 0]
    if not others:
        raise RootRefused(folder, "the system has no other user")
    return next((user for user in others if user.pw_name == "nobody"), others[0])


@cache
def _namespace_works() -> bool:
    if sys.platform != "linux":
        return False
    attempt = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({CLONE_NEWUSER}) != 0)"
    return subprocess.run([sys.executable, "-I", "-S", "-c", attempt], check=False).returncode == 0


def _first_closed(paths: Iterable[Path], uid: int, gid: int) -> Path | None:
    for path in paths:
        for folder in [*reversed(path.parents), path]:
            if not folder.exists():
                continue
            status = folder.stat()
            shared = stat.S_IXGRP if status.st_gid == gid else stat.S_IXOTH
            needed = stat.S_IXUSR if status.st_uid == uid else shared
            if not status.st_mode & needed:
                return folder
    return None
