"""The simulated venues, and the REST servers that they are built on, can be imported by every test here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "exchanges"))
