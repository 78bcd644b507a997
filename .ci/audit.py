"""Check the locked dependencies for known vulnerabilities: `python audit.py PIP_AUDIT LOCK...`.

Exits with 1 for a vulnerability, and otherwise with 3 for a lock that could not be audited in whole.
"""

import json
import subprocess
import sys
from typing import Any

VULNERABLE = 1
NOT_AUDITED = 3


def main(program: str, *locks: str) -> int:
    codes = [audit(program, lock) for lock in locks]
    return VULNERABLE if VULNERABLE in codes else max(codes)


def audit(program: str, lock: str) -> int:
    command = [program, "--requirement", lock, "--disable-pip", "--require-hashes", "--format", "json"]
    try:
        result = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"NOT AUDITED: {lock}: {program} failed ({error})")
        return NOT_AUDITED
    try:
        packages: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = result.stderr.strip().splitlines()
        print(f"NOT AUDITED: {lock}: no advisory service answers ({lines[-1][:200] if lines else 'no output'})")
        return NOT_AUDITED
    audited = [package for package in packages if "skip_reason" not in package]
    vulnerable = [package for package in audited if package["vulns"]]
    for package in vulnerable:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"{lock}: {package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}; run: make lock")
    print(f"{lock}: {len(audited)} packages audited, {len(vulnerable)} with known vulnerabilities")
    if vulnerable:
        return VULNERABLE
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if unknown or not packages:
        print(f"NOT AUDITED: {lock}: {len(unknown)} of {len(packages)} packages are unknown to the service: {unknown}")
        return NOT_AUDITED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
