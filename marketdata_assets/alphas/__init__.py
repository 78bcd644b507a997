"""BRAIN alphas: from the API over raw slices and daily packages into MongoDB. Knows nothing of Dagster."""
