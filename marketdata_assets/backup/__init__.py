"""Backups: the rows and ledgers of the three databases as files that any server of their kind can take back.

Which tables, and who makes them, is the caller's business.
"""
