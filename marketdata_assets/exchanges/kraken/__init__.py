"""Kraken: the spot market, over version 2 of its socket."""
