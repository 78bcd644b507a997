"""Market data from raw sources to query-ready tables: a library below, Dagster definitions above."""
