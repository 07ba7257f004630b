"""Kopf ends on a watch that is refused, and is started again in place: all that is not Kopf lives on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import web

from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.kubeconfig import Credentials, find_credentials
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


async def _renewed(client: ApiClient) -> str:
    """When the lease was renewed last: the text sorts as the time does."""
    answer = await client.request("GET", _LEASE)
    return str(json.loads(answer.body)["spec"]["renewTime"])
