"""A process that holds a stack until it is killed: `python holder.py HOME SERVICE...`; prints a line when ready."""

import signal
import sys

from marketdata_assets.local.stack import LocalStack
from marketdata_assets.settings import Settings

with LocalStack(Settings(home=sys.argv[1]), services=sys.argv[2:]) as stack:
    print("ready", *(started.pid for started in stack.started), flush=True)
    signal.pause()
