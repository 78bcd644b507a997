"""The manifests as `kubectl kustomize` builds them, without it.

`python -m tests.kubernetes.manifests FOLDER` writes them to files.

Of kustomize it knows what the folders use: resources, a namespace, images of a component, and JSON patches.
"""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
KUBERNETES = PROJECT / "kubernetes"
FOLDERS = ("base", "migrate", "services", "live")
ALL_FOLDERS = (*FOLDERS, "single-node")
CLUSTER_WIDE = {"Namespace"}
WORKLOADS = {"Deployment", "StatefulSet", "Job"}

Manifest = dict[str, Any]


def kustomized(folder: Path) -> list[Manifest]:
    """The objects of a folder with a kustomization.yaml."""
    config = yaml.safe_load((folder / "kustomization.yaml").read_text())
    objects = [one for name in config["resources"] for one in _resource(folder / name)]
    for name in config.get("components", []):
        component = yaml.safe_load((folder / name / "kustomization.yaml").read_text())
        images = {one["name"]: f"{one['newName']}:{one['newTag']}" for one in component["images"]}
        for container in (one for made in objects for one in containers(made)):
            container["image"] = images[container["image"]]
    for made in objects if "namespace" in config else []:
        _in_namespace(made, config["namespace"])
    for patch in config.get("patches", []):
        for made in objects:
            if made["kind"] == patch["target"]["kind"]:
                _patch(made, yaml.safe_load(patch["patch"]))
    return objects


def all_manifests() -> list[Manifest]:
    return [one for folder in FOLDERS for one in kustomized(KUBERNETES / folder)]


def pod_template(manifest: Manifest) -> Manifest | None:
    """The template of the pods of a workload, None for anything else."""
    template: Manifest | None = manifest["spec"]["template"] if manifest["kind"] in WORKLOADS else None
    return template


def containers(manifest: Manifest) -> Iterator[Manifest]:
    template = pod_template(manifest)
    if template is not None:
        yield from template["spec"].get("initContainers", [])
        yield from template["spec"]["containers"]


def _resource(path: Path) -> list[Manifest]:
    if path.is_dir():
        return kustomized(path)
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def _in_namespace(made: Manifest, namespace: str) -> None:
    if made["kind"] not in CLUSTER_WIDE:
        made["metadata"]["namespace"] = namespace
    for subject in made.get("subjects", []):
        subject["namespace"] = namespace


def _patch(made: Manifest, operations: list[Manifest]) -> None:
    for one in operations:
        assert one["op"] == "replace", "the only operation that is known here"
        *parents, last = one["path"].strip("/").split("/")
        place = made
        for name in parents:
            place = place[name]
        place[last] = copy.deepcopy(one["value"])


if __name__ == "__main__":
    for name in FOLDERS:
        with (Path(sys.argv[1]) / f"{name}.yaml").open("w") as file:
            yaml.safe_dump_all(kustomized(KUBERNETES / name), file)
