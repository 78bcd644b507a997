"""Workers on a Ray cluster: the same laws, the same rows, and the deaths of worker, machine and parent."""

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from marketdata_assets.alphas.ingest import ingest as import_alphas
from marketdata_assets.bars.ingest import ingest as load_bars
from marketdata_assets.errors import TerminalError
from marketdata_assets.fanout import Fanout
from marketdata_assets.flows.run import run_flow
from marketdata_assets.local.process import free_port
from marketdata_assets.resources import Workers
from marketdata_assets.stores import mongo
from tests.alphas import packaged
from tests.bars import bar_files
from tests.fanout.cluster_of_ray import ray_start
from tests.fanout.fanout_laws import LAWS, LAWS_OF_WORKERS, Law, square
from tests.fanout.test_fanout import PARENT, name, wait_until
from tests.flows import flow_files

pytestmark = pytest.mark.slow
WITH_RAY = 120.0
"""Seconds that are never needed on a machine that is not busy with something else."""


@pytest.fixture(scope="session")
def fanout(ray_address: str) -> Fanout:
    return Fanout(ray=ray_address)


@pytest.mark.parametrize("law", (*LAWS, *LAWS_OF_WORKERS), ids=name)
def test_ray(law: Law, fanout: Fanout, tmp_path: Path) -> None:
    law(fanout, tmp_path)


def test_there_are_as_many_workers_as_cpus_or_as_asked_and_items_begin_in_order(
    fanout: Fanout, ray_address: str
) -> None:
    assert (fanout.width, Fanout(5, ray=ray_address).width) == (2, 5)
    assert [done.item for done in Fanout(1, ray=ray_address).map(square, range(20))] == list(range(20))


def test_a_folder_that_a_machine_does_not_see_is_named_with_the_machine(fanout: Fanout, tmp_path: Path) -> None:
    missing = tmp_path / "not mounted"
    (done,) = fanout.map(square, [2], missing)
    assert isinstance(done.error, TerminalError)
    assert str(done.error).startswith(
        f"{missing} does not exist on {socket.gethostname()}, a machine of the Ray cluster"
    )
    assert [done.answer for done in fanout.map(square, [2], tmp_path)] == [4]


def machine(_: int) -> int:
    """The process that made this worker: each machine of a cluster has one."""
    return os.getppid()


def work_on_two_machines(first: int, marks: str, number: int) -> int:
    """An item that needs two machines, and ends on the first only."""
    Path(marks, str(os.getppid())).touch()
    while os.getppid() != first or len(list(Path(marks).iterdir())) < 2:
        time.sleep(0.05)
    return number


def test_a_machine_that_dies_costs_its_items_a_second_try(
    fanout: Fanout, ray_address: str, ray_folder: Path, tmp_path: Path
) -> None:
    (here,) = {done.answer for done in fanout.map(machine, range(2))}

    def kill_the_second() -> None:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, WITH_RAY)
        (second,) = {int(mark.name) for mark in tmp_path.iterdir()} - {here}
        psutil.Process(second).kill()

    with ray_start(ray_folder / "node.log", f"--address={ray_address}", "--num-cpus=2"):
        wait_until(lambda: fanout.width == 4, WITH_RAY)
        killer = threading.Thread(target=kill_the_second)
        killer.start()
        done = list(fanout.map(partial(work_on_two_machines, here, str(tmp_path)), range(8)))
        killer.join()
    assert sorted((one.item, one.answer) for one in done) == [(number, number) for number in range(8)]
    wait_until(lambda: fanout.width == 2, WITH_RAY)


def test_workers_of_a_cluster_end_when_the_parent_is_killed(ray_address: str, tmp_path: Path) -> None:
    with parent(tmp_path, ray_address) as (process, marks):
        wait_until(lambda: len(list(marks.iterdir())) == 2, WITH_RAY)
        workers = [psutil.Process(int(mark.name)) for mark in marks.iterdir()]
        process.kill()
    wait_until(lambda: not any(worker.is_running() for worker in workers), WITH_RAY)


@contextmanager
def parent(folder: Path, address: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process with two workers that never end, each of which leaves its number in a folder."""
    script, marks = folder / "parent.py", folder / "marks"
    script.write_text(PARENT.replace("Fanout(2)", f"Fanout(2, ray={address!r})"))
    marks.mkdir()
    with subprocess.Popen([sys.executable, script, marks]) as process:
        try:
            yield process, marks
        finally:
            process.kill()


OWN = """
import json, signal
import psutil
handler = lambda *_: None
signal.signal(signal.SIGTERM, handler)
from marketdata_assets.fanout import Fanout
answers = sorted(done.answer for done in Fanout(2, ray="local").map(abs, range(-5, 0)))
kept = signal.getsignal(signal.SIGTERM) is handler
family = [one.pid for one in psutil.Process().children(recursive=True)]
import ray
folder = ray._private.worker._global_node.get_temp_dir_path()
print(json.dumps({"answers": answers, "kept": kept, "folder": folder, "family": family}))
"""


def test_a_cluster_of_its_own_leaves_nothing_and_says_nothing() -> None:
    child = subprocess.run([sys.executable, "-c", OWN], stdout=subprocess.PIPE, text=True, check=True)
    (line,) = child.stdout.splitlines()
    said = json.loads(line)
    assert said["answers"] == [1, 2, 3, 4, 5]
    assert said["kept"], "Ray took the handler of SIGTERM"
    assert not Path(said["folder"]).exists()
    assert len(said["family"]) > 2
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in said["family"]), WITH_RAY)


NOBODY = """
import sys
from marketdata_assets.fanout import Fanout
for address in sys.argv[1:]:
    try:
        list(Fanout(ray=address).map(abs, [1, 2]))
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_an_address_where_nobody_is_is_named_at_once() -> None:
    addresses = [f"127.0.0.1:{free_port()}", f"ray://127.0.0.1:{free_port()}", "no-such-host.invalid:6379", "here:port"]
    child = subprocess.run([sys.executable, "-c", NOBODY, *addresses], capture_output=True, text=True, check=True)
    lines = child.stdout.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"TransientError no Ray cluster at {one}" for one in addresses
    ]
    assert all("MARKETDATA_RAY_ADDRESS" in line and "ray start --head" in line for line in lines)


def test_a_flow_has_the_same_rows_by_ray_and_a_file_that_kills_its_worker_fails_alone(
    fanout: Fanout, dsn: str, tmp_path: Path
) -> None:
    prices = flow_files.flow(tmp_path, flow_files.PRICES + "handlers: [{call: {function: .mine.handle}}]\n")
    (tmp_path / "mine.py").write_text(HANDLER)
    for code in "abcdef":
        flow_files.deliver(tmp_path, f"{code}.csv", flow_files.lines(code, range(1, 300)))
    found = []
    for where in (Fanout(2), fanout):
        report = run_flow(prices, dsn, tmp_path, run_id="test", fanout=where)
        assert [unit.error for unit in report.failed if unit.error and "worker process was killed" in unit.error]
        assert [unit.unit for unit in report.failed] == ["c.csv"]
        found.append((flow_files.rows(dsn), flow_files.metadata(dsn)["c.csv"]["status"]))
        with psycopg.connect(dsn) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert found[0] == found[1]
    assert (len(found[0][0]), found[0][1]) == (5 * 299, "failed")


HANDLER = """
import os, signal
import polars as pl

def handle(frame):
    if "c" in frame["code"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return frame.with_columns(close=pl.col("close") + 1)
"""


def test_minute_bars_by_the_fanout_that_runs_get(
    ray_address: str, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for month in range(1, 5):
        rows = [bar_files.line(label) for label in bar_files.minutes(f"2000-0{month}-09 09:30:00", 60)]
        bar_files.deliver(tmp_path / f"{month}.zip", {f"a_{month}.csv": bar_files.csv_text(rows)})
    monkeypatch.setenv("MARKETDATA_RAY_ADDRESS", ray_address)
    fanout = Workers().fanout("marketdata_assets.bars.ingest")
    assert fanout == Fanout(preload=("marketdata_assets.bars.ingest",), ray=ray_address)
    report = load_bars(dsn, tmp_path, bar_files.months(2000), run_id="test", fanout=fanout)
    assert (report.rows, report.failed) == (240, ())
    bar_files.assert_exact(dsn, tmp_path)


def test_alphas_by_ray(fanout: Fanout, mongo_uri: str, tmp_path: Path) -> None:
    account = packaged.new_account()
    alphas = [packaged.alpha(f"alpha{number}") for number in range(6)]
    for number, alpha in enumerate(alphas):
        packaged.deliver(tmp_path, account, alpha, day=packaged.DAY - dt.timedelta(days=number))
    report = import_alphas(mongo_uri, tmp_path, account, "regular", [packaged.MONTH], run_id="test", fanout=fanout)
    assert (report.total("inserted"), report.failed) == (6, ())
    with mongo.connect(mongo_uri) as client:
        assert packaged.stored(client, account) == {alpha["id"]: packaged.expected(alpha) for alpha in alphas}
