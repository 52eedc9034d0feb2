"""The real kubectl reads from the API server and writes to it; what it prints is a manifest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from kubedns.cluster.index import Index
from kubedns.cluster.manifests import ManifestSource
from kubedns.cluster.reading import Filters
from tests.fakes.apiserver import APIServer
from tests.fakes.client import SERVICES, ask
from tests.fakes.test_recordings import Recording

KINDS = ("Namespace", "Service", "EndpointSlice", "Pod")
LISTS = ("list-namespaces", "list-services-page1", "list-services-page2", "list-endpointslices", "list-pods")
MANIFEST = """\
apiVersion: v1
kind: Namespace
metadata: {name: prod}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: prod}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
"""


def deployed(version: str, kind: str, **fields: Any) -> dict[str, Any]:
    where = {} if kind.startswith("Cluster") else {"namespace": "kube-system"}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "dns", **where}, **fields}


SELECTOR = {"matchLabels": {"k8s-app": "kube-dns"}}
TEMPLATE = {
    "metadata": {"labels": SELECTOR["matchLabels"]},
    "spec": {"containers": [{"name": "dns", "image": "dns:1"}]},
}
RBAC, GROUP = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
KINDS_DEPLOYED = (
    *("serviceaccount", f"clusterrole.{GROUP}", f"clusterrolebinding.{GROUP}", "configmap", "deployment.apps"),
    *("service", "poddisruptionbudget.policy", "horizontalpodautoscaler.autoscaling"),
)
DEPLOYED = [
    deployed("v1", "ServiceAccount"),
    deployed(RBAC, "ClusterRole", rules=[{"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]}]),
    deployed(
        RBAC,
        "ClusterRoleBinding",
        roleRef={"apiGroup": GROUP, "kind": "ClusterRole", "name": "dns"},
        subjects=[{"kind": "ServiceAccount", "name": "dns", "namespace": "kube-system"}],
    ),
    deployed("v1", "ConfigMap", data={"Corefile": ".:53 {\n    errors\n}\n"}),
    deployed("apps/v1", "Deployment", spec={"replicas": 2, "selector": SELECTOR, "template": TEMPLATE}),
    deployed("v1", "Service", spec={"clusterIP": "10.96.0.10", "ports": [{"name": "dns", "port": 53}]}),
    deployed("policy/v1", "PodDisruptionBudget", spec={"maxUnavailable": 1, "selector": SELECTOR}),
    deployed(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        spec={"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "dns"}},
    ),
]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[APIServer]:
    with APIServer(tmp_path / "api") as api:
        yield api


def kubectl(api: APIServer, home: Path, *arguments: str) -> str:
    """Return what kubectl prints; its cache is kept off the user's."""
    configuration = api.kubeconfig(home / "config", admin=True)
    command = ["kubectl", "--kubeconfig", str(configuration), "--cache-dir", str(home / "cache"), *arguments]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def index_of(path: Path) -> dict[tuple[str, str, str], Any]:
    """Return all that an index holds once a manifest has been loaded."""
    index, complaints = Index(lambda: 0.0), list[str]()
    ManifestSource(path, index, complaints.append, Filters(pods=True)).load()
    assert complaints == []
    found: dict[tuple[str, str, str], Any] = {("Namespace", "", name): name for name in index.namespaces}
    for service in index.services:
        found["Service", service.namespace, service.name] = service
        for each in index.slices(service.namespace, service.name):
            found["EndpointSlice", each.namespace, each.name] = each
    for namespace, name in index.keys("Pod"):
        found["Pod", namespace, name] = True
    return found


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_a_dump_by_kubectl_gives_the_index_that_the_objects_give(api: APIServer, tmp_path: Path, output: str) -> None:
    objects = [each for name in LISTS for each in Recording(name).objects]
    api.put(*objects)
    given, dumped = tmp_path / "given.json", tmp_path / f"dumped.{output}"
    given.write_bytes(msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": objects}))
    dumped.write_text(kubectl(api, tmp_path, "get", "namespaces,services,endpointslices,pods", "-A", "-o", output))
    found = index_of(dumped)
    assert found == index_of(given)
    assert {kind for kind, _, _ in found} == set(KINDS)


def test_kubectl_pages_through_a_long_list(api: APIServer, tmp_path: Path) -> None:
    template = Recording("list-services-page1").objects[0]
    api.put(*({**template, "metadata": {"name": f"s{n}", "namespace": "prod"}} for n in range(1100)))
    listed = kubectl(api, tmp_path, "get", "services", "-A", "-o", "name").splitlines()
    assert len(listed) == 1100
    assert api.count("list", "services") == 3


def test_kubectl_applies_labels_and_deletes(api: APIServer, tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(MANIFEST)
    apply = ("apply", "--validate=false", "-f", str(manifest))
    assert kubectl(api, tmp_path, *apply).splitlines() == ["namespace/prod created", "service/web created"]
    manifest.write_text(MANIFEST.replace("port: 80", "port: 81"))
    assert kubectl(api, tmp_path, *apply).splitlines() == ["namespace/prod unchanged", "service/web configured"]
    kubectl(api, tmp_path, "label", "service", "-n", "prod", "web", "tier=front")
    (web,) = ask(api, SERVICES).json["items"]
    assert web["spec"]["ports"] == [{"protocol": "TCP", "targetPort": 81, "name": "http", "port": 81}]
    assert web["metadata"]["labels"] == {"tier": "front"}
    shown = yaml.safe_load(kubectl(api, tmp_path, "get", "service", "-n", "prod", "web", "-o", "yaml"))
    assert shown["spec"] == web["spec"]
    kubectl(api, tmp_path, "delete", "namespace", "prod")
    assert ask(api, SERVICES).json["items"] == []


def test_kubectl_applies_all_that_a_dns_server_is_deployed_as(api: APIServer, tmp_path: Path) -> None:
    api.put({"kind": "Namespace", "metadata": {"name": "kube-system"}})
    manifest = tmp_path / "dns.yaml"
    manifest.write_text("---\n".join(yaml.safe_dump(each) for each in DEPLOYED))
    apply = ("apply", "--validate=false", "-f", str(manifest))
    shown = [f"{kind}/dns created" for kind in KINDS_DEPLOYED]
    tried = kubectl(api, tmp_path, *apply, "--dry-run=server").splitlines()
    assert tried == [f"{line} (server dry run)" for line in shown]
    assert ask(api, "/apis/apps/v1/deployments", token=api.admin_token).json["items"] == []
    assert kubectl(api, tmp_path, *apply).splitlines() == shown
    before = api.version
    kubectl(api, tmp_path, *apply)
    assert api.version == before  # what changes nothing is not stored anew
    manifest.write_text(manifest.read_text().replace("dns:1", "dns:2"))
    assert "deployment.apps/dns configured" in kubectl(api, tmp_path, *apply)
    (deployment,) = ask(api, "/apis/apps/v1/deployments", token=api.admin_token).json["items"]
    assert deployment["spec"]["template"]["spec"]["containers"] == [{"name": "dns", "image": "dns:2"}]
    kubectl(api, tmp_path, "delete", "-f", str(manifest))
    assert ask(api, "/apis/rbac.authorization.k8s.io/v1/clusterroles", token=api.admin_token).json["items"] == []


def test_kubectl_is_told_what_is_wrong(api: APIServer, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match='services "none" not found'):
        kubectl(api, tmp_path, "get", "service", "-n", "default", "none")
