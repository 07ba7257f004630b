"""Each check on a real API server: its fault is planted and found, and gone again when it is mended.

Ages are not waited for: the checks are told that it is later.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, NODES, PODS, SLICES, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL, DELETE_PROTECTION_FINALIZER, GATE
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.query.doctor import examine
from dra_operator.query.doctor.facts import Facts
from dra_operator.query.doctor.findings import CHECKS, Finding
from dra_operator.sandbox.controlplane import ControlPlane, Options
from tests.controlplane import new_namespace, running_control_plane
from tests.e2e.stage import until

pytestmark = pytest.mark.cluster

MANIFESTS = Path(__file__).parents[2] / "manifests"
LATER = 600.0
DRIVER = "gpu.example.com"
CLASS = "doctor.example.com"


@pytest.fixture(scope="module")
def ward() -> Iterator[ControlPlane]:
    """A cluster of its own: faults are planted in it."""
    with asyncio.Runner() as runner:
        running = running_control_plane()
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture
async def client(ward: ControlPlane) -> AsyncIterator[ApiClient]:
    async with ward.client() as one:
        yield one


@pytest.fixture
async def here(client: ApiClient) -> AsyncIterator[str]:
    async with new_namespace(client, "doctor") as name:
        yield name


async def found(client: ApiClient, check: str, *, later: float = 0.0) -> list[Finding]:
    examined, findings = await examine.run_check(CHECKS[check], Facts(client, now=lambda: time.time() + later))
    assert examined.state != "NotChecked", examined.not_checked
    for one in findings:
        assert one.check == check
        assert one.why
        assert one.cure
    return findings


async def about(client: ApiClient, check: str, words: str, *, later: float = 0.0) -> Finding | None:
    """The finding that says so, if there is one."""
    return next((one for one in await found(client, check, later=later) if words in f"{one.object}: {one.what}"), None)


async def expect(client: ApiClient, check: str, words: str, *, later: float = 0.0, severity: str = "Problem") -> None:
    one = await about(client, check, words, later=later)
    assert one is not None, await found(client, check, later=later)
    assert one.severity == severity


def slice_(name: str, *, pool: str = "", node: str = "node-a", **spec: Any) -> dict[str, Any]:
    generation, count = spec.pop("generation", 1), spec.pop("count", 1)
    return {
        "metadata": {"name": name},
        "spec": {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": pool or name, "generation": generation, "resourceSliceCount": count},
            "devices": [{"name": "gpu-0"}],
            **spec,
        },
    }


def claim(name: str, *, admin: bool = False, class_name: str = CLASS) -> dict[str, Any]:
    exactly: dict[str, Any] = {"deviceClassName": class_name}
    if admin:
        exactly["adminAccess"] = True
    return {
        "metadata": {"name": name},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}},
    }


def pod(name: str, *, template: str = "", claim_name: str = "", gated: bool = True) -> dict[str, Any]:
    entry = {"resourceClaimTemplateName": template} if template else {"resourceClaimName": claim_name}
    spec: dict[str, Any] = {
        "containers": [{"name": "main", "image": "none"}],
        "resourceClaims": [{"name": "gpu", **entry}],
    }
    if not gated:
        spec["nodeName"] = "node-a"
    return {"metadata": {"name": name}, "spec": spec}


async def allocate(client: ApiClient, namespace: str, name: str, pod_uid: str = "", *, admin: bool = False) -> None:
    result: dict[str, Any] = {"request": "gpu", "driver": DRIVER, "pool": "p", "device": "gpu-0"}
    if admin:
        result["adminAccess"] = True
    status: dict[str, Any] = {"allocation": {"devices": {"results": [result]}}}
    if pod_uid:
        status["reservedFor"] = [{"resource": "pods", "name": "gone", "uid": pod_uid}]
    await client.patch(CLAIMS, ObjectKey(namespace, name), {"status": status}, patch_type="merge", subresource="status")


# --- the API server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["version", "resource-api", "flavour", "kept-fields", "admin-access"])
async def test_an_api_server_that_is_well(client: ApiClient, check: str) -> None:
    assert await found(client, check) == []


async def test_an_api_server_that_drops_fields() -> None:
    gates = ("DRADeviceTaints", "DRAPartitionableDevices", "DRAConsumableCapacity", "DRADeviceBindingConditions")
    off = ",".join(f"{one}=false" for one in (*gates, "DRADeviceTaintRules"))
    options = Options(scheduler=False, api_server_flags=(f"--feature-gates={off}",))
    async with running_control_plane(options, manifests=False) as plane, plane.client() as client:
        findings = await found(client, "kept-fields")
        assert {one.severity for one in findings} == {"Note"}
        for gate in gates:
            assert any(gate in one.cure for one in findings), gate


async def test_a_cluster_that_serves_custom_resources_or_some_of_them() -> None:
    options = Options(crd=True, scheduler=False)
    async with running_control_plane(options, manifests=False) as plane, plane.client() as client:
        assert await found(client, "resource-api") == []
        await expect(client, "flavour", "served from CustomResourceDefinitions", severity="Note")
        await expect(client, "admin-access", "a claim with adminAccess is accepted there")

        selectors = [{"cel": {"expression": "device.drivr == ''"}}]
        await client.create(CLASSES, {"metadata": {"name": "bad"}, "spec": {"selectors": selectors}})
        await expect(client, "classes", "DeviceClass bad: its selector 0 does not compile")

        await asyncio.to_thread(plane.kubectl, "delete", "crd", "deviceclasses.resource.k8s.io")

        async def noticed() -> bool:
            return await about(client, "resource-api", "deviceclasses are not served") is not None

        await until(lambda: "the missing definition is not found", noticed)
        await expect(client, "flavour", "deviceclasses of them are missing")


def definition(kind: str) -> dict[str, Any]:
    plural = f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.resource.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": "resource.k8s.io",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced" if "Claim" in kind else "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


async def apply(plane: ControlPlane, objects: list[dict[str, Any]]) -> None:
    command = plane.kubectl_command("apply", "-f", "-")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    await asyncio.to_thread(subprocess.run, command, input=text, text=True, check=True, capture_output=True)


# --- the gate --------------------------------------------------------------------------------------------------------


async def test_a_gate_that_works(client: ApiClient) -> None:
    assert await found(client, "gate") == []
    assert await found(client, "gate-works") == []


async def test_a_policy_without_a_binding_and_a_cluster_without_a_gate(ward: ControlPlane, client: ApiClient) -> None:
    await asyncio.to_thread(ward.kubectl, "delete", "mutatingadmissionpolicybinding", "dra-operator-gate")
    await expect(
        client, "gate", "MutatingAdmissionPolicy dra-operator-gate: no MutatingAdmissionPolicyBinding names it"
    )

    await asyncio.to_thread(ward.kubectl, "delete", "mutatingadmissionpolicy", "dra-operator-gate")
    assert await found(client, "gate") == [], "nobody said that an operator should be here"
    await lease(client, "x", renewed=time.time())
    await expect(client, "gate", "neither a policy nor a webhook gates pods")

    await asyncio.to_thread(ward.kubectl, "apply", "-k", str(MANIFESTS / "base"))
    await delete_lease(client)
    await until_gated(client)


async def until_gated(client: ApiClient) -> None:
    async def works() -> bool:
        return not await found(client, "gate-works")

    await until(lambda: "the gate does not work", works)


async def test_a_gate_that_looks_at_nothing_it_should(ward: ControlPlane, client: ApiClient) -> None:
    key = "mutatingadmissionpolicy/dra-operator-gate"
    name = '{"key":"kubernetes.io/metadata.name","operator":"In","values":["kube-system"]}'
    patch = f'{{"spec":{{"matchConstraints":{{"namespaceSelector":{{"matchExpressions":[{name}]}}}}}}}}'
    await asyncio.to_thread(ward.kubectl, "patch", key, "--type=merge", "-p", patch)

    async def wrong() -> bool:
        return len(await found(client, "gate-works")) == 2

    await until(lambda: "both faults are not found", wrong)
    await expect(client, "gate-works", "Namespace kube-system: pods with claims are gated there")
    await expect(client, "gate-works", "is not gated")

    await asyncio.to_thread(ward.kubectl, "apply", "-k", str(MANIFESTS / "base"))
    await until_gated(client)


async def test_a_webhook_beside_the_policy_that_nobody_trusts_or_reaches(ward: ControlPlane, client: ApiClient) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "second-gate", "labels": {"app.kubernetes.io/part-of": "dra-operator"}},
        "webhooks": [
            {
                "name": "gate.dra-operator.io",
                "clientConfig": {"service": {"namespace": "dra-operator", "name": "nowhere", "port": 443}},
                "rules": [rule],
                "objectSelector": {"matchLabels": {"nobody": "has-this"}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    await apply(ward, [webhook])
    try:
        await expect(client, "gate", "dra-operator-gate, second-gate all gate pods")
        await expect(client, "gate", "webhook gate.dra-operator.io has no caBundle")
        await expect(client, "gate", "is at Service dra-operator/nowhere, which does not exist")
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "nowhere", "namespace": "dra-operator"},
            "spec": {"ports": [{"port": 443}]},
        }
        await apply(ward, [service])
        await expect(client, "gate", "is at Service dra-operator/nowhere, which has no ready endpoint")
    finally:
        await asyncio.to_thread(ward.kubectl, "delete", "mutatingwebhookconfiguration", "second-gate")
    assert await found(client, "gate") == []


# --- who runs --------------------------------------------------------------------------------------------------------


async def lease(client: ApiClient, holder: str, *, renewed: float) -> None:
    spec: dict[str, Any] = {
        "holderIdentity": holder,
        "leaseDurationSeconds": 15,
        "renewTime": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(renewed)),
    }
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "dra-operator"}, "spec": spec}
    path = "/apis/coordination.k8s.io/v1/namespaces/dra-operator/leases/dra-operator"
    await client.request(
        "PATCH",
        path,
        params={"fieldManager": "test", "force": "true"},
        body=json.dumps(body).encode(),
        content_type="application/apply-patch+yaml",
    )


async def delete_lease(client: ApiClient) -> None:
    await client.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/dra-operator/leases/dra-operator")


async def test_nobody_leads(client: ApiClient) -> None:
    await expect(client, "lease", "nobody has ever had it, and pods are gated")
    await lease(client, "x", renewed=time.time())
    assert await found(client, "lease") == []
    await expect(client, "lease", "x last renewed it 10 min ago", later=LATER)
    await lease(client, "", renewed=time.time())
    await expect(client, "lease", "nobody holds it")
    await delete_lease(client)


async def test_replicas_and_agents_that_are_not_ready(ward: ControlPlane, client: ApiClient) -> None:
    await asyncio.to_thread(ward.kubectl, "apply", "-k", str(MANIFESTS / "overlays" / "native"))
    try:
        await expect(client, "operator", "Deployment dra-operator/dra-operator: 0 of 2 replicas are ready")
        await node(client, "node-gpu", {"nvidia.com/gpu.present": "true"})

        async def wanted() -> bool:
            return bool(await found(client, "agents"))

        await until(lambda: "no agent is wanted", wanted)
        await expect(client, "agents", "DaemonSet dra-operator/dra-operator-agent: 0 of 1 agents are ready")
        assert await found(client, "rights") == []
    finally:
        await client.delete(NODES, ObjectKey("", "node-gpu"))
        await asyncio.to_thread(ward.kubectl, "delete", "-n", "dra-operator", "deployment,daemonset", "--all")


async def node(client: ApiClient, name: str, labels: dict[str, str]) -> None:
    await client.create(NODES, {"metadata": {"name": name, "labels": labels}})


async def test_an_account_without_a_right(ward: ControlPlane, client: ApiClient) -> None:
    assert await found(client, "rights") == []
    await asyncio.to_thread(ward.kubectl, "delete", "clusterrolebinding", "dra-operator")

    async def missed() -> bool:
        return bool(await about(client, "rights", "resourceclaims/binding"))

    await until(lambda: "the missing right is not found", missed)
    await asyncio.to_thread(ward.kubectl, "apply", "-k", str(MANIFESTS / "base"))

    async def back() -> bool:
        return not await found(client, "rights")

    await until(lambda: "the right is not back", back)


async def test_what_you_may_not_do_yourself(ward: ControlPlane, client: ApiClient) -> None:
    assert await found(client, "own-rights") == []
    looks = ("clusterrole", "looks", "--verb=get,list", "--resource=deployments.apps,leases.coordination.k8s.io")
    await asyncio.to_thread(ward.kubectl, "create", *looks)
    binds = ("clusterrolebinding", "looks", "--clusterrole=looks", "--user=system:kube-scheduler")
    await asyncio.to_thread(ward.kubectl, "create", *binds)
    async with ward.client("kube-scheduler") as scheduler:

        async def looks_on() -> bool:
            examined, _ = await examine.run_check(CHECKS["own-rights"], Facts(scheduler, now=time.time))
            return examined.state != "NotChecked"

        await until(lambda: "the scheduler may not look", looks_on)
        await expect(scheduler, "own-rights", "you: you may not", severity="Note")


async def test_what_the_caller_may_not_read_is_not_checked_and_said(ward: ControlPlane) -> None:
    command = [sys.executable, "-m", "dra_operator.cli.main", "doctor", "-o", "json"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, f"--kubeconfig={ward.kubeconfig('kube-scheduler')}"],
        capture_output=True,
        text=True,
        check=False,
    )
    diagnosis = json.loads(done.stdout)
    states = {one["check"]: one for one in diagnosis["checks"]}
    assert states["gate"]["state"] == "NotChecked"
    words = "you may not list mutating"  # several kinds are asked for at once, and the first to be refused is named
    assert states["gate"]["notChecked"].startswith(words)
    assert states["pools"]["state"] == "Ok", "the scheduler may list slices"
    assert set(states) == set(CHECKS)


# --- devices ---------------------------------------------------------------------------------------------------------


async def test_a_node_whose_gpus_nobody_publishes(client: ApiClient) -> None:
    await node(client, "node-silent", {"dra-operator.io/gpu": "true"})
    try:
        await expect(client, "drivers", "Node node-silent: its label dra-operator.io/gpu")
        await client.create(SLICES, slice_("silent-one", node="node-silent"))
        assert await about(client, "drivers", "Node node-silent") is None
    finally:
        await client.delete(SLICES, ObjectKey("", "silent-one"))
        await client.delete(NODES, ObjectKey("", "node-silent"))


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        (
            [slice_("half-1", pool="half", count=2)],
            "pool half of gpu.example.com: it has 1 of 2 slices of generation 1",
        ),
        (
            [slice_("odd-1", pool="odd", count=1), slice_("odd-2", pool="odd", count=2)],
            "its slices disagree on how many there are: 1, 2",
        ),
        (
            [slice_("old-1", pool="old"), slice_("old-2", pool="old", generation=2)],
            "it has slices of generation 2 and of 1",
        ),
        (
            [slice_("same-1", pool="same", count=2), slice_("same-2", pool="same", count=2)],
            "it lists gpu-0 twice",
        ),
    ],
    ids=["incomplete", "disagreeing", "two generations", "duplicates"],
)
async def test_a_pool_that_gives_out_nothing(client: ApiClient, slices: list[dict[str, Any]], words: str) -> None:
    for one in slices:
        await client.create(SLICES, one)
    try:
        assert await found(client, "pools") == [], "a publisher may be about to finish"
        await expect(client, "pools", words, later=LATER)
    finally:
        for one in slices:
            await client.delete(SLICES, ObjectKey("", one["metadata"]["name"]))


async def test_two_publishers_of_a_driver_and_of_a_gpu(ward: ControlPlane, client: ApiClient) -> None:
    bus = {"resource.kubernetes.io/pciBusID": {"string": "0000:01:00.0"}}
    devices = [{"name": "gpu-0", "attributes": bus}]
    await client.create(SLICES, slice_("one", devices=devices))
    await client.create(SLICES, slice_("two", devices=devices, driver="gpu.other.com"))
    third = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", **slice_("three")}
    await apply(ward, [third])
    try:
        await expect(client, "publishers", "the GPU at 0000:01:00.0 is published by gpu.example.com, gpu.other.com")
        await expect(client, "publishers", "driver gpu.example.com is published there by dra-operator and by kubectl")
    finally:
        for name in ("one", "two", "three"):
            await client.delete(SLICES, ObjectKey("", name))
    assert await found(client, "publishers") == []


async def test_a_quota_that_is_used_up(client: ApiClient, here: str) -> None:
    hard = {f"{CLASS}.deviceclass.resource.k8s.io/devices": "10"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": {"hard": hard}}
    await client.request("POST", f"/api/v1/namespaces/{here}/resourcequotas", body=json.dumps(quota).encode())

    async def counted(used: str) -> None:
        async def there() -> bool:
            answer = await client.request("GET", f"/api/v1/namespaces/{here}/resourcequotas/gpus")
            status = json.loads(answer.body).get("status", {})
            return list(status.get("used", {}).values()) == [used]

        await until(lambda: f"{used} are not counted", there)

    async def create(name: str, count: int) -> None:
        body = claim(name)
        body["spec"]["devices"]["requests"][0]["exactly"]["count"] = count
        await client.create(CLAIMS, body, namespace=here)

    await counted("0")
    assert await about(client, "quotas", here) is None
    await create("nine", 9)
    await counted("9")
    await expect(client, "quotas", f"ResourceQuota {here}/gpus: 9 of 10 devices of class {CLASS}", severity="Note")
    await create("ten", 1)
    await counted("10")
    await expect(client, "quotas", f"10 of 10 devices of class {CLASS} are used")


# --- neighbours ------------------------------------------------------------------------------------------------------


async def test_a_device_plugin_for_the_same_gpus(client: ApiClient) -> None:
    await client.create(NODES, {"metadata": {"name": "node-both"}})
    amounts = {"nvidia.com/gpu": "8"}
    await client.patch(
        NODES,
        ObjectKey("", "node-both"),
        {"status": {"allocatable": amounts, "capacity": amounts}},
        patch_type="merge",
        subresource="status",
    )
    try:
        assert await found(client, "device-plugin") == []
        await client.create(SLICES, slice_("both", node="node-both"))
        await expect(client, "device-plugin", "Node node-both: a device plugin offers nvidia.com/gpu there")
    finally:
        await client.delete(SLICES, ObjectKey("", "both"))
        await client.delete(NODES, ObjectKey("", "node-both"))


@pytest.mark.parametrize(
    ("check", "group", "kind", "words"),
    [
        ("kueue", "kueue.x-k8s.io", "ClusterQueue", "Kueue: it is installed"),
        ("autoscalers", "karpenter.sh", "NodePool", "Karpenter: it is installed"),
        ("nvidia", "nvidia.com", "ClusterPolicy", "NVIDIA GPU operator: it is installed"),
    ],
)
async def test_who_else_is_here(
    ward: ControlPlane, client: ApiClient, check: str, group: str, kind: str, words: str
) -> None:
    assert await found(client, check) == []
    one = definition(kind)
    plural = one["spec"]["names"]["plural"] = f"{kind.lower()}s"
    one["spec"]["group"], one["metadata"]["name"] = group, f"{plural}.{group}"
    await apply(ward, [one])

    async def there() -> bool:
        return await about(client, check, words) is not None

    await until(lambda: f"{kind} is not found", there)
    await expect(client, check, words, severity="Note")


async def test_other_programs(ward: ControlPlane, client: ApiClient) -> None:
    labels = {"app": "x"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cluster-autoscaler", "namespace": "kube-system"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "x", "image": "none"}]},
            },
        },
    }
    slice__ = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        **slice_("theirs", driver="gpu.nvidia.com"),
    }
    await apply(ward, [deployment, slice__])
    try:
        await expect(client, "autoscalers", "cluster-autoscaler: it is installed", severity="Note")
        await expect(client, "nvidia", "it publishes devices as gpu.nvidia.com", severity="Note")
    finally:
        await client.delete(SLICES, ObjectKey("", "theirs"))
        await asyncio.to_thread(ward.kubectl, "delete", "-n", "kube-system", "deployment", "cluster-autoscaler")


# --- claims and pods -------------------------------------------------------------------------------------------------


async def test_nobody_generates(client: ApiClient, here: str) -> None:
    await client.create(PODS, pod("waits", template="gpu"), namespace=here)
    assert await about(client, "generator", here, later=LATER) is None, "its template does not exist"
    await client.create(TEMPLATES, {"metadata": {"name": "gpu"}, "spec": {"spec": claim("x")["spec"]}}, namespace=here)
    assert await about(client, "generator", here) is None, "it is new"
    await expect(client, "generator", f"{here}/waits", later=LATER)


async def test_two_generate(client: ApiClient, here: str) -> None:
    made = await client.create(PODS, pod("one", template="gpu"), namespace=here)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "one", "uid": made.uid, "controller": True}
    for name in ("one-a", "one-b"):
        body = claim(name)
        body["metadata"] |= {
            "ownerReferences": [owner],
            "annotations": {"resource.kubernetes.io/pod-claim-name": "gpu"},
        }
        await client.create(CLAIMS, body, namespace=here)
    await expect(client, "two-generators", "1 pods have two claims for one entry, for example one-a, one-b")


async def test_pods_that_wait_for_nobody(client: ApiClient, here: str) -> None:
    made = await client.create(PODS, pod("waits", claim_name="x"), namespace=here)
    assert made.has_gate(GATE)
    assert await about(client, "stuck-gates", here) is None, "it is new"
    await expect(client, "stuck-gates", "no operator is alive", later=LATER)

    await lease(client, "x", renewed=time.time() + LATER)
    await expect(client, "stuck-gates", "the operator runs and has said nothing about them", later=LATER)
    await delete_lease(client)


async def test_claims_that_stay(client: ApiClient, here: str) -> None:
    body = claim("stays")
    body["metadata"]["finalizers"] = [DELETE_PROTECTION_FINALIZER]
    await client.create(CLAIMS, body, namespace=here)
    await client.delete(CLAIMS, ObjectKey(here, "stays"))
    assert await about(client, "stuck-claims", here) is None, "it has only just been deleted"
    await expect(client, "stuck-claims", f"{here}/stays", later=LATER)
    await client.patch(CLAIMS, ObjectKey(here, "stays"), {"metadata": {"finalizers": None}}, patch_type="merge")


async def test_claims_that_are_reserved_for_nobody(client: ApiClient, here: str) -> None:
    body = claim("held")
    await client.create(CLAIMS, body, namespace=here)
    await allocate(client, here, "held", "11111111-1111-4111-8111-111111111111")
    await expect(client, "reservations", f"{here}/held")


async def test_admin_access_with_and_without_the_label(client: ApiClient, here: str) -> None:
    key = ObjectKey("", here)
    await client.patch(NAMESPACES, key, {"metadata": {"labels": {ADMIN_ACCESS_LABEL: "true"}}}, patch_type="merge")

    async def created() -> bool:
        try:
            await client.create(CLAIMS, claim("looks", admin=True), namespace=here)
        except ApiError as error:
            return error.reason == "AlreadyExists"
        return True

    await until(lambda: "the label is not seen", created)
    await allocate(client, here, "looks", admin=True)
    await expect(client, "admin-grants", f"Namespace {here}: 1 claims look into devices", severity="Note")
    await client.patch(NAMESPACES, key, {"metadata": {"labels": {ADMIN_ACCESS_LABEL: None}}}, patch_type="merge")
    await expect(client, "admin-grants", f"Namespace {here}: it has lost the label")
