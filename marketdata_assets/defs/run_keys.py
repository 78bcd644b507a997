"""Keys by which Dagster knows that it was asked for a run before."""

import hashlib


def key_of(state: str) -> str:
    """A short key for what was seen: an index of Postgres, which Dagster has over keys, takes no long values."""
    return hashlib.sha256(state.encode()).hexdigest()[:16]
