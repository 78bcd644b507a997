"""OKX, version 5 of its API: spot, swaps, futures and options, all over one connection."""
