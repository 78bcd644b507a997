"""Flows as assets: those that come with the package, one folder each, and the user's own."""
