"""Everything private that the project imports of Dagster is still where it was; the message names what has moved."""

import ast
import importlib
from pathlib import Path

import dagster as dg
import pytest

FILE = Path(__file__).parents[1] / "marketdata_assets" / "dagster_internals.py"
PRIVATE = ("dagster._", "dagster.components.core", "dagster_webserver.")


def imported() -> list[tuple[str, str]]:
    nodes = [node for node in ast.walk(ast.parse(FILE.read_text())) if isinstance(node, ast.ImportFrom)]
    return [
        (node.module or "", one.name) for node in nodes for one in node.names if str(node.module).startswith(PRIVATE)
    ]


@pytest.mark.parametrize(("module", "name"), imported())
def test_private_name_is_where_the_project_imports_it_from(module: str, name: str) -> None:
    try:
        found = hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        found = False
    assert found, f"Dagster {dg.__version__} has no {name} in {module} any more; {FILE.name} says what it is used for"


def test_something_is_looked_at() -> None:
    assert len(imported()) >= 10
