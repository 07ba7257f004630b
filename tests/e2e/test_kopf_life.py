"""What Kopf does not do by itself: it ends on a watch that is refused, and is started again in place, while all that is
not Kopf lives on; and what is deleted while its watch is away, a census finds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import web

from dra_operator.cluster.census import FEW
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.kubeconfig import Credentials, connect, find_credentials
from dra_operator.sandbox.state import State
from tests.e2e.operators import launch, leading
from tests.e2e.proxy import Proxy
from tests.e2e.stage import Stage, until

_LEASE = "/apis/coordination.k8s.io/v1/namespaces/dra-operator/leases/dra-operator"
_FLAGS = ("--log-format=json", "--claims=generate")


class RefusingProxy(Proxy):
    """Between `refuse` and `relent` watches of Nodes are answered with 410 (an event in the stream is usual)."""

    def __init__(self, target: Credentials) -> None:
        super().__init__(target)
        self._refusing = False
        self._watches: list[asyncio.Transport] = []

    def refuse(self) -> None:
        self._refusing = True
        for transport in self._watches:
            transport.abort()

    def relent(self) -> None:
        self._refusing = False

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/api/v1/nodes" or "watch" not in request.query:
            return await super()._forward(request)
        if self._refusing:
            body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
            return web.json_response(body, status=410)
        assert request.transport is not None
        self._watches.append(request.transport)
        return await super()._forward(request)


async def test_lease_and_writes_outlive_kopf(bare: State, there: Stage, tmp_path: Path) -> None:
    await there.template()
    async with RefusingProxy(find_credentials(bare.operator_kubeconfig)) as proxy:
        operator = launch(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path / "log", _FLAGS)
        try:
            await leading(operator)
            proxy.refuse()

            async def ended() -> bool:
                return "kopf ended; starting it again" in operator.log.read_text()

            await until(lambda: f"Kopf does not end:\n{operator.log.read_text()[-2000:]}", ended)
            proxy.relent()
            renewed = await _renewed(there.client)

            async def renewed_again() -> bool:
                return await _renewed(there.client) > renewed

            await until(lambda: f"the lease is not renewed after {renewed}", renewed_again)
            await there.pod("afterwards", templates=("gpu",))
            await there.running("afterwards")
        finally:
            await operator.stop()


class Asked(Proxy):
    """Keeps which groups were asked what they have."""

    def __init__(self, target: Credentials) -> None:
        super().__init__(target)
        self.groups: set[str] = set()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if parts[0] == "apis" and len(parts) == 3:
            self.groups.add(parts[1])
        return await super()._forward(request)


_AWAY = "somebody.example"


async def test_the_server_of_another_group_may_be_away(bare: State, tmp_path: Path) -> None:
    """As metrics-server often is: what its group has Kopf must not want to know."""
    service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{_AWAY}"},
        "spec": {
            "group": _AWAY,
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "nobody"},
        },
    }
    services = "/apis/apiregistration.k8s.io/v1/apiservices"
    async with connect(bare.kubeconfig) as client, Asked(find_credentials(bare.operator_kubeconfig)) as proxy:
        await client.request("POST", services, body=json.dumps(service).encode())
        try:
            operator = launch(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path / "log", _FLAGS)
            try:
                await leading(operator)
            finally:
                await operator.stop()
        finally:
            await client.request("DELETE", f"{services}/v1.{_AWAY}")
    assert proxy.groups <= {"resource.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "events.k8s.io"}


class SilentProxy(Proxy):
    """Never answers a watch of Nodes; `asked` tells of the first."""

    def __init__(self, target: Credentials) -> None:
        super().__init__(target)
        self.asked = asyncio.Event()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1/nodes" and "watch" in request.query:
            self.asked.set()
            await asyncio.Event().wait()
        return await super()._forward(request)


async def test_it_stops_quietly_while_a_watch_is_not_answered(bare: State, tmp_path: Path) -> None:
    async with SilentProxy(find_credentials(bare.operator_kubeconfig)) as proxy:
        operator = launch(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path / "log", _FLAGS)
        try:
            await leading(operator)
            async with asyncio.timeout(30):
                await proxy.asked.wait()
        finally:
            await operator.stop()
        said = operator.log.read_text()
        assert "exception" not in said.lower(), said
        assert operator.exit_code == 0


class ExpiringProxy(Proxy):
    """From `park` on, watches of Pods by Kopf end and are not answered, until `expire` tells each of them 410."""

    def __init__(self, target: Credentials) -> None:
        super().__init__(target)
        self._open = asyncio.Event()
        self._open.set()
        self._watches: list[asyncio.Transport] = []
        self.parked = asyncio.Event()

    def park(self) -> None:
        self._open.clear()
        for transport in self._watches:
            transport.abort()

    def expire(self) -> None:
        self._open.set()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/api/v1/pods" or "watch" not in request.query:
            return await super()._forward(request)
        if self._open.is_set():
            assert request.transport is not None
            self._watches.append(request.transport)
            return await super()._forward(request)
        self.parked.set()
        await self._open.wait()
        expired = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
        line = json.dumps({"type": "ERROR", "object": expired}) + "\n"
        return web.Response(text=line, content_type="application/json")


async def test_what_vanished_while_a_watch_expired_is_found_soon(bare: State, there: Stage, tmp_path: Path) -> None:
    """Not by the count of all ten minutes, nor by that of few objects: of these pods there are too many for it."""
    await there.template()
    async with ExpiringProxy(find_credentials(bare.operator_kubeconfig)) as proxy:
        operator = launch(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path / "log", _FLAGS)
        try:
            await leading(operator)
            await asyncio.gather(*(there.pod(f"other-{index}") for index in range(FEW + 1)))
            await there.pod("vanishes", templates=("gpu",))
            await there.running("vanishes")
            proxy.park()
            async with asyncio.timeout(30):
                await proxy.parked.wait()
            await there.delete_pod("vanishes", force=True)
            await there.pod_gone("vanishes")
            proxy.expire()
            gone = f'"name": "{there.namespace}/vanishes"'

            async def found() -> bool:
                said = operator.log.read_text()
                return any("deletion found by census" in line and gone in line for line in said.splitlines())

            await until(lambda: f"no census finds it:\n{operator.log.read_text()[-2000:]}", found)
            await there.pod("afterwards", templates=("gpu",))
            await there.running("afterwards")
        finally:
            await operator.stop()


async def _renewed(client: ApiClient) -> str:
    """When the lease was renewed last: the text sorts as the time does."""
    answer = await client.request("GET", _LEASE)
    return str(json.loads(answer.body)["spec"]["renewTime"])
