#!/usr/bin/env bash
# Gets the programs of Debian that some tests use: Chromium with its driver and a Chinese font, Redis, Prometheus,
# its Alertmanager, nginx, and ip of iproute2.
#
# It needs root, or sudo in CI; elsewhere it names what is missing, and the tests that need it skip and say so.
# No service is installed: Redis' program is part of redis-tools, the others are unpacked and not installed.
set -euo pipefail
programs=$1  # the folder for what is not installed; it belongs into PATH

missing=()
for program in chromium chromedriver redis-server prometheus promtool amtool nginx ip; do
  command -v "$program" >/dev/null || missing+=("$program")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  if [ -n "${CI:-}" ] && sudo -n true 2>/dev/null; then as_root=(sudo); else as_root=(false); fi
fi
if [ "${as_root[*]}" = false ] || ! command -v apt-get >/dev/null; then
  echo "not on this machine: ${missing[*]}; the tests that use them will be skipped." \
    "Run 'make system-packages' as root on Debian to get them."
  exit 0
fi

echo "installing Debian's packages for the tests, for: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends \
  chromium chromium-driver fonts-noto-cjk redis-tools curl iproute2 >/dev/null
mkdir -p "$programs"
ln -sf "$(command -v redis-check-rdb)" "$programs/redis-server"  # one program, which does what its name says
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unpack() { (cd "$scratch" && apt-get download -qq "$1" 2>/dev/null && dpkg-deb -x "$1"_*.deb "$1"); }
if ! command -v promtool >/dev/null; then
  unpack prometheus
  cp "$scratch"/prometheus/usr/bin/{prometheus,promtool} "$programs"
fi
if ! command -v amtool >/dev/null; then
  unpack prometheus-alertmanager
  cp "$scratch"/prometheus-alertmanager/usr/bin/amtool "$programs"
fi
if ! command -v nginx >/dev/null; then
  unpack nginx
  cp "$scratch"/nginx/usr/sbin/nginx "$programs"
fi
