"""The gate by webhook, on an API server that has no MutatingAdmissionPolicy: the same pods, the same gates.

One operator serves the module; tests that end or break one bring their own (test_webhook_replicas.py).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, PODS, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.processes import Process
from dra_operator.sandbox.supervisor import wait_for_gate
from tests.controlplane import new_namespace
from tests.e2e.operators import FLAGS, launch
from tests.e2e.stage import until
from tests.webhook import apply_webhook, free_port

pytestmark = pytest.mark.cluster

OURS = "dra-operator.io/allocation"


@dataclass(frozen=True, slots=True)
class Webhooked:
    plane: ControlPlane
    operator: Process
    port: int


@pytest.fixture(scope="module")
def webhooked(without_policies: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhooked]:
    """A control plane without policies, and one operator that answers."""
    log = tmp_path_factory.mktemp("webhook") / "operator.log"
    port = free_port()
    apply_webhook(without_policies, port)
    flags = (*FLAGS, f"--webhook-address=127.0.0.1:{port}")
    operator = launch(without_policies.kubeconfig("operator"), log, flags)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        try:
            runner.run(_gated(without_policies, operator))
            yield Webhooked(without_policies, operator, port)
        finally:
            runner.run(operator.stop())


async def _gated(plane: ControlPlane, operator: Process) -> None:
    async with plane.client() as client:
        await wait_for_gate(client)
    operator.check()


@pytest.fixture
async def api(webhooked: Webhooked) -> AsyncIterator[ApiClient]:
    async with webhooked.plane.client() as client:
        yield client


@pytest.fixture
async def place(api: ApiClient) -> AsyncIterator[str]:
    async with new_namespace(api, "webhook") as name:
        yield name


CLAIM = {"name": "gpu", "resourceClaimName": "gpu"}
PODS_TO_TRY: dict[str, dict[str, Any]] = {
    "a claim": {},
    "two claims": {"resourceClaims": [CLAIM, {"name": "more", "resourceClaimTemplateName": "gpu"}]},
    "no claims": {"resourceClaims": []},
    "no list of claims": {"resourceClaims": None},
    "a gate of another": {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]},
    "our gate": {"schedulingGates": [{"name": OURS}]},
    "our gate among others": {
        "schedulingGates": [{"name": "example.com/a"}, {"name": OURS}, {"name": "example.com/z"}]
    },
    "an empty list of gates": {"schedulingGates": []},
    "a node": {"nodeName": "node-1"},
    "an empty node": {"nodeName": ""},
    "a scheduling group": {"schedulingGroup": {"podGroupName": "together"}},
    "two variables of one name": {
        "containers": [
            {"name": "main", "image": "none", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}
        ]
    },
    "another scheduler": {"schedulerName": "mine"},
}
NAMESPACES_TO_TRY: dict[str, dict[str, str] | None] = {
    "kube-system": None,
    "dra-operator": None,
    "openshift-monitoring": {},
    "openshift": {},
    "disabled": {OURS: "disabled"},
    "enabled": {OURS: "enabled"},
}
"""Labels of those that have to be made."""


async def gates(client: ApiClient, namespace: str, spec: dict[str, Any]) -> list[str] | int:
    """The gates of a pod with these fields as the API server would store it, or the code of its refusal."""
    harmless = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    body = {
        "securityContext": harmless,
        "containers": [{"name": "main", "image": "none"}],
        "resourceClaims": [CLAIM],
        **spec,
    }
    body["containers"] = [{**one, "securityContext": security} for one in body["containers"]]
    given = {key: value for key, value in body.items() if value is not None}
    pod = {"metadata": {"generateName": "pod-"}, "spec": given}
    try:
        stored = await client.create(PODS, pod, namespace=namespace, dry_run=True)
    except ApiError as error:
        return error.status
    return [gate.name for gate in stored.spec.scheduling_gates or ()]


@pytest.mark.parametrize("what", PODS_TO_TRY)
async def test_policy_and_webhook_make_the_same_of_a_pod(
    admin: ApiClient, namespace: str, api: ApiClient, place: str, what: str
) -> None:
    spec = PODS_TO_TRY[what]

    assert await gates(api, place, spec) == await gates(admin, namespace, spec)


async def test_and_that_differs_from_pod_to_pod(api: ApiClient, place: str) -> None:
    """So that the comparison compares something."""
    found = {what: await gates(api, place, spec) for what, spec in PODS_TO_TRY.items()}

    assert found["a claim"] == [OURS]
    assert found["a gate of another"] == ["kueue.x-k8s.io/admission", OURS]
    assert found["our gate among others"] == ["example.com/a", OURS, "example.com/z"]
    assert found["no claims"] == found["a node"] == found["a scheduling group"] == []


@pytest.mark.parametrize("name", NAMESPACES_TO_TRY)
async def test_policy_and_webhook_leave_the_same_namespaces_alone(admin: ApiClient, api: ApiClient, name: str) -> None:
    labels = NAMESPACES_TO_TRY[name]
    for client in (admin, api):
        if labels is not None:
            await client.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    by_policy, by_webhook = await gates(admin, name, {}), await gates(api, name, {})
    for client in (admin, api):
        if labels is not None:
            await client.delete(NAMESPACES, ObjectKey("", name))

    assert by_webhook == by_policy == ([OURS] if name in ("enabled", "openshift") else [])


# --- what the operator says ------------------------------------------------------------------------------------------


async def test_auto_takes_the_webhook_where_there_are_no_policies(webhooked: Webhooked) -> None:
    async def said() -> bool:
        return '"by": "webhook", "event": "pods are gated"' in webhooked.operator.log.read_text()

    await until(lambda: webhooked.operator.log.read_text()[-2000:], said)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "gate", b"nonsense", 400),
        ("POST", "gate", b"\xff\xfe", 400),
        ("POST", "gate", b"[]", 400),
        ("POST", "gate", b"{}", 400),
        ("POST", "gate", b"[" * 100_000, 400),
        ("POST", "gate", b'{"request": {"resource": {"group": "apps", "version": "v1", "resource": "x"}}}', 400),
        ("POST", "other", b"{}", 404),
        ("GET", "gate", b"", 405),
    ],
)
async def test_a_request_that_is_no_review_is_refused_and_nothing_else_happens(
    webhooked: Webhooked, api: ApiClient, place: str, method: str, path: str, body: bytes, status: int
) -> None:
    """Whoever reaches the port can send anything."""
    url = f"https://127.0.0.1:{webhooked.port}/{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, data=body, ssl=False) as answer:
        assert answer.status == status

    assert await gates(api, place, {}) == [OURS]


# --- certificates ----------------------------------------------------------------------------------------------------


async def test_secret_and_configurations_agree_and_applying_again_takes_nothing_away(
    webhooked: Webhooked, api: ApiClient
) -> None:
    apply_webhook(webhooked.plane, webhooked.port)

    secret = json.loads((await api.request("GET", "/api/v1/namespaces/dra-operator/secrets/dra-operator-webhook")).body)
    root = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    found = {
        name: json.loads((await api.request("GET", f"{root}/{name}")).body)["webhooks"][0]["clientConfig"]["caBundle"]
        for name in ("dra-operator-gate", "dra-operator-selectors")
    }

    assert set(found.values()) == {secret["data"]["ca.crt"]}
    assert secret["metadata"]["labels"] == {"app.kubernetes.io/part-of": "dra-operator"}
    assert base64.b64decode(secret["data"]["ca.key"]).startswith(b"-----BEGIN PRIVATE KEY-----")


# --- expressions -----------------------------------------------------------------------------------------------------


def _of(kind: str, expression: str) -> dict[str, Any]:
    selectors = [{"cel": {"expression": expression}}]
    exactly = {"deviceClassName": "gpu", "selectors": selectors}
    spec: dict[str, Any] = {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}
    if kind == "ResourceClaimTemplate":
        spec = {"spec": spec}
    if kind == "DeviceClass":
        spec = {"selectors": selectors}
    return {"metadata": {"generateName": "try-"}, "spec": spec}


WHERE = {
    "DeviceClass": (CLASSES, "spec.selectors[0].cel.expression"),
    "ResourceClaim": (CLAIMS, "spec.devices.requests[0].exactly.selectors[0].cel.expression"),
    "ResourceClaimTemplate": (TEMPLATES, "spec.spec.devices.requests[0].exactly.selectors[0].cel.expression"),
}


@pytest.mark.parametrize("kind", WHERE)
async def test_a_selector_that_does_not_compile_is_refused_with_field_caret_and_cure(
    webhooked: Webhooked, api: ApiClient, place: str, kind: str
) -> None:
    resource, field = WHERE[kind]
    namespace = place if resource.namespaced else ""

    with pytest.raises(ApiError) as caught:
        await api.create(resource, _of(kind, "device.drivr == 'gpu'"), namespace=namespace, dry_run=True)

    message = str(caught.value)
    assert field in message
    assert " | device.drivr == 'gpu'\n | ......^" in message
    assert "hint: a device has driver, attributes" in message
    assert '"level": "error"' not in webhooked.operator.log.read_text(), "somebody's slip is no failure of ours"


@pytest.mark.parametrize("kind", WHERE)
async def test_a_selector_that_compiles_passes(api: ApiClient, place: str, kind: str) -> None:
    resource, _ = WHERE[kind]
    namespace = place if resource.namespaced else ""

    await api.create(resource, _of(kind, "device.driver == 'gpu'"), namespace=namespace, dry_run=True)
