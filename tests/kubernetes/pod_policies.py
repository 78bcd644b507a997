"""What every pod of ours must have; a list of what one lacks, for tests that name it."""

import re
from collections.abc import Iterator
from typing import Any

VERSIONS = ("1.35", "1.36", "1.37")
"""Of Kubernetes, whose schemas the manifests pass."""
TAG = re.compile(r".+/.+:\d+(\.\d+)*")
HIGH_USER = 10_000


def problems(name: str, template: dict[str, Any], *, once: bool) -> list[str]:
    """What a template of pods lacks; those that run `once` need no probes."""
    spec = template["spec"]
    found = [*_of_pod(spec), *(what for one in spec["containers"] for what in _of_container(one, once=once))]
    declared = {one["name"] for one in spec.get("volumes", [])}
    declared |= {one["metadata"]["name"] for one in template.get("claims", [])}
    used = {mount["name"] for one in spec["containers"] for mount in one.get("volumeMounts", [])}
    found += [f"volume {one} is not used, or not declared" for one in sorted(declared ^ used)]
    if "marketdata/component" not in template["metadata"]["labels"]:
        found.append("no label marketdata/component, so no network policy but deny-all")
    return [f"{name}: {what}" for what in found]


def _of_pod(spec: dict[str, Any]) -> Iterator[str]:
    security = spec.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("runAsUser", 0) < HIGH_USER:
        yield "may be root, or a user of the node"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    if spec.get("enableServiceLinks") is not False:
        yield "variables of services, one of which may be taken for a setting"
    if {"hostNetwork", "hostPID", "hostIPC"} & spec.keys() or any("hostPath" in one for one in spec.get("volumes", [])):
        yield "shares something with its node"
    if any("emptyDir" in one and "sizeLimit" not in one["emptyDir"] for one in spec.get("volumes", [])):
        yield "a temporary volume without a limit"


def _of_container(one: dict[str, Any], *, once: bool) -> Iterator[str]:
    security, resources = one.get("securityContext", {}), one.get("resources", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("capabilities") != {"drop": ["ALL"]}:
        yield "privileges"
    if not security.get("readOnlyRootFilesystem"):
        yield "a root file system that it may write to"
    if any(resources.get(kind, {}).keys() != {"cpu", "memory"} for kind in ("requests", "limits")):
        yield "no requests or limits"
    if not TAG.fullmatch(one["image"]):
        yield f"an image without a version: {one['image']}"
    for secret in (env for env in one.get("env", []) if "secretKeyRef" in str(env)):
        if secret["name"] != "DAGSTER_PG_PASSWORD":
            yield f"a secret as a variable: {secret['name']}"
    if not once and not {"startupProbe", "readinessProbe", "livenessProbe"} <= one.keys():
        yield "no probes"
