"""Alphas: the merge engine, the import against a bare bulk write and a plain script, a repeat, the fetch's rate."""

import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import bson
import numpy as np
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, UpdateOne
from pymongo.collection import Collection

from bench import alphas_fetch
from bench.figure import Figure, spread
from bench.size import sized
from marketdata_assets.alphas import documents, ingest, layout
from marketdata_assets.alphas.correlation import daily_returns, strongest
from marketdata_assets.alphas.files import lines_of, write
from marketdata_assets.alphas.import_modes import ImportOptions, Span
from marketdata_assets.alphas.importer import Package, Prepared, digest, prepare
from marketdata_assets.alphas.merge import merge
from marketdata_assets.alphas.raw_files import instant
from marketdata_assets.fanout import Fanout
from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings
from marketdata_assets.stores import mongo
from marketdata_demo import sample_alphas

MONTH = "2024-01"
DOCUMENTS = sized(20_000, 200)
MERGES = sized(4_000, 40)
CORRELATED, TRADING_DAYS = sized(5_000, 50), 2_520
ROUNDS = sized(3, 1)
BATCH = 500
WORKERS = 2


@dataclass(frozen=True)
class Cost:
    """One run: wall seconds, and CPU seconds of this process alone; the server is a child of it."""

    wall_s: float
    cpu_s: float


def figures() -> Iterator[Figure]:
    """All figures of the domain."""
    yield merge_figure()
    yield correlation_figure()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder) / "alphas"
        lines = _write_packages(root)
        yield unchanged_figure(root)
        settings = Settings(home=Path(folder) / "stack", mongo_uri=None)
        with LocalStack(settings, services=("mongo",)) as stack:
            assert stack.endpoints.mongo_uri
            yield from import_figures(stack.endpoints.mongo_uri, root, lines)
    yield from alphas_fetch.figures()


def merge_figure() -> Figure:
    """Newer versions into stored documents: merged document and changed paths, dicts in and dicts out."""
    random = Random(1)
    alphas = sample_alphas.alphas("lk", "regular", MONTH, MERGES)
    pairs = [(_document(alpha), _document(sample_alphas.modified(alpha, random))) for alpha in alphas]
    rates = []
    for _ in range(7):
        started = time.process_time()
        changed = sum(bool(merge(old, new).changes) for old, new in pairs)
        rates.append(changed / (time.process_time() - started))
        assert changed == MERGES
    size = median(len(bson.encode(old)) for old, _ in pairs)
    detail = f"{MERGES} documents of {size:.0f} bytes BSON, dicts to merged dict and changed paths; {spread(rates, 0)}"
    return Figure("alphas.merge_changed_per_cpu_s", median(rates), "documents/CPU s", (">=", 25_000), detail)


def correlation_figure() -> Figure:
    """Self-correlation of all alphas with all others over ten years, from PnL as the database has it."""
    random = np.random.default_rng(1)
    days = [f"{day}" for day in np.arange(TRADING_DAYS) + np.datetime64("2014-01-01")]
    common = random.normal(size=TRADING_DAYS)

    def series() -> Iterator[tuple[str, list[str], list[float | None]]]:
        for number in range(CORRELATED):
            pnl: list[float | None] = np.cumsum(common + random.normal(size=TRADING_DAYS)).tolist()
            if number % 10 == 0:  # it began later, and has holidays of its own
                pnl[: number % 1000] = [None] * (number % 1000)
                pnl[TRADING_DAYS // 2] = None
            yield f"A{number}", days, pnl

    started, cpu = time.monotonic(), time.process_time()
    returns = daily_returns(series(), years=10)
    read = time.monotonic() - started
    found = list(strongest(returns, returns))
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    for one in found[:: max(CORRELATED // 100, 1)]:
        row, other = (returns.values[returns.ids.index(name)] for name in (one.id, one.others[0]))
        both = ~np.isnan(row) & ~np.isnan(other)
        assert abs(one.correlations[0] - np.corrcoef(row[both], other[both])[0, 1]) < 1e-9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    detail = (
        f"{CORRELATED:,} alphas of {TRADING_DAYS:,} days, each with all, a tenth with gaps: {cpu:.1f} s CPU, of which"
        f" {read:.1f} s of wall time to generate and difference them; the process has had {peak:,.0f} MB at most; equal"
        " to numpy's corrcoef within 1e-9"
    )
    return Figure("alphas.correlation_s", seconds, "s", ("<=", 60), detail)


def unchanged_figure(root: Path) -> Figure:
    """Lines of packages that the ledger knows: read, hashed, found."""
    packages = ingest.find(root, "lk", "regular", [MONTH])
    known = {one.day: frozenset(digest(line) for path in one.paths for line in lines_of(path)) for one in packages}
    rates = []
    for _ in range(7):
        started = time.process_time()
        found = sum(_standing(package, known[package.day]) for package in packages)
        rates.append(found / (time.process_time() - started))
        assert found == DOCUMENTS
    detail = (
        f"{DOCUMENTS:,} lines of 4 KB read from packages, hashed and found among those that stand; {spread(rates, 0)}"
    )
    return Figure("alphas.merge_unchanged_per_cpu_s", median(rates), "documents/CPU s", (">=", 250_000), detail)


def _standing(package: Package, digests: frozenset[bytes]) -> int:
    prepared = Prepared()
    prepare(prepared, package, digests, ImportOptions(), Span(None, None))
    return len(prepared.loaded)


def import_figures(uri: str, root: Path, lines: list[bytes]) -> Iterator[Figure]:
    """A month of new documents against the bare writes and a plain script, in turn; then the same month again."""
    floor, ours, peer, single, again = [], [], [], [], []
    for number in range(ROUNDS):
        floor.append(_bare(uri, lines, f"floor{number}"))
        ours.append(_cost(lambda: _import(uri, root, WORKERS, DOCUMENTS)))
        again.append(_cost(lambda: _import(uri, root, WORKERS, 0)))
        peer.append(_script(uri, root, f"peer{number}"))
        _drop(uri)
        single.append(_cost(lambda: _import(uri, root, 1, DOCUMENTS)))
        _drop(uri)
    speeds = [one.wall_s / other.wall_s for one, other in zip(floor, ours, strict=True)]
    base = f"{DOCUMENTS:,} new documents of 4 KB, {ROUNDS} interleaved rounds"
    speed = DOCUMENTS / median(cost.wall_s for cost in ours)
    yield Figure(
        "alphas.import_vs_bulk_write",
        median(speeds),
        "x speed of bare bulk_write",
        (">=", 0.8),
        f"{base}; ours with {WORKERS} processes {speed:,.0f} documents/s, the floor in one; {spread(speeds)}",
    )
    client = [cost.cpu_s / DOCUMENTS * 1e6 for cost in single]
    yield Figure(
        "alphas.import_client_us_per_doc",
        median(client),
        "us CPU",
        ("<=", 80),
        f"{base}; one process, file to acknowledged; {spread(client, 0)}",
    )
    speedups = [first.wall_s / second.wall_s for first, second in zip(ours, again, strict=True)]
    yield Figure(
        "alphas.rerun_speedup",
        median(speedups),
        "x",
        (">=", 20),
        f"{base}; the unchanged month again took {median(cost.wall_s for cost in again):.3f} s; {spread(speedups, 0)}",
    )
    peers = [one.wall_s / other.wall_s for one, other in zip(floor, peer, strict=True)]
    yield Figure(
        "alphas.peer_script_vs_bulk_write",
        median(peers),
        "x speed of bare bulk_write",
        None,
        f"peer: json.loads, $set upserts of {BATCH}, no merge, ledger or dates; {base}; {spread(peers)}",
    )


def _write_packages(root: Path) -> list[bytes]:
    by_day: dict[Any, list[bytes]] = {}
    for alpha in sample_alphas.alphas("lk", "regular", MONTH, DOCUMENTS):
        moment = instant(alpha["dateCreated"])
        assert moment
        by_day.setdefault(moment.date(), []).append(json.dumps(alpha, separators=(",", ":")).encode())
    for day, lines in by_day.items():
        write(
            layout.packages_folder(root, "lk", "regular", f"{day:%Y-%m}") / f"{day}.ndjson",
            [line + b"\n" for line in lines],
        )
    return [line for lines in by_day.values() for line in lines]


def _bare(uri: str, lines: list[bytes], name: str) -> Cost:
    """The same writes with everything prepared beforehand."""
    operations = []
    for line in lines:
        alpha = documents.read(line, "regular")
        operations.append(InsertOne(RawBSONDocument(mongo.with_bookkeeping(alpha.bson, alpha.id, "_rev"))))
    with mongo.connect(uri) as client:
        ingest.prepare(client["floor"], name)
        cost = _cost(lambda: _write(client["floor"][name], operations))
        client["floor"].drop_collection(name)
    return cost


def _script(uri: str, root: Path, name: str) -> Cost:
    """What a plain script does: every document set whole by its id."""

    def run() -> None:
        for path in sorted(layout.packages_folder(root, "lk", "regular", MONTH).glob("*.ndjson")):
            batch = [json.loads(line) for line in path.read_bytes().splitlines()]
            operations = [UpdateOne({"id": one["id"]}, {"$set": one}, upsert=True) for one in batch]
            _write(client["peer"][name], operations)

    with mongo.connect(uri) as client:
        ingest.prepare(client["peer"], name)
        cost = _cost(run)
        client["peer"].drop_collection(name)
    return cost


def _write(collection: Collection[Any], operations: list[Any]) -> None:
    for start in range(0, len(operations), BATCH):
        collection.bulk_write(operations[start : start + BATCH], ordered=False)


def _import(uri: str, root: Path, workers: int, inserted: int) -> None:
    fanout = Fanout(workers, ("marketdata_assets.alphas.ingest",))
    report = ingest.ingest(uri, root, "lk", "regular", [MONTH], run_id="bench", fanout=fanout)
    assert not report.failed
    assert report.total("inserted") == inserted


def _drop(uri: str) -> None:
    with mongo.connect(uri) as client:
        client.drop_database("regular_alphas")


def _cost(run: Callable[[], Any]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def _document(alpha: dict[str, Any]) -> dict[str, Any]:
    encoded = documents.read(json.dumps(alpha).encode(), "regular").bson
    return bson.decode(encoded, mongo.CODEC)
