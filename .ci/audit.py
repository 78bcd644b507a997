"""Check the locked dependencies for known vulnerabilities: `python audit.py PIP_AUDIT LOCK`.

When no advisory service answers, it prints NOT AUDITED and exits with 0, since the project is not at fault.
"""

import json
import subprocess
import sys
from typing import Any


def main(program: str, lock: str) -> int:
    command = [program, "--requirement", lock, "--disable-pip", "--require-hashes", "--format", "json"]
    try:
        result = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=600)
    except OSError as error:
        print(f"NOT AUDITED: {program} cannot be started ({error.strerror})")
        return 0
    try:
        packages: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = result.stderr.strip().splitlines()
        print(f"NOT AUDITED: no advisory service answers ({lines[-1][:200] if lines else 'no output'})")
        return 0
    audited = [package for package in packages if "skip_reason" not in package]
    vulnerable = [package for package in audited if package["vulns"]]
    for package in vulnerable:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}; run: make lock")
    if len(audited) < len(packages):
        print(f"NOT AUDITED: {len(packages) - len(audited)} of {len(packages)} packages are unknown to the service")
    print(f"{len(audited)} packages audited, {len(vulnerable)} with known vulnerabilities")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
