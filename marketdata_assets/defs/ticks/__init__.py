"""Ticks as assets: by month and symbol, from providers and files to ClickHouse."""
