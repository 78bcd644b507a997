#!/bin/sh
# Debian's Alertmanager is older than `url_file` of webhooks: the address is put into a copy of the configuration.
set -eu
file=$(sed -n 's/.*url_file: //p' /etc/alertmanager/alertmanager.yml | tail -n 1)
sed "s|\burl_file: $file|url: $(cat "$file")|" /etc/alertmanager/alertmanager.yml >/tmp/alertmanager.yml
shift
exec prometheus-alertmanager --config.file=/tmp/alertmanager.yml "$@"
