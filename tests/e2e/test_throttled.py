"""An API server that says to come later: no request comes sooner, and nothing is lost over it.

That nobody else asks for the same in that time either, and that the lease stays, is shown where time can be measured
(tests/unit/cluster/test_pace.py); here are all the requests that there are, and a real API server behind them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from dra_operator.cluster.kubeconfig import Credentials, find_credentials
from dra_operator.cluster.pace import Endpoint, endpoint_of
from dra_operator.sandbox.state import State
from tests.e2e.operators import launch
from tests.e2e.proxy import Proxy
from tests.e2e.replicas import Replica, leader
from tests.e2e.stage import Stage

FLAGS = ("--log-format=json", "--claims=generate", "--metrics-address=127.0.0.1:0", "--kube-api-qps=200")
LATER = 1
EVERY = 8
"""Of the requests to one endpoint, so many come through before one is turned away."""
PODS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request, told from others of its kind that may be under way beside it, also of whole lists: see `_what`."""

    what: tuple[str, ...]
    at: float


class Throttling(Proxy):
    """Turns away the first of the operator's requests to each endpoint, Kopf's too, and then each so-and-so-many-th."""

    def __init__(self, target: Credentials) -> None:
        super().__init__(target)
        self.arrivals: list[Arrival] = []
        self.refused: list[Arrival] = []
        self.verbs: Counter[str] = Counter()
        self._count: Counter[Endpoint] = Counter()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        endpoint = endpoint_of(request.method, request.path, watch="watch" in request.query)
        what = await _what(endpoint.verb, request)
        self.arrivals.append(Arrival(what, time.monotonic()))
        self._count[endpoint] += 1
        if self._count[endpoint] % EVERY != 1:
            return await super()._forward(request)
        self.verbs[endpoint.verb] += 1
        if endpoint.resource == "leases":
            self.verbs["leases"] += 1
        status = 503 if self.verbs[endpoint.verb] % 2 == 0 else 429
        self.refused.append(Arrival(what, time.monotonic()))
        return web.Response(status=status, text="come again later", headers={"Retry-After": str(LATER)})


async def _what(verb: str, request: web.Request) -> tuple[str, ...]:
    """Verb, path and object; of reads what is selected, and whether metadata alone is asked for.

    The operator never has two such requests under way at once, so one that comes after another was refused is its
    repetition, or was at least decided on later.
    """
    name = (await request.json())["metadata"]["name"] if request.method == "POST" else ""
    selected = (request.query.get(selector, "") for selector in ("fieldSelector", "labelSelector"))
    return (verb, request.path, name, request.headers.get("Accept", ""), *selected)


async def test_who_is_told_to_come_later_does_and_nothing_is_lost(bare: State, there: Stage, tmp_path: Path) -> None:
    await there.template()
    async with Throttling(find_credentials(bare.operator_kubeconfig)) as proxy:
        config = proxy.write_kubeconfig(tmp_path / "kubeconfig")
        one = Replica("one", launch(config, tmp_path / "log", FLAGS))
        try:
            await one.ready()
            await leader(there.client, [one])
            names = [f"p{index:02}" for index in range(PODS_AT_ONCE)]
            await asyncio.gather(*(there.pod(name, templates=("gpu",), run_for=0.1) for name in names))
            await asyncio.gather(*(there.succeeded(name, 120.0) for name in names))
            counted = await one.metrics()
        finally:
            await one.process.stop()
    assert {"list", "watch", "get", "create", "patch", "leases"} <= set(proxy.verbs)
    of_kopf = {(verb, f"/api/v1/{kind}") for verb in ("list", "watch") for kind in ("pods", "nodes", "namespaces")}
    assert of_kopf <= {refused.what[:2] for refused in proxy.refused}
    for refused in proxy.refused:
        again = [other.at for other in proxy.arrivals if other.what == refused.what and other.at > refused.at]
        assert all(at >= refused.at + LATER for at in again), (refused, again)
    assert 0 < counted["dra_operator_requests_throttled_total"] <= len(proxy.refused)
    assert counted["rest_client_rate_limiter_duration_seconds_count"] > len(proxy.refused)
