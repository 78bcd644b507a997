"""A simulated hour with a killed run and a power cut; `make soak` is two days with all kinds of faults."""

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak import judge
from tests.soak.clock import coming_monday
from tests.soak.simulation import Options, simulation
from tests.soak.world import SMALL


@pytest.fixture
def home() -> Iterator[Path]:
    # A folder under pytest's own would be too long for PostgreSQL's socket.
    folder = Path(tempfile.mkdtemp(prefix="md-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_hours_with_faults_end_with_everything_fresh(home: Path) -> None:
    start = coming_monday(dt.datetime.now(dt.UTC)) + dt.timedelta(hours=17, minutes=30)
    options = Options(start, hours=0.5, step=dt.timedelta(minutes=15), faults_every=0.2, seed=60, size=SMALL)
    lines: list[str] = []
    with simulation(options, home, say=lines.append) as lived:
        lived.run(settled=lambda: not judge.behind(lived.world))
        found = judge.failures(lived)
        told = "\n".join(lines)
        assert lived.faults, told
        assert judge.behind(lived.world) == [], told
        assert judge.differences(lived.world) == [], told
        assert judge.failing_checks(lived) == [], told
        assert [str(one) for one in judge.without_reason(lived, found)] == [], told
        assert [str(one) for one in judge.not_mended(lived, found)] == [], told
