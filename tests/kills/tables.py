"""A hash of all rows of each table, without what differs between two loads of the same files."""

import hashlib
from collections.abc import Mapping

import psycopg
from bson import json_util
from psycopg import sql
from pymongo import MongoClient

from marketdata_assets.stores import clickhouse
from tests.kills.work import ACCOUNT

POSTGRES = ("stock_1min_qfq", "stock_monthly_kline", "stock_daily")
CLICKHOUSE = ("tick_data", "order_book", "factors")
COLLECTIONS = ("regular_alphas", "super_alphas")
OF_LOADS = ("etl_unit", "created_at", "updated_at")
"""Columns that differ between two loads of the same files: their numbers, and when a row was written."""


def hashes(urls: Mapping[str, str]) -> dict[str, str]:
    """By table: the number of its rows and a hash of them."""
    return {**_postgres(urls["postgres_dsn"]), **_clickhouse(urls["clickhouse_url"]), **_mongo(urls["mongo_uri"])}


def _postgres(dsn: str) -> dict[str, str]:
    found = {}
    with psycopg.connect(dsn) as connection:
        for table in POSTGRES:
            query = sql.SQL("SELECT (to_jsonb(t) - {}::text[])::text FROM {} t").format(
                list(OF_LOADS), sql.Identifier(table)
            )
            found[table] = _told([row[0] for row in connection.execute(query).fetchall()])
    return found


def _clickhouse(url: str) -> dict[str, str]:
    with clickhouse.connect(url) as client:
        return {
            table: _told([str(tuple(row)) for row in client.query(f"SELECT * FROM {table}").result_rows])
            for table in CLICKHOUSE
        }


def _mongo(uri: str) -> dict[str, str]:
    with MongoClient[dict[str, object]](uri) as client:
        return {
            name: _told([json_util.dumps(_data(one), sort_keys=True) for one in client[name][ACCOUNT].find()])
            for name in COLLECTIONS
        }


def _data(document: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in document.items() if not key.startswith("_")}


def _told(rows: list[str]) -> str:
    return f"{len(rows)} rows {hashlib.sha256(chr(10).join(sorted(rows)).encode()).hexdigest()[:16]}"
