"""`python -m tests.fuzz`: every parser on changed files and answers for some time, in processes with little memory.

A failure is an exception that is not declared, a process that ends, an input that takes a minute, or too much memory.
The input of each is kept. The same seed gives the same inputs: FUZZ_SEED=7 make fuzz.
"""

import argparse
import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

from bench.fuzzing import Target, fuzz
from tests.fuzz.parsers import every

PROJECT = Path(__file__).parents[2]
MEMORY = 3 * 1024**3
MOST_RESIDENT_MB = 1500
SLOWEST_SECONDS = 60
BATCH = 10
"""Parsers for each process."""
CURRENT = "current"
"""The input that a process reads, kept for the case that it ends."""


@dataclass(frozen=True)
class Found:
    """What a process did with one target."""

    name: str
    inputs: int
    seconds: float
    resident_mb: int
    failures: tuple[str, ...]


def fixtures() -> Path | None:
    """Recorded payloads are more to begin with, and not needed."""
    folder = Path(os.environ.get("MARKETDATA_FIXTURES") or "none")
    return folder if folder.is_dir() else None


def resident_mb() -> int:
    """The most that this process has held; `ru_maxrss` would count the process that started it as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def child(names: Sequence[str], seed: int, seconds: float, kept: Path) -> None:
    """Fuzz targets one after the other, and print what was tried of each as a line of JSON."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as scratch:
        targets = {one.name: one for one in every(fixtures(), Path(scratch))}
        for name in names:
            print(json.dumps(fuzz_target(targets[name], seed, seconds, kept_folder(name, kept))), flush=True)


def fuzz_target(target: Target, seed: int, seconds: float, kept: Path) -> tuple[int, float, int, list[tuple[str, str]]]:
    """Inputs, seconds, megabytes, and each failure with the file of its input."""
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / CURRENT).open("wb", 0) as current:

        def take(raw: bytes, random: Random) -> None:
            current.seek(0)
            current.truncate()
            current.write(raw)
            faulthandler.dump_traceback_later(SLOWEST_SECONDS, exit=True)
            target.take(raw, random)

        watched = Target(target.name, take, target.seeds, target.raises)
        end, began = time.monotonic() + seconds, time.monotonic()
        tried = fuzz([watched], seed, lambda _: time.monotonic() < end, failures=5)
    faulthandler.cancel_dump_traceback_later()
    files = [str(path) for path in tried.keep(kept)]
    stories = [story.strip().splitlines()[-1][:200] for _, _, story in tried.failures]
    return tried.inputs, time.monotonic() - began, resident_mb(), list(zip(stories, files, strict=True))


def kept_folder(name: str, kept: Path) -> Path:
    return kept.absolute() / name.replace(" ", "-").replace("/", "-")


def run(names: Sequence[str], seed: int, seconds: float, kept: Path) -> Iterator[Found]:
    """Fuzz targets in one process, and those after a target with which it ends in another."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--seed", str(seed)]
    command += ["--seconds", str(seconds), "--kept", str(kept.absolute()), "--child"]
    while names:
        ended = subprocess.run([*command, *names], capture_output=True, text=True, cwd=PROJECT)
        tried = ended.stdout.splitlines()
        for name, line in zip(names, tried, strict=False):
            inputs, took, resident, failures = json.loads(line)
            said = [f"{story} ({file})" for story, file in failures]
            if resident > MOST_RESIDENT_MB:
                said.append(f"{resident} MB resident, the limit is {MOST_RESIDENT_MB}")
            yield Found(name, inputs, took, resident, tuple(said))
        left = names[len(tried) :]
        if ended.returncode:
            name, what = (left or names)[0], " ".join(ended.stderr.split())[-600:]
            said = [f"the process ended with {ended.returncode}: {what}; input {kept_folder(name, kept) / CURRENT}"]
            yield Found(name, 0, 0, 0, tuple(said))
        names = left[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    seed = os.environ.get("FUZZ_SEED") or str(int.from_bytes(os.urandom(4)))
    parser.add_argument("--seed", type=int, default=int(seed))
    parser.add_argument("--seconds", type=float, default=10, help="for each parser")
    parser.add_argument("--only", default="", help="parsers whose names begin so")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "fuzz")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.seed, asked.seconds, asked.kept)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        names = [one.name for one in every(fixtures(), Path(scratch)) if one.name.startswith(asked.only)]
    print(f"FUZZ_SEED={asked.seed}, {len(names)} parsers, {asked.seconds:g} s each", flush=True)
    total, failed = 0, 0
    with ThreadPoolExecutor(asked.workers) as pool:
        batches = [names[first : first + BATCH] for first in range(0, len(names), BATCH)]
        results = pool.map(lambda batch: [*run(batch, asked.seed, asked.seconds, asked.kept)], batches)
        for found in chain.from_iterable(results):
            total += found.inputs
            failed += bool(found.failures)
            rate = found.inputs / found.seconds if found.seconds else 0
            print(f"{found.name:34} {found.inputs:>9} inputs {rate:>7.0f}/s {found.resident_mb:>5} MB", flush=True)
            for failure in found.failures:
                print(f"    {failure}", flush=True)
    print(f"{total} inputs, {failed} of {len(names)} parsers failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
