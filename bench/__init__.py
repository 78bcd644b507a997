"""Benchmarks: our figures against a floor and a peer, taken in one interleaved run. `make bench` runs them all."""
