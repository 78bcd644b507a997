"""The helpers of the command line, for what a demo is asked beside its pages."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "cli"))
