"""Minute bars and the monthly K-line as assets."""
