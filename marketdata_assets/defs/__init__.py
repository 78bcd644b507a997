"""The Dagster layer: a folder per domain, thin definitions over the library."""
