"""Every domain of `make bench` runs to its end on tiny inputs, in a process of its own as in a fresh clone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOMAINS = [
    "alphas",
    "bars",
    "collector",
    "defs",
    "exchanges",
    "flows",
    "fuzz",
    "history",
    "hosts",
    "read",
    "ticks",
    "web",
]


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
def test_benchmarks_of_a_domain_run_to_their_end(domain: str) -> None:
    done = _bench("--only", domain)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = re.findall(r"^([a-z]+\.[a-z0-9_]+) = ", done.stdout, re.MULTILINE)
    assert figures
    assert re.search(rf"^{domain}: \d+ s", done.stdout, re.MULTILINE)
    assert "MISSED" not in done.stdout  # tiny inputs are not judged


def test_every_domain_has_a_smoke_test() -> None:
    known = re.search(r"\{(.+)\}", _bench("--help").stdout)
    assert known
    assert sorted(known[1].split(",")) == DOMAINS


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FUZZ_SECONDS")}
    environment["BENCH_SMALL"] = "1"
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)


def test_a_peer_that_cannot_run_is_an_error_of_the_benchmark() -> None:
    asked = "from bench.peers import NoPeer, unmeasured as un; [f] = un(NoPeer('no'), 'a.b'); print(f.holds, f.line())"
    done = subprocess.run([sys.executable, "-c", asked], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "False a.b: ERROR: no\n"
