#!/bin/sh
# Creates docker/secrets with a random password for each server, the folders for your files, and docker/.env from
# .env.example. Existing files are not changed.
set -eu
cd "$(dirname "$0")"
umask 077

random() { od -An -tx1 -N"${1:-24}" /dev/urandom | tr -d ' \n'; }

# Containers run as different users, so the files are readable; the permissions of the folder protect them.
keep() {
  if [ -s "secrets/$1" ]; then cat >/dev/null; return; fi
  cat >"secrets/.new" && chmod 444 "secrets/.new" && mv "secrets/.new" "secrets/$1"
}
value() { tr -d '\n' <"secrets/$1"; }

mkdir -p secrets providers
chmod 700 secrets providers
[ -e .env ] || sed -e "s/^MARKETDATA_UID=.*/MARKETDATA_UID=$(id -u)/" -e "s/^MARKETDATA_GID=.*/MARKETDATA_GID=$(id -g)/" \
  -e "s/^DOCKER_GID=.*/DOCKER_GID=$(stat -c %g /var/run/docker.sock 2>/dev/null || echo 0)/" .env.example >.env
input=$(sed -n 's/^MARKETDATA_INPUT=//p' .env | tail -n 1)
for folder in bars alphas ticks reference flows flows_data; do mkdir -p "$input/$folder"; done

for name in postgres_superuser_password postgres_password postgres_reader_password dagster_db_superuser_password \
  dagster_db_password dagster_db_reader_password mongo_root_password mongo_password mongo_reader_password \
  clickhouse_password clickhouse_reader_password nats_password nats_reader_password redis_password collector_token \
  viewer_token grafana_password; do
  random | keep "$name"
done
random 384 | keep mongo_keyfile

printf 'postgresql://marketdata:%s@timescaledb:5432/marketdata' "$(value postgres_password)" | keep postgres_dsn
printf 'postgresql://reader:%s@timescaledb:5432/marketdata' "$(value postgres_reader_password)" | keep postgres_reader_dsn
printf 'mongodb://marketdata:%s@mongodb:27017/?replicaSet=rs0&authSource=admin&journal=true' \
  "$(value mongo_password)" | keep mongo_uri
printf 'mongodb://reader:%s@mongodb:27017/?replicaSet=rs0&authSource=admin&journal=true' \
  "$(value mongo_reader_password)" | keep mongo_reader_uri
printf 'http://marketdata:%s@clickhouse:8123/marketdata' "$(value clickhouse_password)" | keep clickhouse_url
printf 'http://reader:%s@clickhouse:8123/marketdata' "$(value clickhouse_reader_password)" | keep clickhouse_reader_url
printf 'nats://marketdata:%s@nats:4222' "$(value nats_password)" | keep nats_url
printf 'nats://reader:%s@nats:4222' "$(value nats_reader_password)" | keep nats_reader_url
printf 'redis://:%s@redis:6379/0' "$(value redis_password)" | keep redis_url
cat <<NATS | keep nats_auth
authorization {
  users: [
    { user: marketdata, password: "$(value nats_password)" }
    {
      user: reader, password: "$(value nats_reader_password)"
      permissions {
        publish: ["\$JS.API.INFO", "\$JS.API.STREAM.NAMES", "\$JS.API.STREAM.LIST", "\$JS.API.STREAM.INFO.>",
          "\$JS.API.CONSUMER.NAMES.>", "\$JS.API.CONSUMER.LIST.>", "\$JS.API.CONSUMER.INFO.>"]
        subscribe: "_INBOX.>"
      }
    }
  ]
}
NATS
printf 'requirepass %s\n' "$(value redis_password)" | keep redis_auth
# One user loads and one reads. The user that the image comes with has no password, so it goes.
cat <<XML | keep clickhouse_users
<clickhouse>
  <users>
    <default remove="remove"/>
    <marketdata>
      <password_sha256_hex>$(value clickhouse_password | sha256sum | cut -d' ' -f1)</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <!-- No files, no other servers, no users: those are grants of their own. -->
      <grants>
        <query>GRANT ALL ON marketdata.*</query>
        <query>GRANT SELECT ON system.*</query>
        <query>GRANT CREATE TEMPORARY TABLE ON *.*</query>
      </grants>
    </marketdata>
    <reader>
      <password_sha256_hex>$(value clickhouse_reader_password | sha256sum | cut -d' ' -f1)</password_sha256_hex>
      <networks><ip>::/0</ip></networks>
      <profile>reader</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT ON marketdata.*</query>
        <query>GRANT SELECT ON system.*</query>
      </grants>
    </reader>
  </users>
  <profiles><reader><readonly>2</readonly></reader></profiles>
</clickhouse>
XML

if grep -q '^MARKETDATA_UID=0$' .env; then
  echo "The containers of the project would be root. Set MARKETDATA_UID and MARKETDATA_GID in docker/.env" \
    "to an unprivileged user, and give that user docker/providers and $input." >&2
fi
echo "ready: docker compose up -d, in $(pwd)"
