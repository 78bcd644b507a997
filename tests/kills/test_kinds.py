"""The campaign tells what the processes of a load are."""

import os

import psutil

from marketdata_assets.fanout.pool import Pool
from tests.kills.stack import kind_of


def pid(_: int) -> int:
    return os.getpid()


def test_workers_of_a_pool_and_the_server_that_forks_them() -> None:
    pool = Pool(1, ())
    try:
        ((_, (worker, error)),) = pool.wait([pool.submit(pid, 0)])
        assert error is None
        assert worker is not None
        process = psutil.Process(worker)
        parent = process.parent()
        assert parent is not None
        assert (kind_of(process), kind_of(parent)) == ("pool worker", "fork server")
        assert kind_of(psutil.Process()) is None
    finally:
        pool.close()
