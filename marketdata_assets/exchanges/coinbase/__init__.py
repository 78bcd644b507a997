"""Coinbase: the spot market, over the socket of Advanced Trade and the REST of the Exchange, which share products."""
