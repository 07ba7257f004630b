"""The sandbox's kubelets call the plugins of their nodes over the sockets, and keep a real kubelet's books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dra_operator.agent.sources import NodeDevices
from dra_operator.api.codec import convert
from dra_operator.api.core import Pod
from dra_operator.api.resource import ResourceClaim
from dra_operator.sandbox.inventory import SimulatedNode
from dra_operator.sandbox.plugins import PluginRuntime
from dra_operator.sandbox.runtime import NotYetError
from tests.agent.bench import DRIVER, NODE, Bench, gpus, result
from tests.unit.cluster.apiserver import serving


class Stand:
    """A runtime of two nodes, and the folder of the first one's."""

    def __init__(self, runtime: PluginRuntime, cluster: Bench, root: Path) -> None:
        self.runtime = runtime
        self.cluster = cluster
        self.root = root

    def claim(self, name: str, *results: Any) -> ResourceClaim:
        return convert(self.cluster.claim(name, *results), ResourceClaim)

    def specs(self) -> list[str]:
        return sorted(path.name for path in (self.root / "0" / "cdi").glob("*"))


def pod(name: str, node: str = NODE) -> Pod:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-of-{name}"}
    return convert({"metadata": metadata, "spec": {"nodeName": node, "containers": []}}, Pod)


@pytest.fixture
async def stand(root: Path) -> AsyncIterator[Stand]:
    content = NodeDevices(tuple(gpus().values()))
    nodes = [SimulatedNode(name, DRIVER, content, {}) for name in (NODE, "node-b")]
    async with serving() as api, api.client() as client, PluginRuntime.of_own_plugins(client, nodes, root) as runtime:
        yield Stand(runtime, Bench(root, api), root)


async def test_a_nodes_plugin_starts_with_the_first_pod_that_needs_it(stand: Stand) -> None:
    await stand.runtime.prepare(pod("without"), [])
    assert not (stand.root / "0").exists()

    claim = stand.claim("one", "gpu-0")
    await stand.runtime.prepare(pod("with"), [claim])

    assert stand.specs() == [f"{DRIVER}-claim_{claim.uid}.json"]
    assert not (stand.root / "1").exists()


async def test_a_shared_claim_is_unprepared_when_the_last_of_its_pods_has_ended(stand: Stand) -> None:
    claim = stand.claim("one", "gpu-0")
    await asyncio.gather(*(stand.runtime.prepare(pod(name), [claim]) for name in ("a", "b")))

    await stand.runtime.unprepare(pod("a"), [claim])
    assert len(stand.specs()) == 1
    await stand.runtime.unprepare(pod("b"), [claim])
    assert stand.specs() == []


async def test_a_pod_that_ended_before_all_was_prepared_leaves_nothing(stand: Stand) -> None:
    good, taken = stand.claim("good", "gpu-0"), stand.claim("taken", "gpu-1")
    other = stand.claim("other", "gpu-1")
    await stand.runtime.prepare(pod("holder"), [taken])
    with pytest.raises(NotYetError, match="still prepared for another claim") as refused:
        await stand.runtime.prepare(pod("late"), [good, other])
    assert refused.value.again_in, "worth another try, whether or not a claim changes"

    await stand.runtime.unprepare(pod("late"), [])

    assert stand.specs() == [f"{DRIVER}-claim_{taken.uid}.json"]


async def test_a_driver_that_the_node_does_not_have(stand: Stand) -> None:
    claim = stand.claim("one", result("gpu-0", driver="other.example.com"))

    with pytest.raises(NotYetError, match=r"node node-a has no plugin of driver other\.example\.com"):
        await stand.runtime.prepare(pod("a"), [claim])
