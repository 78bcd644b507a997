"""Exchanges: wire messages to records, order books with proof, captures, history."""
