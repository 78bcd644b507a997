"""The code servers of `marketdata up`, run as a script with the arguments of `dagster`."""

from marketdata_assets.dagster_internals import serve_code

if __name__ == "__main__":
    serve_code()
