"""A server that answers as the Kubernetes API does to a launcher of runs; the pod of each Job is a local process.

It has Jobs, their pods, logs and events. An image is a command of this machine; ConfigMaps and Secrets are variables
that it is given. What it does not know is answered with 404, as by a real API for an unknown path.
"""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

TOKEN = "a token of the account launcher"
JOBS = re.compile(r"/apis/batch/v1/namespaces/([^/]+)/jobs(?:/([^/]+))?(/status)?")
CORE = re.compile(r"/api/v1/namespaces/([^/]+)/(pods|events)(?:/([^/]+))?(/log)?")
OUT_OF_MEMORY = 137
GRACE_SECONDS = 30.0


@dataclass
class Image:
    """What the entrypoint of an image is on this machine, and the variables that it sets."""

    entrypoint: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Pod:
    """A process with its manifest."""

    job: dict[str, Any]
    process: subprocess.Popen[bytes]
    log: Path
    started: str
    deleted: bool = False

    @property
    def name(self) -> str:
        return f"{self.job['metadata']['name']}-pod"

    def status(self) -> dict[str, Any]:
        code = self.process.poll()
        container: dict[str, Any] = {"name": "dagster", "ready": code is None, "restartCount": 0}
        container |= {"image": self.job["spec"]["template"]["spec"]["containers"][0]["image"], "imageID": ""}
        if code is None:
            return {
                "phase": "Running",
                "containerStatuses": [{**container, "state": {"running": {"startedAt": self.started}}}],
            }
        code = 128 - code if code < 0 else code
        reason = "OOMKilled" if code == OUT_OF_MEMORY else "Completed" if code == 0 else "Error"
        ended = {"exitCode": code, "reason": reason, "startedAt": self.started, "finishedAt": _now()}
        phase = "Succeeded" if code == 0 else "Failed"
        return {"phase": phase, "containerStatuses": [{**container, "state": {"terminated": ended}}]}

    def manifest(self) -> dict[str, Any]:
        template = self.job["spec"]["template"]
        labels = {**template["metadata"].get("labels", {}), "job-name": self.job["metadata"]["name"]}
        metadata = {**template["metadata"], "name": self.name, "labels": labels}
        return {"metadata": metadata, "spec": template["spec"], "status": self.status()}


class Cluster:
    """One namespace. Its pods live on when the server is stopped, as those of a cluster do."""

    def __init__(
        self,
        folder: Path,
        images: Mapping[str, Image],
        config_maps: Mapping[str, Mapping[str, str]],
        secrets: Mapping[str, Mapping[str, str]],
        paths: Mapping[str, Path],
        namespace: str = "marketdata",
    ) -> None:
        self.folder, self.namespace = folder, namespace
        self.images, self._config_maps, self._secrets, self._paths = images, config_maps, secrets, paths
        self.pods: dict[str, Pod] = {}
        self.deleted: list[Pod] = []
        self._lock = threading.Lock()

    def create(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = job["metadata"]["name"]
        with self._lock:
            if name in self.pods:
                return 409, _failure(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
            self.pods[name] = self._started(job)
        return 201, self.read(name)[1]

    def read(self, name: str) -> tuple[int, dict[str, Any]]:
        pod = self.pods.get(name)
        if pod is None:
            return 404, _failure(404, "NotFound", f'jobs.batch "{name}" not found')
        counted = {"Running": "active", "Succeeded": "succeeded", "Failed": "failed"}[pod.status()["phase"]]
        return 200, {**pod.job, "status": {"startTime": pod.started, counted: 1}}

    def delete(self, name: str) -> tuple[int, dict[str, Any]]:
        """Delete a Job; its pod is deleted on its own, as by a client that does not propagate."""
        pod = self.pods.pop(name, None)
        if pod is None:
            return 404, _failure(404, "NotFound", f'jobs.batch "{name}" not found')
        self.deleted.append(pod)
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def delete_pod(self, name: str) -> tuple[int, dict[str, Any]]:
        """Ask a pod to end; the kubelet kills what has not done so after the grace period."""
        for pod in [*self.pods.values(), *self.deleted]:
            if pod.name == name and not pod.deleted:
                pod.deleted = True
                pod.process.terminate()
                threading.Thread(target=_kill_after_grace, args=[pod.process], daemon=True).start()
                return 200, pod.manifest()
        return 404, _failure(404, "NotFound", f'pods "{name}" not found')

    def listed_pods(self, query: Mapping[str, list[str]]) -> list[Pod]:
        pods = [pod for pod in [*self.pods.values(), *self.deleted] if not pod.deleted]
        for selector in query.get("labelSelector", []):
            key, _, value = selector.partition("=")
            pods = [pod for pod in pods if pod.manifest()["metadata"]["labels"].get(key) == value]
        for selector in query.get("fieldSelector", []):
            pods = [pod for pod in pods if f"metadata.name={pod.name}" == selector]
        return pods

    def kill(self, name: str) -> None:
        """End a pod as the kernel does when it exceeds its memory."""
        os.killpg(self.pods[name].process.pid, signal.SIGKILL)
        self.pods[name].process.wait()

    def close(self) -> None:
        for pod in [*self.pods.values(), *self.deleted]:
            if pod.process.poll() is None:
                os.killpg(pod.process.pid, signal.SIGKILL)
            pod.process.wait()

    def _started(self, job: dict[str, Any]) -> Pod:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        image, log = self.images[container["image"]], self.folder / f"{job['metadata']['name']}.log"
        environment = {"PATH": os.environ["PATH"], **image.environment, **self._environment(container)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*image.entrypoint, *container["args"]],
                env=environment,
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Pod(job, process, log, _now())

    def _environment(self, container: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            for kind, known in (("configMapRef", self._config_maps), ("secretRef", self._secrets)):
                if kind in source and not (source[kind].get("optional") and source[kind]["name"] not in known):
                    found |= known[source[kind]["name"]]
        for one in container.get("env", []):
            if "valueFrom" in one:
                key = one["valueFrom"]["secretKeyRef"]
                found[one["name"]] = self._secrets[key["name"]][key["key"]]
            else:
                found[one["name"]] = one["value"]
        return {name: self._on_this_machine(value) for name, value in found.items()}

    def _on_this_machine(self, value: str) -> str:
        for mounted, path in self._paths.items():
            if value == mounted or value.startswith(f"{mounted}/"):
                return f"{path}{value.removeprefix(mounted)}"
        return value


@contextmanager
def serving(cluster: Cluster, port: int = 0) -> Iterator[int]:
    """The API of a cluster on a port of loopback, for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._send(401, _failure(401, "Unauthorized", "Unauthorized"))
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            return self._send(*_routed(cluster, self.command, urlsplit(self.path), body))

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

        def _send(self, status: int, answer: dict[str, Any] | bytes) -> None:
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, bytes) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - of http.server
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def kubeconfig(file: Path, port: int) -> Path:
    """How a client finds the API and shows its token."""
    names = {"cluster": "test", "user": "launcher"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "launcher", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": names}],
        "current-context": "test",
    }
    file.write_text(yaml.safe_dump(document))
    return file


def _routed(cluster: Cluster, verb: str, url: Any, body: Any) -> tuple[int, dict[str, Any] | bytes]:
    query = parse_qs(url.query)
    if found := JOBS.fullmatch(url.path):
        namespace, name, status = found.groups()
        if namespace != cluster.namespace:
            return 403, _failure(403, "Forbidden", f"no rights in the namespace {namespace}")
        if verb == "POST" and name is None:
            return cluster.create(body)
        if verb == "GET" and name:
            return cluster.read(name)
        if verb == "DELETE" and name and not status:
            return cluster.delete(name)
        if verb == "GET":
            wanted = query.get("fieldSelector", [""])[0].removeprefix("metadata.name=")
            return 200, {"kind": "JobList", "items": [cluster.read(wanted)[1]] if wanted in cluster.pods else []}
    elif found := CORE.fullmatch(url.path):
        _, kind, name, log = found.groups()
        if kind == "events":
            return 200, {"kind": "EventList", "items": []}
        if verb == "DELETE" and name:
            return cluster.delete_pod(name)
        if verb == "GET" and name is None:
            return 200, {"kind": "PodList", "items": [pod.manifest() for pod in cluster.listed_pods(query)]}
        for pod in cluster.listed_pods({"fieldSelector": [f"metadata.name={name}"]}):
            return 200, pod.log.read_bytes() if log else pod.manifest()
    return 404, _failure(404, "NotFound", f"{verb} {url.path} is not known")


def _kill_after_grace(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _failure(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
