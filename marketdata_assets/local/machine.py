"""What of this machine keeps the package from working well: processor, open files, disk. Each with what to do."""

import platform
import resource
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

CPU_FEATURES = (
    *("pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "avx"),
    *("avx2", "fma", "bmi1", "bmi2", "abm", "movbe", "pclmulqdq"),
)
"""What the wheel of polars is compiled for, by the kernel's names."""
CPUINFO = Path("/proc/cpuinfo")
LEAST_OPEN_FILES = 1024
LEAST_FREE_BYTES = 1 << 30


def problems(folder: Path) -> list[str]:
    """Each problem of this machine and its remedy, in a line; `folder` is the data folder."""
    found = missing_features(CPUINFO.read_text() if CPUINFO.exists() else "", platform.machine())
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return [
        *([wrong_processor(found)] if found else ()),
        *few_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        *little_space(folder, shutil.disk_usage(existing).free),
    ]


def missing_features(cpuinfo: str, machine: str) -> list[str]:
    """The processor features that polars needs and the text of /proc/cpuinfo lacks; none where it names none."""
    if machine not in ("x86_64", "AMD64"):
        return []
    lists = [line.partition(":")[2].split() for line in cpuinfo.splitlines() if line.startswith("flags")]
    return [name for name in CPU_FEATURES if name not in lists[0]] if lists else []


def wrong_processor(missing: Collection[str]) -> str:
    """What to do about a processor without `missing`."""
    return (
        f'processor: without {", ".join(missing)}, which polars needs: it stops with "Illegal instruction"; run'
        ' pip install "polars[rtcompat]", or let a virtual machine show the host\'s processor (QEMU: -cpu host)'
    )


def few_open_files(limit: int) -> Iterator[str]:
    """Object to a soft limit of open files that loads and servers run into; a negative one is none."""
    if 0 <= limit < LEAST_OPEN_FILES:
        yield (
            f"open files: at most {limit} at once, {LEAST_OPEN_FILES} are needed; run `ulimit -n {LEAST_OPEN_FILES}`"
            " first, or raise it in /etc/security/limits.conf"
        )


def little_space(folder: Path, free: int) -> Iterator[str]:
    """Object to less free space than a day's load needs."""
    if free < LEAST_FREE_BYTES:
        yield f"disk: {free >> 20} MB are free for {folder}; free space there, or set MARKETDATA_HOME to another disk"
