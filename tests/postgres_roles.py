"""The roles that the compose file gives a database, made as its image makes them."""

import os
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from marketdata_assets.local.postgres import programs

ROLES = Path(__file__).parents[1] / "docker" / "postgres" / "roles.sql"


def make_roles(database: str, variables: dict[str, str]) -> None:
    """Run the script in `database`, as the superuser of its DSN; `variables` are those of the service."""
    found = conninfo_to_dict(database)
    known = {f"PG{key.upper()}": str(found[key]) for key in ("host", "port", "user", "password") if found.get(key)}
    command = [programs() / "psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-d", str(found["dbname"]), "-f", ROLES]
    subprocess.run([*map(str, command)], env=os.environ | known | variables, check=True, capture_output=True)
