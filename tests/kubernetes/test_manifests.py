"""The manifests: valid by the schemas of three versions, without needless rights, closed to the network, complete."""

import copy
import json
import re
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from marketdata_assets.cli import instance
from marketdata_assets.settings import Settings
from marketdata_assets.ui.guard import Guard
from tests.deploy.compose_file import compose
from tests.kubernetes.installation import values
from tests.kubernetes.manifests import ALL_FOLDERS, KUBERNETES, all_manifests, containers, kustomized, pod_template
from tests.kubernetes.pod_policies import VERSIONS, problems

PODS = {one["metadata"]["name"]: one for one in all_manifests() if pod_template(one)}
OF_CHART = {"code", "daemon", "run"}
ONCE = {"migrate"}
STORES = {5432: "to-postgres", 27017: "to-mongodb", 8123: "to-clickhouse-and-nats", 4222: "to-clickhouse-and-nats"}
SECRETS = {  # each with its keys, as docs/kubernetes.md makes them
    "dagster-db": {"postgresql-password"},
    "writer": {"postgres_dsn", "mongo_uri", "clickhouse_url", "nats_url"},
    "reader": {"dagster_db_password", "postgres_dsn", "mongo_uri", "clickhouse_url", "nats_url"},
    "collector": {"nats_url", "clickhouse_url", "redis_url", "collector_token"},
    "ui": {"ui_token", "viewer_token"},
    "providers": {"accounts.json"},
}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in all_manifests() if one["kind"] == kind}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", ALL_FOLDERS)
def test_objects_pass_the_schemas_of_kubernetes(folder: str, version: str) -> None:
    for one in kustomized(KUBERNETES / folder):
        kubernetes_validate.validate(one, version, strict=True)
    unknown = {**one, "spec": {"typo": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(unknown, version, strict=True)


@pytest.mark.parametrize("folder", ALL_FOLDERS)
def test_objects_are_those_that_kustomize_builds(folder: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl on the PATH")
    built = subprocess.run([kubectl, "kustomize", KUBERNETES / folder], capture_output=True, text=True, check=True)
    theirs, ours = list(yaml.safe_load_all(built.stdout)), kustomized(KUBERNETES / folder)

    def ordered(objects: list[dict[str, Any]]) -> list[str]:
        return sorted(json.dumps(one, sort_keys=True) for one in objects)

    assert ordered(theirs) == ordered(ours)


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_have_no_rights_that_they_do_not_need_limits_and_probes(name: str) -> None:
    template = copy.deepcopy(pod_template(PODS[name]))
    assert template is not None
    template["claims"] = PODS[name]["spec"].get("volumeClaimTemplates", [])
    assert problems(name, template, once=name in ONCE) == []
    template["spec"]["securityContext"]["runAsUser"] = 0
    template["spec"]["containers"][0]["image"] = "marketdata-assets:latest"
    del template["spec"]["containers"][0]["resources"]["limits"]
    assert len(problems(name, template, once=name in ONCE)) == 3, "each is noticed"


def test_pods_of_the_chart_have_the_same() -> None:
    """The chart itself adds the token of the account; without rights for the code server, which is `plain`."""
    found, daemon = values(), values()["dagsterDaemon"]
    (code,) = found["dagster-user-deployments"]["deployments"]
    for name, one in (("code", code), ("daemon", daemon)):
        image = f"{one['image']['repository']}:{one['image']['tag']}"
        container = {key: one[key] for key in ("securityContext", "resources", "volumeMounts", "readinessProbe")}
        container |= {"image": image, "livenessProbe": one["livenessProbe"], "startupProbe": {}}
        spec = {"securityContext": one["podSecurityContext"], "containers": [container], "volumes": one["volumes"]}
        template = {"metadata": {"labels": one["labels"]}, "spec": {**spec, "enableServiceLinks": False}}
        assert problems(name, template, once=False) == []
        assert one["labels"] == {"marketdata/component": name}
    assert code["image"] == daemon["image"], "one version"
    assert not code["includeConfigInLaunchedRuns"]["enabled"], "runs would be labelled as code servers"
    assert not found["rbacEnabled"] and not found["dagster-user-deployments"]["rbacEnabled"]
    assert found["dagsterWebserver"]["replicaCount"] == 0, "it has no guard"


def test_only_what_starts_or_stops_runs_has_a_token_and_no_more_rights_than_the_launcher_uses() -> None:
    with_token = set()
    for name, one in PODS.items():
        spec = one["spec"]["template"]["spec"]
        if spec["automountServiceAccountToken"]:
            with_token.add(name)
        assert (spec["serviceAccountName"] == "launcher") == spec["automountServiceAccountToken"], name
    assert with_token == {"ui"}
    assert values()["serviceAccount"] == {"create": False, "name": "launcher"}, "of the daemon"
    assert values()["dagster-user-deployments"]["serviceAccount"] == {"create": False, "name": "plain"}
    (role,) = of_kind("Role").values()
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {verb for _, verb in allowed} <= {"create", "get", "list", "delete"}
    assert {resource for resource, verb in allowed if verb == "create"} == {"jobs"}
    assert not {resource for resource, _ in allowed} & {"secrets", "configmaps", "*"}
    assert [one["subjects"] for one in of_kind("RoleBinding").values()] == [
        [{"kind": "ServiceAccount", "name": "launcher", "namespace": "marketdata"}]
    ]
    assert not of_kind("ClusterRole") and not of_kind("ClusterRoleBinding")


def selected(policy: dict[str, Any]) -> set[str]:
    """The components that a policy or a budget is for; all of them for an empty selector."""
    selector = policy["spec"].get("podSelector", policy["spec"].get("selector"))
    found = set(selector.get("matchLabels", {}).values())
    for expression in selector.get("matchExpressions", []):
        found |= set(expression["values"])
    return found or {*PODS, *OF_CHART}


def test_every_pod_reaches_the_stores_of_its_settings_and_is_reached_on_its_port_and_nothing_else() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    names = {*PODS, *OF_CHART}
    assert set().union(*(selected(one) for one in policies.values())) == names, "no policy for what does not exist"
    ports = {
        "POSTGRES_DSN": 5432,
        "DAGSTER_PG_HOST": 5432,
        "MONGO_URI": 27017,
        "CLICKHOUSE_URL": 8123,
        "NATS_URL": 4222,
    }
    for name, one in PODS.items():
        wanted = {port for variable in variables(one) for end, port in ports.items() if end in variable}
        if name == "web":
            wanted = {5432}  # the page reads bars alone
        reached = {port for port, policy in STORES.items() if name in selected(policies[policy])}
        assert wanted <= reached, name
        listening = [port for container in containers(one) for port in container.get("ports", [])]
        open_to = [policy for policy in ("pages", "scrapes", "code") if name in selected(policies[policy])]
        assert len(open_to) == len(listening), name
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"] and rule["ports"], "from somewhere, to one port"
    (outside,) = policies["to-internet"]["spec"]["egress"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= {
        *outside["to"][0]["ipBlock"]["except"]
    }


def variables(one: dict[str, Any]) -> dict[str, str]:
    """The variables of a workload: of its ConfigMaps, then its own."""
    found: dict[str, str] = {}
    for container in containers(one):
        for source in container["envFrom"]:
            found |= of_kind("ConfigMap")[source["configMapRef"]["name"]]["data"]
        found |= {env["name"]: env["value"] for env in container.get("env", [])}
    return found


def test_processes_of_dagster_get_what_they_get_on_one_machine() -> None:
    assert instance.DAGSTER.items() <= of_kind("ConfigMap")["settings"]["data"].items()


@pytest.mark.parametrize("name", sorted(PODS))
def test_settings_name_files_of_mounted_secrets_that_are_documented(name: str) -> None:
    spec = PODS[name]["spec"]["template"]["spec"]
    secrets = {one["name"]: one["secret"]["secretName"] for one in spec["volumes"] if "secret" in one}
    mounted = {mount["mountPath"]: mount["name"] for one in spec["containers"] for mount in one["volumeMounts"]}
    for variable, value in variables(PODS[name]).items():
        if variable.endswith("_FILE"):
            folder, _, key = value.rpartition("/")
            assert key in SECRETS[secrets[mounted[folder]]], variable
        known = variable.removeprefix("MARKETDATA_").removesuffix("_FILE").lower()
        assert not variable.startswith("MARKETDATA_") or known in Settings.model_fields, variable
        assert variable.endswith("_FILE") or not re.search("PASSWORD|TOKEN|DSN|_URI|_URL|SECRET", variable), variable
    page = (KUBERNETES.parent / "docs" / "kubernetes.md").read_text()
    for secret in secrets.values():
        assert f"create secret generic {secret} " in page
        assert all(f"--from-file={key}=" in page or f"--from-file={key} " in page for key in SECRETS[secret]), secret


def test_services_are_not_taken_for_settings_and_lead_to_pods() -> None:
    """Kubernetes gives every pod of the chart variables of all services: MARKETDATA_UI_PORT would be one of ours."""
    for name, service in of_kind("Service").items():
        assert not f"{name}_".upper().replace("-", "_").startswith(("MARKETDATA_", "DAGSTER_PG_", "NATS_", "HTTP_"))
        assert service["spec"]["selector"] == {"marketdata/component": name}
        assert name in PODS
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


def test_volumes_and_config_maps_that_pods_name_exist() -> None:
    claims, maps = set(of_kind("PersistentVolumeClaim")), set(of_kind("ConfigMap"))
    of_release = {"dagster-instance", "dagster-workspace-yaml"}
    (code,) = values()["dagster-user-deployments"]["deployments"]
    volumes = [volume for one in PODS.values() for volume in one["spec"]["template"]["spec"]["volumes"]]
    volumes += code["volumes"] + values()["dagsterDaemon"]["volumes"]
    assert {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one} == claims
    assert {one["configMap"]["name"] for one in volumes if "configMap" in one} == of_release
    sources = {one["name"] for one in code["envConfigMaps"]}
    for one in PODS.values():
        sources |= {env["configMapRef"]["name"] for made in containers(one) for env in made["envFrom"]}
    assert sources == maps


def test_disruption_ends_no_run_and_leaves_one_of_each_page() -> None:
    budgets = {next(iter(selected(one))): one["spec"] for one in of_kind("PodDisruptionBudget").values()}
    most = values()["concurrency"]["runs"]["maxConcurrentRuns"]
    assert budgets["run"]["minAvailable"] > 100 * most, "never reached: no eviction"
    for name in ("ui", "web"):
        assert budgets[name]["minAvailable"] < PODS[name]["spec"]["replicas"]


def test_commands_and_settings_are_those_of_the_compose_file() -> None:
    services = compose()["services"]
    different = {"--workspace"}  # the chart makes it
    for name, theirs in (("ui", "webserver"), ("viewer", "viewer"), ("metrics", "metrics"), ("drain", "drain")):
        (one,) = containers(PODS[name])
        expected = services[theirs]["command"]
        assert [word for word in one["args"] if not word.startswith("/dagster/")] == [
            word for word in expected if not word.startswith("/app/")
        ], different
    (migrate,) = containers(PODS["migrate"])
    assert services["migrate"]["command"][-1] in migrate["args"][-1]
    loads = {key for name in ("settings", "storage", "loads") for key in of_kind("ConfigMap")[name]["data"]}
    assert services["code"]["environment"].keys() - loads <= OPTIONAL


OPTIONAL = {"MARKETDATA_PROVIDERS", "MARKETDATA_BACKUP_DIR", "MARKETDATA_BACKUP_KEEP", "MARKETDATA_ALERT_MAIL"} | {
    f"{name}_FILE" for name in ("MARKETDATA_ALERT_WEBHOOK", "MARKETDATA_ALERT_SMTP", "MARKETDATA_HEARTBEAT_URL")
}
OPTIONAL |= {f"{name}_FILE" for name in ("TUSHARE_TOKEN", "APCA_API_KEY_ID", "APCA_API_SECRET_KEY")}
OPTIONAL |= {"MARKETDATA_DOMAINS", "MARKETDATA_BARS_PROFILES"}  # unset, all of them; those of the package
OPTIONAL |= {"MARKETDATA_BRAIN_CREDENTIALS"}  # variables of the Secret brain-credentials


@pytest.mark.parametrize("name", ["ui", "viewer"])
def test_guard_answers_to_the_probes_of_pages(name: str) -> None:
    """A probe without a header names the pod's address, which is no name of the UI."""
    (one,) = containers(PODS[name])
    guarded = TestClient(Guard(PlainTextResponse("Dagster"), ["dagster.example"], "a token"))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        request = one[probe]["httpGet"]
        headers = {header["name"]: header["value"] for header in request["httpHeaders"]}
        assert guarded.get(request["path"], headers=headers).status_code == 200
        assert guarded.get(request["path"], headers={"Host": "10.1.2.3:3000"}).status_code == 421
