"""The client of ClickHouse as a type: its package takes half a second to import, and a signature needs none of it."""

from typing import TYPE_CHECKING, Any

__all__ = ["Client"]

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
else:
    Client = Any
