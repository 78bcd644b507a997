"""`marketdata`: the command line. Each command is a file; what it does is in the library or in the assets."""

from marketdata_assets.cli.app import app

__all__ = ["app"]
