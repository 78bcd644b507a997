"""The Dagster layer: a folder per domain, and what the domains share.

Dagster finds the assets, checks, jobs, sensors and schedules of every module here; a module with a function `defs`
gives those that it returns.
"""

import warnings

# Dagster's version is pinned and tested, so its notes that parameters are in beta or preview are noise at every start.
# By their text, so that modules without Dagster's objects can be imported quickly.
warnings.filterwarnings("ignore", message=r".* is currently in (beta|preview)")
