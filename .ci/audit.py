"""Hold the locked dependencies against the known vulnerabilities: `python audit.py PIP_AUDIT LOCK`.

Where no advisory service answers, nothing is known: it says so and ends with 0, since the tree is not at fault.
"""

import json
import subprocess
import sys
from typing import Any


def main(program: str, lock: str) -> int:
    command = [program, "--requirement", lock, "--disable-pip", "--require-hashes", "--format", "json"]
    try:
        ended = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=600)
    except OSError as error:
        print(f"NOT AUDITED: {program} cannot be started ({error.strerror})")
        return 0
    try:
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = ended.stderr.strip().splitlines()
        print(f"NOT AUDITED: no advisory service answers ({lines[-1][:200] if lines else 'no word'})")
        return 0
    told = [one for one in found if "skip_reason" not in one]
    bad = [one for one in told if one["vulns"]]
    for one in bad:
        for advisory in one["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            print(f"{one['name']} {one['version']}: {advisory['id']}, mended in {fixed}; run: make lock")
    if len(told) < len(found):
        print(f"NOT AUDITED: {len(found) - len(told)} of {len(found)} packages are not known to the service")
    print(f"{len(told)} packages audited, {len(bad)} with known vulnerabilities")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
