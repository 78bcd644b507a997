"""ClickHouse's own HTTP server, of the library in an npm package: `python clickhouse_listener.py LIBRARY FOLDER PORT`.

The library has the program clickhouse-local in it, which listens after SYSTEM START LISTEN for as long as it works on
a query; that one reads a pipe which nobody writes to.
"""

import ctypes
import os
import sys
from pathlib import Path


def main(library: str, folder: str, port: str) -> None:
    pipe = Path(folder).with_name("never-written")
    if not pipe.exists():
        os.mkfifo(pipe)
    query = f"SYSTEM START LISTEN HTTP; SELECT * FROM file('{pipe}', LineAsString) FORMAT Null"
    options = [f"--path={folder}", f"--http_port={port}", "--listen_host=127.0.0.1", f"--query={query}"]
    arguments = [text.encode() for text in ("clickhouse", *options)]
    # The library has its own allocator and C++ runtime, and must not use Python's.
    loaded = ctypes.CDLL(library, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
    loaded.query_stable_v2.restype = ctypes.c_void_p
    loaded.query_stable_v2(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
