"""Any files, corrections, orders of loading, kills and workers end in the table of one sequential pass."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from dying import Load, server
from flow_files import HEADER, PRICES, deliver, flow, rows, run
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from marketdata_assets.flows import checks
from marketdata_assets.flows import run as running
from marketdata_assets.flows.definition import read
from marketdata_assets.flows.forget import forget

KEEP = PRICES
BY_NAME = PRICES.replace("mode: upsert", "mode: upsert\n  removed_rows: delete")
BY_TIME = BY_NAME.replace("mode: upsert", "mode: upsert\n  order_by: file time")
BY_VOLUME = BY_NAME.replace("mode: upsert", "mode: upsert\n  order_by: volume")
EDITED = "handlers: [{sort: [volume]}]\n"
NAMES = ("a_2.csv", "a_10.csv", "a_10/b.csv", "c.csv")
SCHEMAS = count()

Rows = dict[str, tuple[int, int]]
"""Close and volume by code."""

ROWS = st.dictionaries(st.sampled_from("uvw"), st.tuples(st.integers(1, 9), st.integers(1, 4)), max_size=3)
FILES = st.dictionaries(st.sampled_from(NAMES), st.tuples(ROWS, st.integers(0, 3)), min_size=1, max_size=3)
"""Rows and age of files by name. With few keys, most files have some in common."""


def doomed(file: str, dsn: str, folder: str) -> None:
    run(read(Path(file)), dsn, Path(folder))


@pytest.fixture(scope="module")
def survived() -> Iterator[Load]:
    with server(Path(__file__)) as load:
        yield load


class Deliveries(RuleBasedStateMachine):
    """Files that come, change, are loaded, killed and forgotten; and what a sequential pass over them would give."""

    def __init__(self, dsn: str, survived: Load) -> None:
        super().__init__()
        self.schema = f"flow_{next(SCHEMAS)}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {self.schema}".encode())
        self.dsn = f"{dsn} options='-c search_path={self.schema}'"
        self.survived = survived
        self.home = TemporaryDirectory(prefix="deliveries-")
        self.folder = Path(self.home.name)
        self.times = count(1)
        self.files: dict[str, tuple[int, Rows]] = {}
        self.forgotten: set[str] = set()

    @initialize(text=st.sampled_from([KEEP, BY_NAME, BY_TIME, BY_VOLUME]), files=FILES)
    def declare(self, text: str, files: dict[str, tuple[Rows, int]]) -> None:
        self.text = text
        self.flow = flow(self.folder, text)
        self.deliver(files)

    @rule(files=FILES)
    def correct(self, files: dict[str, tuple[Rows, int]]) -> None:
        self.deliver(files)

    @rule(files=FILES)
    def correct_what_is_loaded(self, files: dict[str, tuple[Rows, int]]) -> None:
        self.catch_up()
        self.deliver(files)

    def deliver(self, files: dict[str, tuple[Rows, int]]) -> None:
        for name, (held, age) in files.items():
            self.write(name, held, age)

    def write(self, name: str, rows: Rows, age: int) -> None:
        """A new or a corrected file. Rows that it no longer has would be kept: then it has those of before as well."""
        if self.text is KEEP and name in self.files:
            rows = {**self.files[name][1], **rows}
        text = "".join(f"{code},2024-01-01,{close},{volume}\n" for code, (close, volume) in rows.items())
        time_us = (10 - age) * 1_000_000 + next(self.times)
        os.utime(deliver(self.folder, name, HEADER + text), ns=(0, time_us * 1000))
        self.files[name] = (time_us, rows)

    @rule(again=st.booleans())
    def edit(self, again: bool) -> None:
        """Everything is loaded again by the next run."""
        self.flow = flow(self.folder, self.text + (EDITED if again else ""))

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def load_some(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(sorted(self.files)), unique=True, min_size=1))
        for name in names:
            assert not run(self.flow, self.dsn, self.folder, units=[name]).failed

    @precondition(lambda self: self.files)
    @rule(steps=st.integers(0, 120))
    def be_killed(self, steps: int) -> None:
        self.survived(self.flow.file, self.dsn, self.folder, steps)

    @precondition(lambda self: self.files)
    @rule()
    def load_twice_at_once(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            for report in pool.map(lambda _: run(self.flow, self.dsn, self.folder), range(2)):
                assert not report.failed

    @precondition(lambda self: len(self.files) > 1 and self.text is not KEEP)
    @rule(data=st.data())
    def forget_one(self, data: st.DataObject) -> None:
        """A file that is deleted; it may never have been loaded."""
        name = data.draw(st.sampled_from(sorted(self.files)))
        run(self.flow, self.dsn, self.folder, units=[name])
        (self.folder / name).unlink()
        del self.files[name]
        with psycopg.connect(self.dsn) as connection:
            forget(connection, self.flow, [name])

    @precondition(lambda self: self.files)
    @rule()
    def catch_up(self) -> None:
        """One run ends in the rows of a sequential pass, and leaves nothing to do."""
        assert not run(self.flow, self.dsn, self.folder).failed
        found = {code: (int(close), volume) for code, _, close, volume in rows(self.dsn)}
        assert found == self.sequential()
        with psycopg.connect(self.dsn) as connection:
            finding = checks.every_row_accounted(connection, self.flow)
            assert finding.passed, finding
            assert running.outdated(connection, self.flow, self.folder) == []

    def sequential(self) -> Rows:
        """What is there after all files in the declared order, each row over the one before."""
        by_name = sorted(self.files, key=lambda name: re.sub(r"\d+", lambda digits: digits[0].zfill(20), name))
        in_order = [(code, row, self.files[name][0]) for name in by_name for code, row in self.files[name][1].items()]
        if self.text is BY_TIME:
            in_order.sort(key=lambda entry: entry[2])
        if self.text is BY_VOLUME:
            in_order.sort(key=lambda entry: entry[1][1])
        return {code: row for code, row, _ in in_order}

    def teardown(self) -> None:
        if self.files:
            self.catch_up()
        self.home.cleanup()


@pytest.mark.parametrize(
    ("examples", "steps"), [pytest.param(3, 10, id="quick"), pytest.param(300, 25, id="long", marks=pytest.mark.slow)]
)
def test_any_order_ends_in_the_rows_of_a_sequential_pass(dsn: str, survived: Load, examples: int, steps: int) -> None:
    found_first = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]  # a step takes 20 ms
    profile = settings(
        settings.get_profile("project"), max_examples=examples, stateful_step_count=steps, phases=found_first
    )
    run_state_machine_as_test(lambda: Deliveries(dsn, survived), settings=profile)
