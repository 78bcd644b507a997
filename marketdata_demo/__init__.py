"""Generated sample data: files for every domain and the exchanges' messages, all from a seed; no real market data.

`marketdata demo`, the tests and the benchmarks use this package. The library never imports it.
"""
