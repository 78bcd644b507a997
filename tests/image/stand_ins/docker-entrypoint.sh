#!/bin/sh
# What the image of MongoDB does: at the first start it makes the administrator, then it serves with passwords.
set -eu
cd /data/db
if [ ! -e root_made ]; then
  /engines/bin/secantusd-py --host 127.0.0.1 --port 27017 --storage-path /data/db/data --log-level WARNING &
  server=$!
  /engines/bin/python - <<'PYTHON'
import os, pathlib, time
import pymongo

secret = pathlib.Path(os.environ["MONGO_INITDB_ROOT_PASSWORD_FILE"]).read_text().strip()
client = pymongo.MongoClient("mongodb://127.0.0.1:27017/?directConnection=true&journal=true", serverSelectionTimeoutMS=60000)
client.admin.command("createUser", os.environ["MONGO_INITDB_ROOT_USERNAME"], pwd=secret, roles=["root"], mechanisms=["SCRAM-SHA-256"])
PYTHON
  kill -9 "$server"
  touch root_made
fi
exec /engines/bin/secantusd-py --host "$(hostname -i)" --port 27017 --storage-path /data/db/data --log-level WARNING --auth
