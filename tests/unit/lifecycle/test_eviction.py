"""Who has to go from a tainted device, and when: as upstream's controller computes it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from dra_operator.api.resource import DeviceTaint, DeviceToleration, ResourceSlice
from dra_operator.inventory.devices import DeviceId
from dra_operator.lifecycle.eviction import Users, due_time, evictions
from dra_operator.lifecycle.view import View
from tests.builders import allocated, claim, node, pod, slice_of
from tests.unit.lifecycle.scene import show, view_of

ADDED = "2026-01-01T00:00:00Z"
EPOCH = 1_767_225_600.0
LOST = DeviceTaint(key="unhealthy", value="gpu-lost", effect="NoExecute", time_added=ADDED)
RUNNING = pod("runner", claims=["training"], node_name="node-a", phase="Running")


def tolerating(seconds: int | None = None, key: str = "unhealthy") -> DeviceToleration:
    return DeviceToleration(key=key, operator="Exists", toleration_seconds=seconds)


def with_taint(taint: DeviceTaint) -> ResourceSlice:
    slice_ = slice_of(gpus=2, node="node-a")
    first, *rest = slice_.spec.devices or ()
    devices = (msgspec.structs.replace(first, taints=(taint,)), *rest)
    return msgspec.structs.replace(slice_, spec=msgspec.structs.replace(slice_.spec, devices=devices))


def scene(taint: DeviceTaint = LOST, device: str = "node-a/gpu-0", runner: object = RUNNING) -> View:
    assert isinstance(runner, type(RUNNING))
    return view_of(node(), with_taint(taint), runner, allocated(claim(name="training"), device, reserved_for=[runner]))


@pytest.mark.parametrize(
    ("tolerations", "due"),
    [
        ([], EPOCH),
        ([tolerating(key="another")], EPOCH),
        ([tolerating()], None),
        ([tolerating(60)], EPOCH + 60),
        ([tolerating(60), tolerating(20), tolerating()], EPOCH + 20),
        ([tolerating(-5)], EPOCH),
    ],
)
def test_the_shortest_toleration_counts_from_when_the_taint_was_added(
    tolerations: Sequence[DeviceToleration], due: float | None
) -> None:
    assert due_time(LOST, tolerations, EPOCH) == due


def never(device: DeviceId, taint: DeviceTaint) -> float:
    raise AssertionError("the taint says since when")


@pytest.mark.parametrize("time", [None, "yesterday"])
def test_a_taint_without_a_time_counts_from_when_it_was_seen(time: str | None) -> None:
    (eviction,) = evictions(scene(msgspec.structs.replace(LOST, time_added=time)), Users(), lambda device, taint: 77.0)
    assert eviction.due == 77.0


def test_a_pod_that_uses_the_device_has_to_go() -> None:
    (eviction,) = evictions(scene(), Users(), never)
    assert (eviction.pod.uid, eviction.due, eviction.device.device) == (RUNNING.uid, EPOCH, "gpu-0")


@pytest.mark.parametrize(
    "view",
    [
        scene(msgspec.structs.replace(LOST, effect="NoSchedule")),
        scene(device="node-a/gpu-1"),
        scene(runner=pod("runner", claims=["training"], node_name="node-a", phase="Succeeded")),
        scene(runner=pod("runner", claims=["training"], node_name="node-a", deleted=True)),
    ],
    ids=["only NoSchedule", "another device", "has ended", "is going already"],
)
def test_others_stay(view: View) -> None:
    assert evictions(view, Users(), never) == []


def test_claims_are_gone_through_again_when_what_is_allocated_has_changed_and_only_then() -> None:
    view, users = scene(device="node-a/gpu-1"), Users()
    lost = frozenset({DeviceId("gpu.example.com", "node-a", "gpu-0")})
    assert evictions(view, users, never) == []
    nobody = users.of(lost, view)
    show(view, pod("another", version=7))
    assert users.of(lost, view) is nobody
    show(view, allocated(claim(name="training", version=8), "node-a/gpu-0", reserved_for=[RUNNING]))
    assert [eviction.pod.uid for eviction in evictions(view, users, never)] == [RUNNING.uid]
    view.forget_claim(claim(name="training").key)
    assert evictions(view, users, never) == []
