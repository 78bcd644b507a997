"""The Dagster layer: a folder per domain, and what the domains share."""

import warnings

import dagster as dg

# At each start and each command Dagster would tell that parameters we rely on may change; its version is locked, and
# the tests run on it.
for category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=category)
