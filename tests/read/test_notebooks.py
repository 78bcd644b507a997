"""The notebooks of examples/: each runs from top to bottom on a small demo, and is in git without its answers."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from tests.databases import fresh_clickhouse, fresh_postgres
from tests.read.small_demo import Servers, fill, fill_postgres

FOLDER = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
DOMAINS = {"alphas", "bars", "exchanges", "flows", "ticks"}
NAMES = DOMAINS | {"blend", "factor"}


@pytest.fixture(scope="module")
def answered(
    server_dsn: str, clickhouse_server: str, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, list[Any]]]:
    """The answers of each notebook from a little of everything."""
    with fresh_postgres(server_dsn) as dsn, fresh_clickhouse(clickhouse_server) as url:
        servers = Servers(dsn, mongo_uri, url)
        fill(servers, tmp_path_factory.mktemp("small"))
        yield answers(NOTEBOOKS, servers.environment())


def answers(notebooks: Sequence[Path], servers: Mapping[str, str]) -> dict[str, list[Any]]:
    """The cells of code of each notebook with their answers, all from one process, which spares us imports."""
    joined = nbformat.v4.new_notebook()
    for path in notebooks:
        joined.cells.append(nbformat.v4.new_code_cell("%reset -f", metadata={"notebook": path.stem}))
        for cell in nbformat.read(path, as_version=4).cells:
            joined.cells.append(cell)
            cell.metadata["notebook"] = path.stem
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARKETDATA_")}
    over_files = Config({"KernelManager": {"transport": "ipc"}})  # no port of the machine
    client = NotebookClient(
        joined, config=over_files, timeout=120, startup_timeout=120, allow_errors=True, kernel_name="python3"
    )
    client.execute(env={**inherited, **servers, "MPLBACKEND": "module://matplotlib_inline.backend_inline"})
    cells = [cell for cell in joined.cells if cell.cell_type == "code"]
    return {path.stem: [cell for cell in cells if cell.metadata["notebook"] == path.stem] for path in notebooks}


def assert_shows_tables_with_rows(cells: list[Any]) -> None:
    shown = [output for cell in cells for output in cell.outputs]
    assert [one for one in shown if one.output_type == "error" or one.get("name") == "stderr"] == []
    tables = [one["data"]["text/plain"] for one in shown if "text/plain" in one.get("data", {})]
    assert len(tables) >= 2
    assert [one for one in shown if "image/png" in one.get("data", {})] != []
    assert [table for table in tables if table.startswith("shape: (0,")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_notebook_runs_and_shows_tables_with_rows(name: str, answered: dict[str, list[Any]]) -> None:
    assert_shows_tables_with_rows(answered[name])


def test_the_notebook_of_bars_runs_with_one_database(dsn: str, tmp_path: Path) -> None:
    fill_postgres(dsn, tmp_path)
    [cells] = answers([FOLDER / "bars.ipynb"], {"MARKETDATA_POSTGRES_DSN": dsn}).values()
    assert_shows_tables_with_rows(cells)


def test_there_is_a_notebook_for_each_domain_without_answers() -> None:
    assert {path.stem for path in NOTEBOOKS} == NAMES
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        for cell in notebook.cells:
            assert cell.metadata == {}, path.name
            if cell.cell_type == "code":
                assert (cell.outputs, cell.execution_count) == ([], None), f"{path.name}: clear its outputs"
