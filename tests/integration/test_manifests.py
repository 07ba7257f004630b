"""manifests/base on a real API server: who is gated and who is not, and that the roles are enough and not more."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dra_operator.api.kinds import NAMESPACES, PODS
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import WEBHOOK_SERVICE
from dra_operator.api.rights import AGENT, CONTROLLER, CONTROLLER_OWN, WEBHOOK, WEBHOOK_OWN, Role
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.processes import wait_until

pytestmark = pytest.mark.cluster

BASE = Path(__file__).parents[2] / "manifests" / "base"
OURS = "dra-operator.io/allocation"
OPERATOR = "system:serviceaccount:dra-operator:dra-operator"
NODE_AGENT = "system:serviceaccount:dra-operator:dra-operator-agent"


@pytest.fixture(scope="module")
def base(control_plane: ControlPlane) -> ControlPlane:
    """A cluster to which an admin applied the base."""
    control_plane.kubectl("apply", "-k", str(BASE))
    return control_plane


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with control_plane.client() as client:
        yield client


@pytest.fixture
async def policed(base: ControlPlane, api: ApiClient) -> ApiClient:
    """A client of an API server that has noticed the policy: that takes it a moment."""
    async with asyncio.timeout(60):
        while await gates(api, "default") != [OURS]:
            await asyncio.sleep(0.05)
    return api


@pytest.fixture
async def namespace(policed: ApiClient) -> AsyncIterator[str]:
    name = f"gate-{uuid.uuid4().hex[:8]}"
    await policed.create(NAMESPACES, {"metadata": {"name": name}})
    yield name
    await policed.delete(NAMESPACES, ObjectKey("", name))


async def gates(api: ApiClient, namespace: str, **spec: Any) -> list[str]:
    """The gates of a pod with these fields, as the API server would store it."""
    nothing = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}  # for namespaces that enforce it
    harmless = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {"name": "main", "image": "busybox", "securityContext": nothing}
    claims = [{"name": "gpu", "resourceClaimName": "gpu"}]
    body = {"securityContext": harmless, "containers": [container], "resourceClaims": claims, **spec}
    pod = {"metadata": {"generateName": "pod-"}, "spec": body}
    stored = await api.create(PODS, pod, namespace=namespace, dry_run=True)
    return [gate.name for gate in stored.spec.scheduling_gates or ()]


async def may(api: ApiClient, who: str, verb: str, resource: str, *, name: str = "", namespace: str = "") -> bool:
    """What RBAC says to a request for `plural[.group][/subresource]`."""
    resource, _, subresource = resource.partition("/")
    plural, _, group = resource.partition(".")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
    spec = {"user": who, "resourceAttributes": {**attributes, "name": name, "namespace": namespace}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer = await api.request("POST", path, body=json.dumps({"spec": spec}).encode())
    return bool(json.loads(answer.body)["status"]["allowed"])


def test_applying_twice_changes_nothing(base: ControlPlane) -> None:
    lines = base.kubectl("apply", "-k", str(BASE)).stdout.splitlines()
    assert lines
    assert all(line.endswith("unchanged") for line in lines)


# --- the gate --------------------------------------------------------------------------------------------------------


async def test_a_pod_with_claims_is_gated(policed: ApiClient, namespace: str) -> None:
    assert await gates(policed, namespace) == [OURS]


async def test_a_pod_without_claims_is_not(policed: ApiClient, namespace: str) -> None:
    assert await gates(policed, namespace, resourceClaims=[]) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [OURS]),
        (["kueue.x-k8s.io/admission"], ["kueue.x-k8s.io/admission", OURS]),
        ([OURS], [OURS]),
        (["example.com/first", OURS, "example.com/last"], ["example.com/first", OURS, "example.com/last"]),
    ],
)
async def test_gates_of_others_stay_and_ours_comes_once(
    policed: ApiClient, namespace: str, before: list[str], after: list[str]
) -> None:
    assert await gates(policed, namespace, schedulingGates=[{"name": gate} for gate in before]) == after


async def test_a_pod_that_names_its_node_is_not_gated(policed: ApiClient, namespace: str) -> None:
    assert await gates(policed, namespace, nodeName="node-1") == []


async def test_a_pod_of_a_scheduling_group_is_not_gated(policed: ApiClient, namespace: str) -> None:
    assert await gates(policed, namespace, schedulingGroup={"podGroupName": "together"}) == []


@pytest.mark.parametrize("name", ["kube-system", "dra-operator"])
async def test_the_systems_own_namespaces_are_left_alone(policed: ApiClient, name: str) -> None:
    assert await gates(policed, name) == []


async def test_namespaces_of_openshift_are_left_alone(policed: ApiClient) -> None:
    name = f"openshift-{uuid.uuid4().hex[:8]}"
    await policed.create(NAMESPACES, {"metadata": {"name": name}})
    assert await gates(policed, name) == []
    await policed.delete(NAMESPACES, ObjectKey("", name))


async def test_a_namespace_that_is_labelled_so_is_left_alone(policed: ApiClient, namespace: str) -> None:
    labels = {"metadata": {"labels": {OURS: "disabled"}}}
    await policed.patch(NAMESPACES, ObjectKey("", namespace), labels, patch_type="merge")
    assert await gates(policed, namespace) == []


# --- priority and fairness -------------------------------------------------------------------------------------------


async def test_the_controllers_requests_are_not_queued_behind_those_of_others(base: ControlPlane) -> None:
    """The API server says by which schema it classified a request, and each schema names its level."""
    schemas = json.loads(base.kubectl("get", "flowschemas", "-o=json").stdout)["items"]
    levels = {one["metadata"]["uid"]: one["spec"]["priorityLevelConfiguration"]["name"] for one in schemas}
    lease = "/apis/coordination.k8s.io/v1/namespaces/dra-operator/leases"
    named = {"metadata": {"name": "dra-operator", "namespace": "dra-operator"}}
    claims = "/apis/resource.k8s.io/v1/resourceclaims"
    async with base.client("operator") as operator:
        renewal = await operator.request("POST", lease, params={"dryRun": "All"}, body=json.dumps(named).encode())
        answers = [renewal, *[await operator.request("GET", path) for path in ("/api/v1/pods", claims)]]
    found = [levels[answer.headers["X-Kubernetes-PF-FlowSchema-UID"]] for answer in answers]
    assert found == ["leader-election", "workload-high", "workload-high"]


# --- the roles -------------------------------------------------------------------------------------------------------


def granted(role: Role) -> list[tuple[str, str, str]]:
    """Each right as verb, `plural[.group][/subresource]`, name."""
    return [
        (verb, f"{plural}.{right.group}".rstrip(".") + ("/" + subresource if subresource else ""), name)
        for right in role.rights
        for plural, _, subresource in (resource.partition("/") for resource in right.resources)
        for verb in right.verbs
        for name in right.names or ("",)
    ]


@pytest.mark.parametrize("role", [CONTROLLER, CONTROLLER_OWN, AGENT], ids=lambda role: f"{role.namespace}{role.name}")
async def test_each_account_has_the_rights_that_the_program_says_it_needs(
    base: ControlPlane, api: ApiClient, role: Role
) -> None:
    who = f"system:serviceaccount:dra-operator:{role.account}"
    for verb, resource, name in granted(role):
        assert await may(api, who, verb, resource, name=name, namespace=role.namespace), (verb, resource, name)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("create", "pods"),
        ("delete", "pods"),
        ("update", "pods"),
        ("update", "resourceclaims.resource.k8s.io/status"),
        ("patch", "resourceclaims.resource.k8s.io/driver"),
        ("associated-node:patch", "resourceclaims.resource.k8s.io/driver"),
        ("arbitrary-node:patch", "resourceclaims.resource.k8s.io/driver"),
        ("patch", "devicetaintrules.resource.k8s.io"),
        ("patch", "nodes"),
        ("patch", "namespaces"),
        ("get", "secrets"),
        ("create", "resourceslices.resource.k8s.io"),
        ("create", "deviceclasses.resource.k8s.io"),
        ("create", "leases.coordination.k8s.io"),
        ("create", "mutatingadmissionpolicies.admissionregistration.k8s.io"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io"),
    ],
)
async def test_the_operator_may_not(base: ControlPlane, api: ApiClient, verb: str, resource: str) -> None:
    assert not await may(api, OPERATOR, verb, resource)


@pytest.fixture
async def webhook(base: ControlPlane, api: ApiClient) -> AsyncIterator[None]:
    """The rights of the component webhook-server for the length of a test, which begins when they are in force."""
    rbac = str(BASE.parent / "components" / "webhook-server" / "rbac.yaml")
    base.kubectl("apply", f"--filename={rbac}")

    async def in_force() -> bool:
        return await may(api, OPERATOR, "get", "secrets", name=WEBHOOK_SERVICE, namespace="dra-operator")

    await wait_until("the rights of the webhook", in_force, 30.0)
    yield
    base.kubectl("delete", f"--filename={rbac}")


@pytest.mark.usefixtures("webhook")
async def test_the_operator_reads_the_webhooks_secret_and_no_other(api: ApiClient) -> None:
    for role in (WEBHOOK, WEBHOOK_OWN):
        for verb, resource, name in granted(role):
            assert await may(api, OPERATOR, verb, resource, name=name, namespace=role.namespace), (verb, resource, name)
    for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
        assert not await may(api, OPERATOR, verb, "secrets", namespace="dra-operator")
        assert not await may(api, OPERATOR, verb, "secrets", name="another", namespace="dra-operator")
        assert not await may(api, OPERATOR, verb, "secrets", name=WEBHOOK_SERVICE, namespace="default")


async def test_the_lease_is_in_the_operators_own_namespace(base: ControlPlane, api: ApiClient) -> None:
    leases = "leases.coordination.k8s.io"
    assert await may(api, OPERATOR, "create", leases, namespace="dra-operator")
    assert await may(api, OPERATOR, "patch", leases, namespace="dra-operator", name="dra-operator")
    assert not await may(api, OPERATOR, "patch", leases, namespace="dra-operator", name="another")
    assert not await may(api, OPERATOR, "create", leases, namespace="default")


async def test_the_operator_may_look_for_its_policy_and_for_no_other(base: ControlPlane, api: ApiClient) -> None:
    for resource in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"):
        policies = f"{resource}.admissionregistration.k8s.io"
        assert await may(api, OPERATOR, "get", policies, name="dra-operator-gate")
        assert not await may(api, OPERATOR, "get", policies, name="another")


@pytest.mark.parametrize(
    ("verb", "resource"),
    [("list", "nodes"), ("patch", "nodes"), ("list", "pods"), ("patch", "resourceclaims.resource.k8s.io/status")],
)
async def test_the_agent_may_nothing_else(base: ControlPlane, api: ApiClient, verb: str, resource: str) -> None:
    assert await may(api, NODE_AGENT, "get", "nodes", name="node-1")
    assert not await may(api, NODE_AGENT, verb, resource)
