"""The Dagster UI behind a guard: requests of other sites and of other users of the machine are rejected."""
