"""Pods leave devices that are tainted NoExecute, where kube-controller-manager does not see to it.

Budgets: tests/unit/controller/test_evictor.py. The API server counts none for pods that do not run, as here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pytest

from dra_operator.agent.profiles import load_profile
from dra_operator.agent.publisher import Publisher
from dra_operator.agent.sources import NodeDevices
from dra_operator.api.kinds import CLAIMS, NODES, PODS, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import UNHEALTHY_TAINT
from dra_operator.api.resource import DeviceTaint
from dra_operator.cluster.http import ApiClient
from dra_operator.controller.evictor import PATIENCE_SECONDS, Evictor, TaintEviction
from dra_operator.controller.lists import Lists
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.view import View
from dra_operator.sandbox.controlplane import ControlPlane, Options
from tests.controlplane import new_namespace, running_control_plane

pytestmark = pytest.mark.cluster

NODE, DRIVER = "node-of-the-lost", "gpu.example.com"
LOST = DeviceTaint(key=UNHEALTHY_TAINT, value="gpu-lost", effect="NoExecute")


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """Without upstream's device-taint-eviction."""
    flags = ("--controllers=*,-resourceclaim-controller,-device-taint-eviction-controller",)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = running_control_plane(Options(controller_manager_flags=flags, scheduler=False))
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@dataclass(slots=True)
class Ground:
    admin: ApiClient
    operator: ApiClient
    namespace: str
    notices: list[Notice]
    time: float = 0.0

    async def use(self, name: str, device: str, seconds: int | None = None) -> None:
        """A pod on the node with a claim of that device."""
        key = ObjectKey(self.namespace, name)
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
        claim: dict[str, Any] = {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}
        await self.admin.create(CLAIMS, claim, namespace=self.namespace)
        container = {"name": "main", "image": "busybox", "resources": {"claims": [{"name": "gpu"}]}}
        spec = {
            "nodeName": NODE,
            "containers": [container],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": name}],
        }
        pod = await self.admin.create(PODS, {"metadata": {"name": name}, "spec": spec}, namespace=self.namespace)
        result: dict[str, Any] = {"request": "gpu", "driver": DRIVER, "pool": NODE, "device": device}
        if seconds is not None:
            result["tolerations"] = [
                {"key": UNHEALTHY_TAINT, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            ]
        users = [{"resource": "pods", "name": name, "uid": pod.uid}]
        status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": users}
        await self.admin.patch(CLAIMS, key, {"status": status}, patch_type="merge", subresource="status")

    async def view(self) -> View:
        view = View()
        for slice_ in (await self.admin.list_objects(SLICES))[0]:
            view.observe_slice(slice_)
        for pod in (await self.admin.list_objects(PODS, namespace=self.namespace))[0]:
            view.observe_pod(pod)
        for claim in (await self.admin.list_objects(CLAIMS, namespace=self.namespace))[0]:
            view.observe_claim(claim, live=False)
        return view

    def evictor(self, view: View, mode: TaintEviction) -> Evictor:
        return Evictor(view, self.operator, mode, lists=Lists(), now=lambda: self.time, record=self.notices.append)

    async def going(self) -> set[str]:
        pods, _ = await self.admin.list_objects(PODS, namespace=self.namespace)
        return {pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is not None}


@pytest.fixture
async def ground(plane: ControlPlane) -> AsyncIterator[Ground]:
    async with plane.client() as admin, plane.client("operator") as operator, new_namespace(admin, "lost") as namespace:
        node = await admin.create(NODES, {"metadata": {"name": NODE}})
        gpus = load_profile("l4").devices_of(NODE, 3)
        lost = [msgspec.structs.replace(device, taints=(LOST,)) for device in gpus.devices[:2]]
        publisher = Publisher(admin, node_name=NODE, node_uid=node.uid, driver=DRIVER)
        await publisher.publish(NodeDevices((*lost, gpus.devices[2])))
        (slice_,), _ = await admin.list_objects(SLICES)
        ((added, *_), *_) = [device.taints for device in slice_.spec.devices or () if device.taints]
        ground = Ground(admin, operator, namespace, [])
        ground.time = _seconds(added.time_added)
        await ground.use("on-a-lost-one", "gpu-0")
        await ground.use("that-tolerates-it-for-a-minute", "gpu-1", seconds=60)
        await ground.use("on-a-healthy-one", "gpu-2")
        yield ground
        await admin.delete(SLICES, slice_.key)
        await admin.delete(NODES, ObjectKey("", NODE))


def _seconds(time: str | None) -> float:
    assert time is not None
    return datetime.fromisoformat(time).timestamp()


async def test_pods_go_when_they_are_due_and_are_told_why(ground: Ground) -> None:
    evictor = ground.evictor(await ground.view(), TaintEviction.ON)
    await evictor.look()
    assert await ground.going() == {"on-a-lost-one"}
    (notice,) = ground.notices
    assert notice.message == f"evicted: a device that the pod uses has the taint {UNHEALTHY_TAINT} (gpu-lost)"

    ground.time += 59
    await ground.evictor(await ground.view(), TaintEviction.ON).look()
    assert await ground.going() == {"on-a-lost-one"}
    ground.time += 1
    await ground.evictor(await ground.view(), TaintEviction.ON).look()
    assert await ground.going() == {"on-a-lost-one", "that-tolerates-it-for-a-minute"}


async def test_auto_leaves_them_to_upstreams_controller_for_as_long_as_that_may_take(ground: Ground) -> None:
    evictor = ground.evictor(await ground.view(), TaintEviction.AUTO)
    await evictor.look()
    ground.time += PATIENCE_SECONDS - 0.1
    await evictor.look()
    assert await ground.going() == set()

    ground.time += 0.1
    await evictor.look()
    assert await ground.going() == {"on-a-lost-one"}
