#!/usr/bin/env bash
# Builds a release of the version in pyproject.toml: needs a clean work tree, a changelog section "## VERSION - DATE" and,
# unless it exists already on this commit, creates the tag vVERSION. Writes the wheel and the sdist into dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
version=$("$python" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
fail() { echo "release $version: $1" >&2; exit 1; }
[ -z "$(git status --porcelain)" ] || fail "the work tree has changes; commit or remove them"
grep -qE "^## \[?${version//./\\.}\]? - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
  fail "CHANGELOG.md has no section '## $version - YYYY-MM-DD'; move the entries of Unreleased into one"
if tagged=$(git rev-parse -q --verify "refs/tags/v$version^{commit}"); then
  [ "$tagged" = "$(git rev-parse HEAD)" ] || fail "tag v$version is on another commit; raise the version in pyproject.toml"
fi
rm -rf dist build
"$python" -c 'from setuptools import build_meta as b; b.build_sdist("dist"); b.build_wheel("dist")' >/dev/null
[ -n "$tagged" ] || git tag --annotate "v$version" --message "Release $version"
ls dist
echo "built and tagged v$version; publish with: git push origin v$version, and upload dist/ to your package index"
