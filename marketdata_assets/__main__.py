"""`python -m marketdata_assets` is the command `marketdata`, also where no program of that name is on the PATH."""

from marketdata_assets.cli import main

if __name__ == "__main__":
    main()
