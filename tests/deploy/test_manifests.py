"""What deploy/ holds fits Kubernetes' schemas, an API server takes it by kubectl, and its parts fit each other."""

from __future__ import annotations

import copy
import subprocess
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from tests.fakes.apiserver import APIServer
from tests.fakes.apiserver.resources import READABLE
from tests.loading import ROOT, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
VERSIONS = ("1.25", "1.29", "1.33", "1.37")
DOCUMENTS = [(path.name, document) for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]
IDS = [f"{name}:{document['kind']}" for name, document in DOCUMENTS]


def objects(name: str) -> dict[str, dict[str, Any]]:
    """Return a manifest's objects by kind, of which it has one each."""
    return {document["kind"]: document for path, document in DOCUMENTS if path == name}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[APIServer]:
    with APIServer(tmp_path / "api") as api:
        api.put({"kind": "Namespace", "metadata": {"name": "kube-system"}})
        yield api


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", [document for _, document in DOCUMENTS], ids=IDS)
def test_it_fits_the_schema(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_finds_what_is_wrong() -> None:
    wrong = copy.deepcopy(objects("kubedns.yaml")["Deployment"])
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_kubectl_applies_it(manifest: Path, api: APIServer, tmp_path: Path) -> None:
    apply = ("apply", "--validate=false", "-f", str(manifest))
    kinds = [document["kind"] for name, document in DOCUMENTS if name == manifest.name]
    tried = kubectl(api, tmp_path, *apply, "--dry-run=server").splitlines()
    assert [line.endswith("created (server dry run)") for line in tried] == [True] * len(kinds)
    created = kubectl(api, tmp_path, *apply).splitlines()
    assert [line.split("/")[0].split(".")[0] for line in created] == [kind.lower() for kind in kinds]
    assert [line.split()[-1] for line in created] == ["created"] * len(kinds)
    before = api.version
    kubectl(api, tmp_path, *apply)
    assert api.version == before  # applied again, it changes nothing


def test_the_trial_is_applied_beside_and_goes_again(api: APIServer, tmp_path: Path) -> None:
    kubectl(api, tmp_path, "apply", "--validate=false", "-f", str(DEPLOY / "kubedns.yaml"))
    before = kubectl(api, tmp_path, "get", "deployments,services,configmaps,serviceaccounts", "-A", "-o", "name")
    kubectl(api, tmp_path, "apply", "--validate=false", "-f", str(DEPLOY / "trial.yaml"))
    selected = kubectl(api, tmp_path, "get", "deployments", "-A", "-l", "k8s-app=kube-dns", "-o", "name").split()
    assert selected == ["deployment.apps/coredns"]  # as kubeadm looks for the cluster's DNS
    kubectl(api, tmp_path, "delete", "-f", str(DEPLOY / "trial.yaml"))
    after = kubectl(api, tmp_path, "get", "deployments,services,configmaps,serviceaccounts", "-A", "-o", "name")
    assert after == before


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_its_parts_name_each_other(manifest: Path) -> None:
    found = objects(manifest.name)
    pod = found["Deployment"]["spec"]["template"]
    labels, spec = pod["metadata"]["labels"], pod["spec"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    if "PodDisruptionBudget" in found:
        assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    account = found["ServiceAccount"]["metadata"]
    assert spec["serviceAccountName"] == account["name"]
    assert found["ClusterRoleBinding"]["subjects"] == [{"kind": "ServiceAccount", **account}]
    assert found["ClusterRoleBinding"]["roleRef"]["name"] == found["ClusterRole"]["metadata"]["name"]
    (volume,) = spec["volumes"]
    assert volume["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    (container,) = spec["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert container["args"] == ["-conf", f"{mount['mountPath']}/{volume['configMap']['items'][0]['path']}"]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_its_ports_are_those_that_its_corefile_opens(manifest: Path) -> None:
    found = objects(manifest.name)
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: (port["containerPort"], port["protocol"]) for port in container["ports"]}
    served = {
        "dns": (53, "UDP"),
        "dns-tcp": (53, "TCP"),
        "metrics": (9153, "TCP"),
        "liveness-probe": (8080, "TCP"),
        "readiness-probe": (8181, "TCP"),
    }
    assert ports == served
    probes = (container["livenessProbe"]["httpGet"], container["readinessProbe"]["httpGet"])
    assert [(probe["path"], probe["port"]) for probe in probes] == [
        ("/health", "liveness-probe"),
        ("/ready", "readiness-probe"),
    ]
    service = {port["name"]: (port["targetPort"], port["protocol"]) for port in found["Service"]["spec"]["ports"]}
    assert service == {name: served[name] for name in ("dns", "dns-tcp", "metrics")}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_its_role_allows_what_the_server_asks_for_and_no_writing(manifest: Path) -> None:
    rules = objects(manifest.name)["ClusterRole"]["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}
    allowed = {(group, name) for rule in rules for group in rule["apiGroups"] for name in rule["resources"]}
    assert allowed - {("", "endpoints")} == {(resource.group, resource.plural) for resource in READABLE}


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_its_corefile_loads(manifest: Path) -> None:
    assert load(objects(manifest.name)["ConfigMap"]["data"]["Corefile"]).groups


def test_the_address_of_the_service_is_what_pods_ask() -> None:
    found = objects("kubedns.yaml")
    assert found["Service"]["spec"]["clusterIP"] == "10.96.0.10"
    assert found["Deployment"]["spec"]["replicas"] == 2
    assert found["Deployment"]["metadata"]["labels"]["k8s-app"] == "kube-dns"  # what kubeadm looks for


def kubectl(api: APIServer, home: Path, *arguments: str) -> str:
    """Return what kubectl prints; its cache is kept off the user's."""
    configuration = api.kubeconfig(home / "config", admin=True)
    command = ["kubectl", "--kubeconfig", str(configuration), "--cache-dir", str(home / "cache"), *arguments]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout
