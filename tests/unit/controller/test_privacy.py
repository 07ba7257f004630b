"""What a pod is told of the devices that others have: how many, never whose.

A tenant whose names all say "secret" has what another one wants. Whatever can be short is short in turn; all that the
operator then writes on the other's objects, conditions and Events, is searched for the names.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEVICES_ALLOCATED, GATE
from dra_operator.api.resource import DeviceRequest, DeviceRequestAllocationResult, ResourceSlice
from tests.builders import allocated, claim, device, device_class, node, pod, request, result, slice_of
from tests.unit.controller.desk import Desk, play
from tests.unit.lifecycle.scene import PROTECTED, gated

SECRET = "secret"
COUNTERS = {"gpu": {"slices": "6"}}
PARTS = [device(f"part-{index}", consumes={"gpu": {"slices": "4"}}) for index in range(2)]
SHARED = [device("gpu-0", capacity={"memory": "80Gi"}, shared=True)]
SHARE = "5ec2e75e-0000-4000-8000-000000000000"

Case = tuple[Sequence[ResourceSlice], DeviceRequest, Sequence[DeviceRequestAllocationResult | str]]

SHORT: dict[str, Case] = {
    "DevicesInUse": ([slice_of(gpus=2)], request(), ["node-a/gpu-0", "node-a/gpu-1"]),
    "CountersExhausted": (
        [slice_of(name="1", count=2, counters=COUNTERS), slice_of(PARTS, name="2", count=2)],
        request(),
        ["node-a/part-0"],
    ),
    "CapacityExhausted": (
        [slice_of(SHARED)],
        request(capacity={"memory": "60Gi"}),
        [result("node-a/gpu-0", share=SHARE, consumes={"memory": "40Gi"})],
    ),
}


@pytest.mark.parametrize("reason", SHORT)
def test_nothing_that_a_pod_is_told_names_another_tenant(reason: str) -> None:
    slices, asks, taken = SHORT[reason]
    theirs = pod(f"{SECRET}-pod", f"{SECRET}-team", claims=[f"{SECRET}-claim"], node_name="node-a", phase="Running")
    held = claim(name=f"{SECRET}-claim", namespace=f"{SECRET}-team", finalizers=PROTECTED)
    waiting = pod(f"{SECRET}-waits", f"{SECRET}-team", claims=[f"{SECRET}-other"], gates=[GATE])
    other = claim(asks, name=f"{SECRET}-other", namespace=f"{SECRET}-team", finalizers=PROTECTED)

    async def scenario(desk: Desk) -> None:
        def notes() -> list[str]:
            return [notice.message for notice in desk.notices if notice.key.namespace == "default"]

        desk.create(
            node(), device_class(), *slices, theirs, allocated(held, *taken, on="node-a", reserved_for=[theirs])
        )
        desk.create(waiting, other, claim(asks, name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(lambda: bool(desk.reason()), "the pod is told why it waits", seconds=600)
        assert desk.reason() == reason
        await desk.until(lambda: bool(notes()), "there is an Event", seconds=600)

        condition = desk.pod().condition(DEVICES_ALLOCATED)
        assert condition is not None
        told = [condition.message, *notes()]
        assert not [text for text in told if SECRET in text or SHARE in text or "team" in text]

        theirs_too = desk.store.get(Pod, ObjectKey(f"{SECRET}-team", f"{SECRET}-waits"))
        assert theirs_too is not None
        said = theirs_too.condition(DEVICES_ALLOCATED)
        assert said is not None
        assert "mine" not in said.message
        assert "default" not in said.message

    play(scenario)
