"""Minute bars and factors of many symbols from Tushare, Yahoo and files. No Dagster in here."""
