"""The helpers of the command line, for pages whose commands are run."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "cli"))
