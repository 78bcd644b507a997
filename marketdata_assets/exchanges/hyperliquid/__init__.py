"""Hyperliquid: perpetuals of its own dex and spot pairs, all over one connection."""
