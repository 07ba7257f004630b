"""More pods at once than devices: exactly as many run as there are devices, and the rest when those end.

None is lost, no device is given twice, and the operator stays what it is meanwhile: alive, the holder of its Lease,
with a queue that holds each object once. `make burst` does it with 5,000 pods. What it took is printed, and how often
the lease ran out: on a machine that has no time for its API server it may, and another could have taken it then.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.cluster.reflector import Reflector
from dra_operator.sandbox.controlplane import Options
from dra_operator.sandbox.inventory import NodeGroup, expand
from dra_operator.sandbox.nodes import Nodes
from tests.controlplane import running_control_plane
from tests.e2e.operators import launch
from tests.e2e.replicas import Replica, leader, lease_spec
from tests.e2e.stage import Stage, devices_of, new_stage, until
from tests.e2e.suite.doubles import Doubles
from tests.perf.cluster_load import peak_megabytes

PODS_AT_ONCE: Final = int(os.environ.get("BURST_PODS", "200"))
NODES: Final = PODS_AT_ONCE // 10
DEVICES: Final = 8 * NODES
SECONDS: Final = 120.0 + PODS_AT_ONCE / 5
FLAGS: Final = ("--log-format=json", "--claims=generate", "--metrics-address=127.0.0.1:0")
OPTIONS: Final = Options(controller_manager_flags=("--controllers=-node-lifecycle-controller",))
"""Hundreds of nodes send their heartbeats from this process, on a busy machine too late: none is tainted for it."""
_CREATORS: Final = 32


@asynccontextmanager
async def cluster(log: Path) -> AsyncIterator[tuple[Stage, Replica]]:
    """Nodes, their kubelets, and one operator that leads."""
    async with running_control_plane(OPTIONS) as plane, plane.client() as client:
        nodes = Nodes(client, expand([NodeGroup(name="gpu", count=NODES, profile="l4", gpus=8)]))
        await nodes.register()
        kubelets = asyncio.create_task(nodes.run())
        operator = Replica("operator", launch(plane.kubeconfig("operator"), log, FLAGS))
        try:
            await operator.ready()
            await leader(client, [operator])
            yield await new_stage(client), operator
        finally:
            await operator.process.stop()
            kubelets.cancel()
            await asyncio.gather(kubelets, return_exceptions=True)


class Watcher:
    """What the operator says of itself all the while."""

    def __init__(self, operator: Replica) -> None:
        self._operator = operator
        self.probes: Counter[int] = Counter()
        self.depth = 0.0
        self.waiting = 0.0
        self.requests = 0.0

    async def run(self) -> None:
        while True:
            self.probes[await self._operator.probe("healthz")] += 1
            said = await self._operator.metrics()
            self.depth = max(self.depth, said["workqueue_depth"])
            self.waiting = max(self.waiting, said["dra_operator_requests_waiting"])
            self.requests = said["rest_client_requests_total"]
            await asyncio.sleep(0.2)


async def test_more_pods_at_once_than_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with cluster(tmp_path / "operator.log") as (there, operator):
        await there.template()
        before = await lease_spec(there.client)
        watcher, doubles = Watcher(operator), Doubles()
        tasks = [
            asyncio.create_task(watcher.run()),
            asyncio.create_task(Reflector(there.client, CLAIMS, doubles, rng=random.Random(0)).run()),
        ]
        names = [f"p{index:04}" for index in range(PODS_AT_ONCE)]
        started = time.monotonic()
        await _create(there, names)
        created = time.monotonic() - started
        running = await _run(there, DEVICES)
        seconds = time.monotonic() - started
        asked = watcher.requests
        assert len(running) == DEVICES
        waiting = sorted(set(names) - running)
        for name in waiting[:3]:
            await there.waits(name, "DevicesInUse")
        given = [device for claim in await there.claims() for device in devices_of(claim)]
        assert len(given) == len(set(given)) == DEVICES

        for name in sorted(running)[: PODS_AT_ONCE - DEVICES]:
            await there.delete_pod(name, force=True)
        assert (await _run(there, DEVICES)).issuperset(waiting)
        given = [device for claim in await there.claims() for device in devices_of(claim)]
        assert len(given) == len(set(given)) == DEVICES

        assert [task for task in tasks if task.done()] == []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        after = await lease_spec(there.client)
        peak = peak_megabytes(operator.process)
        with capsys.disabled():
            print(
                f"\n{PODS_AT_ONCE} pods created in {created:.1f} s; {DEVICES} of them run after {seconds:.1f} s, "
                f"{DEVICES / seconds:.1f} pods/s; the operator sent {asked / seconds:.0f} requests/s, had "
                f"{watcher.depth:.0f} in its queue and {watcher.waiting:.0f} requests waiting at most, "
                f"{peak:.0f} MB at its peak, and lost its lease {operator.said.count('the lease is lost')} times"
            )
        assert doubles.found == []
        assert doubles.given >= PODS_AT_ONCE
        assert set(watcher.probes) == {200}
        assert watcher.depth <= 2 * PODS_AT_ONCE, "the queue holds something twice: pods and their claims are all"
        assert [after[key] for key in ("holderIdentity", "leaseTransitions")] == [
            before[key] for key in ("holderIdentity", "leaseTransitions")
        ]


async def _create(there: Stage, names: Iterable[str]) -> None:
    """As fast as some clients can."""
    left = iter(names)

    async def creator() -> None:
        for name in left:
            await there.pod(name, templates=("gpu",))

    await asyncio.gather(*(creator() for _ in range(_CREATORS)))


async def _run(there: Stage, count: int) -> set[str]:
    """Wait until so many pods run; returns their names."""
    running: list[Pod] = []

    async def enough() -> bool:
        pods, _ = await there.client.list_objects(PODS, namespace=there.namespace)
        running[:] = [pod for pod in pods if pod.status.phase == "Running"]
        return len(running) >= count

    await until(lambda: f"{len(running)} pods run, not {count}", enough, SECONDS)
    return {pod.metadata.name for pod in running}
