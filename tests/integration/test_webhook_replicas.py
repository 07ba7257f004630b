"""Replicas that answer admission: they come, go, are killed and restarted inside, and their certificates change; an API
server that asks all the while hears of none of it. And what happens when nobody answers."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509

from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, PODS, TEMPLATES, Kind
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import GATE
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.processes import Process
from dra_operator.sandbox.supervisor import wait_for_gate
from tests.controlplane import new_namespace
from tests.e2e.operators import launch
from tests.e2e.proxy import PartingProxy
from tests.e2e.stage import until
from tests.webhook import apply_webhook, free_port

pytestmark = pytest.mark.cluster

PATIENCE = 90.0
"""Seconds for programs that start, and for an authority that is replaced, on a machine that is busy."""
FLAGS = ("--log-format=json", "--claims=generate")
CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/dra-operator-gate"


@dataclass(slots=True)
class Site:
    """Where replicas answer: one address for all of them."""

    plane: ControlPlane
    api: ApiClient
    namespace: str
    port: int
    logs: Path
    replicas: list[Process] = field(default_factory=list)

    def launch(self, *flags: str, kubeconfig: Path | None = None) -> Process:
        """One more replica."""
        log = self.logs / f"{len(self.replicas)}.log"
        address = f"--webhook-address=127.0.0.1:{self.port}"
        replica = launch(kubeconfig or self.plane.kubeconfig("operator"), log, (*FLAGS, address, *flags))
        self.replicas.append(replica)
        return replica

    async def start(self, *flags: str, kubeconfig: Path | None = None) -> Process:
        """One more replica; returns when it answers."""
        replica = self.launch(*flags, kubeconfig=kubeconfig)
        await self.said(replica, "serving admission webhooks")
        return replica

    async def said(self, replica: Process, event: str) -> None:
        async def there() -> bool:
            replica.check()
            return bool(events(replica, event))

        what = f"{replica.log} does not say {event!r}"
        await until(lambda: f"{what}:\n{replica.log.read_text(errors='replace')[-2000:]}", there, PATIENCE)

    def empty_secret(self) -> None:
        patch = ("patch", "secret", "dra-operator-webhook", "--type=merge", '--patch={"data":null}')
        self.plane.kubectl("--namespace=dra-operator", *patch)

    async def admit(self, name: str = "asked", namespace: str = "", *, claims: bool = True) -> bool:
        """Whether a new pod is gated. Nothing is stored. Raises `ApiError` if it is refused."""
        harmless = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}  # some namespaces enforce it
        spec: dict[str, Any] = {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "main", "image": "none", "securityContext": harmless}],
        }
        if claims:
            spec["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "gpu"}]
        pod = {"metadata": {"name": name}, "spec": spec}
        return (await self.api.create(PODS, pod, namespace=namespace or self.namespace, dry_run=True)).has_gate(GATE)

    async def refusal(self, kind: Kind[Any], body: dict[str, Any], namespace: str = "") -> str | None:
        """Of a new object, which is not stored; None if it would be."""
        try:
            await self.api.create(kind, body, namespace=namespace, dry_run=True)
        except ApiError as error:
            return str(error)
        return None

    async def bundle(self) -> bytes:
        """What the API server trusts."""
        found = json.loads((await self.api.request("GET", CONFIGURATION)).body)
        return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))

    async def connect_anew(self) -> bytes:
        """What is served to a new connection of somebody who trusts what the API server does."""
        trust = ssl.create_default_context(cadata=(await self.bundle()).decode())
        _, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=trust, server_hostname="dra-operator-webhook.dra-operator.svc"
        )
        served: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return served

    async def ask_until(self, condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> int:
        """Ask again and again until the condition holds: every pod is gated, none refused. Returns how many."""
        asked = 0

        async def gated_and_over() -> bool:
            nonlocal asked
            assert await self.admit(), "a pod was not gated"
            asked += 1
            return await condition()

        await until(lambda: f"it did not happen while {asked} pods were admitted", gated_and_over, seconds)
        return asked


def events(replica: Process, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in replica.log.read_text(errors="replace").splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == event]


@pytest.fixture
async def site(without_policies: ControlPlane, tmp_path: Path) -> AsyncIterator[Site]:
    """Manifests applied, no certificates yet, nobody there to answer."""
    port = free_port()
    async with without_policies.client() as api, new_namespace(api, "webhook") as namespace:
        apply_webhook(without_policies, port)
        emptied = {"data": None}
        path = "/api/v1/namespaces/dra-operator/secrets/dra-operator-webhook"
        await api.request("PATCH", path, body=json.dumps(emptied).encode(), content_type="application/merge-patch+json")
        one = Site(without_policies, api, namespace, port, tmp_path)
        try:
            yield one
        finally:
            for replica in one.replicas:
                await replica.stop()


async def test_while_nobody_answers_only_pods_with_claims_of_others_are_refused(site: Site) -> None:
    """Then somebody does; and when his keys got out, an empty Secret is all it takes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.port))
        replica = site.launch()
        await site.said(replica, "the webhook's certificate is not kept")
        await site.said(replica, "leading")
        [line] = events(replica, "the webhook's certificate is not kept")
        assert "address already in use" in line["why"]

        with pytest.raises(ApiError, match=r"failed calling webhook \"gate\.dra-operator\.io\""):
            await site.admit()
        assert not await site.admit(claims=False)
        for system in ("kube-system", "dra-operator"):
            assert not await site.admit(namespace=system)

    await wait_for_gate(site.api)
    before = await site.connect_anew()
    site.empty_secret()

    async def anew() -> bool:
        try:
            return await site.connect_anew() != before
        except ssl.SSLError:  # between the Secret, the configuration and the server
            return False

    await until(lambda: "the certificate is the old one", anew)
    await wait_for_gate(site.api)


@asynccontextmanager
async def selectors_checked_by_nobody_else(site: Site) -> AsyncIterator[None]:
    """The validating webhook of clusters without the built-in API, which refuses what it cannot ask about."""
    configuration = "validatingwebhookconfiguration/dra-operator-selectors"
    apply_webhook(site.plane, site.port, ("webhook", "selectors-crd"))

    async def refused() -> bool:
        return await site.refusal(CLAIMS, SELECTS, site.namespace) is not None

    async def admitted() -> bool:
        return not await refused()

    try:
        await until(lambda: f"{configuration} is not in force", refused)
        yield
    finally:
        site.plane.kubectl("delete", configuration)
        await until(lambda: f"{configuration} is still in force", admitted)


SELECTOR: dict[str, Any] = {"selectors": [{"cel": {"expression": "device.driver == 'a'"}}]}
SELECTS: dict[str, Any] = {
    "metadata": {"name": "asked"},
    "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu", **SELECTOR}}]}},
}


async def test_while_nobody_answers_the_clusters_own_namespaces_are_not_locked_out_of_claims(site: Site) -> None:
    template = {"metadata": {"name": "asked"}, "spec": {"spec": SELECTS["spec"]}}
    name = f"openshift-{site.namespace}"
    stored = await site.api.create(CLASSES, {"metadata": {"generateName": "gpu-"}, "spec": SELECTOR})
    await site.api.create(NAMESPACES, {"metadata": {"name": name}})
    try:
        async with selectors_checked_by_nobody_else(site):
            for kind, body in ((CLAIMS, SELECTS), (TEMPLATES, template)):
                for system in ("kube-system", "dra-operator", name):
                    assert await site.refusal(kind, body, system) is None, system
                told = await site.refusal(kind, body, site.namespace)
                assert 'failed calling webhook "selectors.dra-operator.io"' in str(told)
            assert await site.refusal(CLASSES, {"metadata": {"name": "new"}, "spec": SELECTOR}) is not None
            labelled = {"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/hold"]}}
            await site.api.patch(CLASSES, stored.key, labelled, patch_type="merge")
            await site.api.patch(CLASSES, stored.key, {"metadata": {"finalizers": None}}, patch_type="merge")
            with pytest.raises(ApiError, match="failed calling webhook"):
                await site.api.patch(CLASSES, stored.key, {"spec": {"selectors": None}}, patch_type="merge")
    finally:
        await site.api.delete(CLASSES, stored.key)
        await site.api.delete(NAMESPACES, ObjectKey("", name))


async def test_replicas_begin_together_and_go_one_by_one_and_one_is_always_there(site: Site) -> None:
    replicas = await asyncio.gather(site.start(), site.start(), site.start())
    await wait_for_gate(site.api)
    changes = [line for replica in replicas for line in events(replica, "the webhook's certificates have changed")]
    assert len(changes) == 1, "one authority for all"
    assert len({await site.connect_anew() for _ in range(12)}) == 1, "all serve the same certificate"
    await until(lambda: "nobody leads", lambda: _leads(*replicas))
    [leader] = [one for one in replicas if events(one, "leading")]
    second, third = [one for one in replicas if one is not leader]

    leader.kill()
    assert await site.ask_until(lambda: _leads(second, third)) > 10

    ending = asyncio.create_task(second.stop())
    await site.ask_until(lambda: _done(ending))
    assert second.exit_code == 0
    assert await site.admit()


async def _leads(*replicas: Process) -> bool:
    return any(events(one, "leading") for one in replicas)


async def _done(task: asyncio.Task[None]) -> bool:
    return task.done()


async def test_authorities_are_replaced_and_no_pod_is_refused(site: Site) -> None:
    for _ in range(2):
        await site.start("--webhook-ca-lifetime=20")
    await wait_for_gate(site.api)
    [first] = x509.load_pem_x509_certificates(await site.bundle())
    most = 1
    served: set[bytes] = set()

    async def replaced() -> bool:
        nonlocal most
        served.add(await site.connect_anew())
        trusted = x509.load_pem_x509_certificates(await site.bundle())
        most = max(most, len(trusted))
        return len(trusted) == 1 and trusted[0] != first

    await site.ask_until(replaced)
    assert most == 2, "the next one was announced before it signed"
    assert len(served) >= 2


class EndingKopf(PartingProxy):
    """Ends each watch of nodes with an ERROR as soon as it is told to: that is the end of Kopf."""

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        self.armed = asyncio.Event()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/api/v1/nodes" or "watch" not in request.query or self.armed.is_set():
            return await super()._forward(request)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await self.armed.wait()
        status = {"kind": "Status", "apiVersion": "v1", "code": 500, "reason": "InternalError", "message": "made up"}
        await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
        return response


@asynccontextmanager
async def ending_kopf(site: Site) -> AsyncIterator[EndingKopf]:
    async with EndingKopf(find_credentials(str(site.plane.kubeconfig("operator")))) as proxy:
        yield proxy


async def test_no_mirror_has_to_be_synced_and_kopf_may_be_started_again_inside(site: Site) -> None:
    async with ending_kopf(site) as proxy:
        proxy.cut("/resourceslices")
        replica = await site.start(kubeconfig=proxy.write_kubeconfig(site.logs / "proxy.kubeconfig"))
        await wait_for_gate(site.api)
        assert await site.admit()
        assert not events(replica, "synced")
        proxy.heal()
        await site.said(replica, "synced")

        proxy.armed.set()

        async def ended() -> bool:
            return bool(events(replica, "kopf ended; starting it again"))

        await site.ask_until(ended)
        for _ in range(20):
            assert await site.admit()
        await replica.stop()
