"""A rate budget shared by every process that uses one credential."""
