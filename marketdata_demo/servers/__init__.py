"""Simulated providers on loopback, which count requests and inject faults on demand: BRAIN, Tushare and Yahoo."""
