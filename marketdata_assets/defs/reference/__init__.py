"""Reference data of A-shares as assets, upstream of bars, ticks and flows."""
