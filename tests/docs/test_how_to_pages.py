"""Run every command and query of the manual as printed, on small samples; `make walk` does so on a fresh clone.

Commands that need an account at a provider are left to the walk, which has test servers for them.
"""

import datetime as dt
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketdata_assets.local import endpoints
from marketdata_assets.settings import Settings
from marketdata_demo import sample_alphas, sample_bars, sample_flows, sample_ticks
from marketdata_demo.venues.captures import write as write_captures
from marketdata_demo.venues.market import Plan
from tests.cli.commands import environment, marketdata, stack_on
from tests.docs.blocks_of_pages import PROJECT, SQL, blocks, with_tasks
from tests.docs.walking import Stumbled, Variables, Walker


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """A folder like the project's, with samples of each domain in its data folder, and all servers."""
    folder = Path(tempfile.mkdtemp(prefix="md-"))
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("config", "marketdata_assets", "pyproject.toml"):
        (folder / name).symlink_to(PROJECT / name)
    with stack_on(folder / ".marketdata"):
        write_samples(folder / ".marketdata")
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def write_samples(folder: Path) -> None:
    today = dt.datetime.now(dt.UTC).date()
    sample_bars.write_year(folder / "bars", 2024, sample_bars.STOCKS[:2], until=dt.date(2024, 1, 5))
    sample_alphas.write_archive(folder / "alphas", "sample1", sample_ticks.last_months(today, 1), 10, 2)
    sample_ticks.write(folder / "ticks", folder / "ticks_symbols.csv", today, stocks=sample_ticks.STOCKS[:2], months=1)
    yesterday = dt.datetime.combine(today - dt.timedelta(days=1), dt.time(), dt.UTC)
    write_captures(folder / "captures", Plan(yesterday, minutes=4))
    sample_flows.write(folder / "flows_data" / "stock_daily", 2, today - dt.timedelta(days=1), days=10)


@pytest.fixture(scope="module")
def walker(project: Path) -> Walker:
    home = project / ".marketdata"
    own = {
        "MARKETDATA_HOME": home,
        "MARKETDATA_WORKERS": 1,
        "MARKETDATA_TICKS_MONTHS": 2,
        "MARKETDATA_TICKS_SYMBOLS": home / "ticks_symbols.csv",
        "PATH": f"{project / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }

    def shell(line: str, variables: Variables) -> tuple[int, str]:
        words = shlex.split(line)
        if words[0] == "marketdata":
            names = [str(path.relative_to(project)) for word in words if "*" in word for path in project.glob(word)]
            arguments = [word for word in words[1:] if "*" not in word] + names
            result = marketdata(project, *arguments, **(own | variables))
        else:
            env = environment(project, **(own | variables))
            result = subprocess.run(line, shell=True, cwd=project, env=env, capture_output=True, text=True)
        return result.returncode, result.stdout + result.stderr

    code, printed = shell("marketdata flows run stock_daily", {})
    assert code == 0, printed
    servers = endpoints.resolve(Settings(home=home, postgres_dsn=None, clickhouse_url=None))
    assert servers.postgres_dsn
    assert servers.clickhouse_url
    return Walker(shell, servers.postgres_dsn, servers.clickhouse_url, account=None)


@pytest.mark.parametrize("which", ["first", pytest.param("others", marks=pytest.mark.slow)])
def test_pages_work_as_printed_in_order(walker: Walker, which: str) -> None:
    pages = [page for page in with_tasks() if blocks(page, "bash", "python", *SQL)]
    assert len(pages) >= 8
    for page in pages:
        if (page.name == "first-hour.md") == (which == "first"):
            assert len(list(walker.page(page))) >= len(blocks(page, "bash", *SQL))


def test_queries_of_all_pages_are_understood_by_empty_tables(walker: Walker) -> None:
    for command in ("create-tables", "kline rebuild"):
        code, printed = walker.shell(f"marketdata {command}", {})
        assert code == 0, printed
    for page in with_tasks():
        for block in blocks(page, *SQL):
            walker.query(block)


def test_a_failing_step_is_reported_with_its_place(tmp_path: Path, walker: Walker) -> None:
    wrong = tmp_path / "wrong.md"
    wrong.write_text("```bash\nmarketdata alphas accounts\nmarketdata ingest bars --months 2024-13\n```\n")
    steps = walker.page(wrong)
    assert next(steps).endswith("wrong.md:1: marketdata alphas accounts")
    with pytest.raises(Stumbled, match=r"wrong.md:1: marketdata ingest bars --months 2024-13\nended with"):
        next(steps)
