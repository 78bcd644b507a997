"""Exchanges as assets: the feed, the tables of its records, minute bars, and gaps."""
