"""The load kernel: what every domain that loads files or units into a store has in common.

It knows no domain, no table and no Dagster. Reading CSV and loading units into Postgres is here as well.
"""
