"""Binance: spot, USD-M futures (linear), COIN-M futures (inverse), and what fits the records of its options."""
