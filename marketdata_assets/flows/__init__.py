"""Pipelines that users define: files of CSV, handlers in order, one Postgres table."""
