"""Simulated providers on loopback, which count requests and fail when they are told to: BRAIN, Tushare and Yahoo."""
