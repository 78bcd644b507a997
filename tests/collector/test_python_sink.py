"""A user's function or class that receives records: what it is given, and that nothing it does harms the collector."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from marketdata_assets.collector import config
from marketdata_assets.collector.assembly import check
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.items import items
from marketdata_assets.collector.servers import Servers
from marketdata_assets.collector.sinks.python import PythonSink
from marketdata_assets.config_files import InvalidConfigFile
from marketdata_assets.exchanges.records import Gap, Trade
from marketdata_demo.venues.binance_venue import BinanceVenue
from tests.collector.collector_records import delta, gap, snapshot, ticker, trade, trades
from tests.collector.in_loop import in_loop, until
from tests.collector.service_runs import market, running, text_of

PAGE = Path(__file__).parents[2] / "docs" / "collector.md"

MODULE = """
import asyncio, threading, time

taken, threads, closed = [], set(), []
hang = threading.Event()

def function(records, factor=1):
    threads.add(threading.current_thread().name)
    taken.extend(records * factor)

async def coroutine(records):
    await asyncio.sleep(0)
    taken.extend(records)

class Class:
    def __init__(self, limit=None):
        self.limit = limit
        self.task = None

    async def write(self, records):
        self.task = self.task or asyncio.create_task(asyncio.sleep(3600))
        for record in records:
            if record.trade_id == self.limit:
                raise ValueError(f"trade {self.limit} is not mine")
            taken.append(record)

    def close(self):
        closed.append(self.task.done())

class Refused:
    made = 0

    def __init__(self):
        type(self).made += 1
        if self.made < 2:
            raise OSError("not yet")

    def write(self, records):
        taken.extend(records)

class Leaves:
    def write(self, records):
        raise SystemExit("I leave")

def hangs(records):
    hang.wait(60)

class NoWrite:
    pass

number = 7
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The user's module, in the folder in which the collector is started."""
    (tmp_path / "user_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    import importlib

    sys.path.append(str(tmp_path))
    module = importlib.import_module("user_module")
    yield module
    module.hang.set()
    del sys.modules["user_module"]


def made(name: str, **options: Any) -> PythonSink:
    settings = config.PythonSink(python=f"user_module:{name}", **{"types": ["trade"]} | options)
    return PythonSink(f"python {name}", settings, lambda *_: None)


@asynccontextmanager
async def delivering(sink: PythonSink) -> AsyncIterator[PythonSink]:
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        sink.close()


@in_loop
async def test_a_function_receives_batches_of_the_types_it_wants(user: Any) -> None:
    async with delivering(made("function", types=["trade", "gap"], batch_items=2, options={"factor": 2})) as sink:
        sink.put(items([trade(1), delta(2), ticker(2), gap(2), trade(3), snapshot(4)]))
        assert await sink.drain(10) == 0
    assert [type(one) for one in user.taken] == [Trade, Gap, Trade, Gap, Trade, Trade]
    assert user.taken[0] == trade(1)
    assert user.threads == {"python function"}, "not the thread of the event loop"
    assert (sink.state().sent, sink.state().acked, sink.latency.count) == (3, 3, 3)


@in_loop
async def test_a_coroutine_may_keep_tasks_between_calls(user: Any) -> None:
    async with delivering(made("coroutine")) as sink:
        sink.put(items(trades(5)))
        assert await sink.drain(10) == 0
    async with delivering(made("Class")) as other:
        other.put(items(trades(5, first=6)))
        assert await other.drain(10) == 0
    assert user.taken == trades(10)
    assert user.closed == [False]


@in_loop
async def test_what_it_raises_is_counted_and_the_next_batch_is_delivered(user: Any) -> None:
    async with delivering(made("Class", options={"limit": "3"}, batch_items=1)) as sink:
        sink.put(items(trades(3)))
        await until(lambda: sink.state().errors == 1)
        state = sink.state()
        assert (state.connected, state.last_error) == (False, "ValueError: trade 3 is not mine")
        sink.put(items(trades(2, first=4)))
        assert await sink.drain(10) == 0
    assert [one.trade_id for one in user.taken] == ["1", "2", "4", "5"]
    state = sink.state()
    assert (state.connected, state.last_error, state.sent, state.acked, state.errors) == (True, None, 5, 4, 1)


@in_loop
async def test_a_class_that_cannot_be_created_is_retried(user: Any) -> None:
    async with delivering(made("Refused")) as sink:
        sink.put(items(trades(5)))
        assert await sink.drain(20) == 0
    assert user.taken == trades(5)
    assert sink.state().errors == 1


@in_loop
async def test_an_exit_of_the_function_is_an_error_like_any_other(user: Any) -> None:
    async with delivering(made("Leaves", batch_items=1)) as sink:
        sink.put(items(trades(3)))
        assert await sink.drain(10) == 0
    assert (sink.state().errors, sink.state().last_error) == (3, "RuntimeError: SystemExit: I leave")


@in_loop
async def test_a_function_that_hangs_delays_nothing_and_its_queue_is_bounded(user: Any) -> None:
    async with delivering(made("hangs", types=["trade", "gap"], queue_items=100)) as sink:
        sink.put(items([trade(1)]))
        await until(lambda: sink.state().sent == 1)
        sink.put(items(trades(1000, first=2)))
        assert sink.state().queued == 101
        assert sink.state().dropped == 900
        assert await sink.drain(0.2) == 101
        user.hang.set()
        assert await sink.drain(10) == 0
        sink.put(items([trade(2000)]))
        await until(lambda: sink.state().sent == 103)


def configured(venue: BinanceVenue, sinks: list[dict[str, Any]], **sections: Any) -> str:
    return text_of({"spot": market(venue, ["ABCUSDT"], ["trade", "orderbook"])}, sinks=sinks, **sections)


@in_loop
async def test_health_and_metrics_report_a_sink_that_fails_while_the_others_go_on(user: Any, tmp_path: Path) -> None:
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        both = [{"python": "user_module:Leaves"}, {"python": "user_module:function"}]
        async with running(configured(venue, both), tmp_path) as run:
            await run.subscribed()
            await run.emit(venue, 20)
            total = len(venue.source().trades["ABCUSDT"])
            await run.until(lambda: sum(isinstance(one, Trade) for one in user.taken) == total)
            while not (
                reasons := (health := await run.get("/health"))["checks"]["python user_module:Leaves"]["reasons"]
            ):
                await asyncio.sleep(0.02)
            (reason,) = reasons
            assert "calls failed (RuntimeError: SystemExit: I leave)" in reason
            assert health["status"] == "degraded"
            metrics = (await run.client.get("/metrics")).text
            assert 'collector_sink_errors_total{sink="python user_module:function"} 0.0' in metrics
            assert 'collector_sink_errors_total{sink="python user_module:Leaves"} 0.0' not in metrics
    assert run.report
    assert run.report.sinks["capture"].remaining == 0


@in_loop
async def test_the_example_of_the_page_writes_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = PAGE.read_text().split("```python\n# my_sinks.py\n")[1].split("```")[0]
    (tmp_path / "my_sinks.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sink = {"python": "my_sinks:TradesToCsv", "types": ["trade", "gap"], "options": {"file": "trades.csv"}}
    with BinanceVenue("spot", ["ABCUSDT"]) as venue:
        async with running(configured(venue, [sink]), tmp_path) as run:
            await run.subscribed()
            await run.emit(venue, 50)
            total = len(venue.source().trades["ABCUSDT"])
            counters = run.collector.status().markets[0].counters
            await run.until(lambda: counters.records["trade"] == total)
            records, gaps = counters.records["trade"], counters.gaps.total()
    del sys.modules["my_sinks"]
    lines = (tmp_path / "trades.csv").read_text().splitlines()
    assert sum("ABCUSDT" in line or "ABC-USDT" in line for line in lines) == len(lines) >= records
    assert len(lines) <= records + 2 * gaps


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("no_such_module:x", "cannot be imported .ModuleNotFoundError.*Install the module"),
        ("user_module:nothing", "the module has no 'nothing'"),
        ("user_module:number", "it cannot be called"),
        ("user_module:NoWrite", r"a class needs the method write\(records\)"),
    ],
)
def test_what_cannot_be_called_is_an_error_before_anything_is_opened(user: Any, path: str, cause: str) -> None:
    markets = {"spot": {"symbols": ["A"], "data_types": ["trade"]}}
    with pytest.raises(CollectorError, match=cause):
        check(config.parse(text_of(markets, sinks=[{"python": path}]), "f"), Servers())


def test_the_section_is_checked() -> None:
    markets = {"spot": {"symbols": ["A"], "data_types": ["trade"]}}
    wrong = [{"python": "no colon"}, {"python": "a:b", "types": ["trades"]}]
    with pytest.raises(InvalidConfigFile) as caught:
        config.parse(text_of(markets, sinks=wrong), "f")
    assert "sinks.0.python" in str(caught.value)
    assert "sinks.1.types.0" in str(caught.value)
    twice = config.parse(text_of(markets, sinks=[{"python": "a:b"}] * 2), "f")
    assert json.loads(twice.model_dump_json())["sinks"][0]["types"] == [*config.get_args(config.RecordType)]
