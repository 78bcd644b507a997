#!/bin/sh
# Debian's Alertmanager is older than `url_file` of webhooks: the address is put into a copy of the configuration. The real
# one reads the file with each alert, and starts while it is empty or missing.
set -eu
file=$(sed -n 's/.*url_file: //p' /etc/alertmanager/alertmanager.yml | tail -n 1)
address=$(cat "$file" 2>/dev/null || true)
sed "s|\burl_file: $file|url: ${address:-http://127.0.0.1:9}|" /etc/alertmanager/alertmanager.yml >/tmp/alertmanager.yml
shift
exec prometheus-alertmanager --config.file=/tmp/alertmanager.yml "$@"
