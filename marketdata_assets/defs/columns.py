"""The columns of a table, as the UI shows them."""

from typing import Any

import dagster as dg

Column = tuple[str, str, str]
"""Name, type and what it means."""


def schema(*columns: Column, table: str = "") -> dict[str, Any]:
    """The metadata that names the columns, and the table when it has a name."""
    listed = [dg.TableColumn(name, kind, description) for name, kind, description in columns]
    found: dict[str, Any] = {"dagster/column_schema": dg.TableSchema(listed)}
    return found | {"dagster/table_name": table} if table else found
