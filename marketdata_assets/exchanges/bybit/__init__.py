"""Bybit, version 5 of its API: spot, linear (USDT and USDC) and inverse contracts, each market over its own sockets."""
