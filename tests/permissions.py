"""File permissions that hold for root, too: in containers the tests are run by root, to whom no file is closed."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION_3 = 0x20080522
OVERRIDE = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, see capabilities(7)."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def enforced() -> Iterator[None]:
    """This thread, and threads and forks that it starts, are refused what a file's mode refuses."""
    if os.geteuid() != 0:
        yield
        return
    header, now = _Header(VERSION_3, 0), (_Capabilities * 2)()
    _call("capget", header, now)
    before = now[0].effective
    now[0].effective = before & ~OVERRIDE
    _call("capset", header, now)
    try:
        yield
    finally:
        now[0].effective = before
        _call("capset", header, now)


def _call(name: str, header: _Header, capabilities: ctypes.Array[_Capabilities]) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(ctypes.byref(header), capabilities):
        raise OSError(ctypes.get_errno(), name)
