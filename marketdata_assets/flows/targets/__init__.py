"""Stores of a flow's rows beside the table in Postgres. Which rows they have, and when, is decided above."""
