"""Released devices: when they are held back, for how long, and whom they serve then."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.codec import to_plain
from dra_operator.api.kinds import PODS
from dra_operator.api.meta import ManagedFieldsEntry
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.resource import ResourceSlice
from dra_operator.controller.mirrors import KopfMirror
from dra_operator.inventory.devices import DeviceId
from dra_operator.lifecycle.holdback import OWN_SECONDS
from dra_operator.lifecycle.view import View
from tests.builders import DRIVER, allocated, claim, node, pod, slice_of
from tests.unit.lifecycle.scene import show, view_of

HELD = 30.0
GPU = DeviceId(DRIVER, "node-a", "gpu-0")
RUNNING = pod("runner", claims=["training"], node_name="node-a")
ENDED = pod("runner", claims=["training"], node_name="node-a", phase="Succeeded")
WAITING = pod("waiter", claims=["training"])


def published_by(manager: str) -> ResourceSlice:
    slice_ = slice_of(gpus=1, node="node-a")
    entries = (ManagedFieldsEntry(manager=manager, operation="Update"),)
    return msgspec.structs.replace(slice_, metadata=msgspec.structs.replace(slice_.metadata, managed_fields=entries))


class Clock:
    now = 1000.0


def scene(slice_: ResourceSlice, seconds: float = HELD) -> tuple[View, Clock]:
    view, clock = view_of(node(), slice_, RUNNING, WAITING), Clock()
    view.held_back.seconds, view.held_back.now = seconds, lambda: clock.now
    return view, clock


def test_a_device_that_a_pod_ran_with_is_taken_for_a_while_after_its_release() -> None:
    view, clock = scene(published_by("another-driver"))
    show(view, allocated(claim(name="training"), "node-a/gpu-0", reserved_for=[RUNNING]))
    show(view, claim(name="training"))
    assert view.ledger.is_held(GPU)

    clock.now += HELD - 1
    assert view.expire_held_back() == set()
    assert view.ledger.is_held(GPU)
    clock.now += 1
    view.expire_held_back()
    assert not view.ledger.is_held(GPU)


def test_a_claim_that_is_deleted_with_its_pod_gone_releases_the_same_way() -> None:
    view, _ = scene(published_by("another-driver"))
    mine = allocated(claim(name="training"), "node-a/gpu-0", reserved_for=[RUNNING])
    show(view, mine)
    view.forget_pod(RUNNING.uid, certain=True)
    view.forget_claim(mine.key)

    assert view.ledger.is_held(GPU)


def test_a_device_of_our_own_agent_is_taken_until_the_agent_has_had_time_to_taint_it() -> None:
    view, clock = scene(published_by(FIELD_MANAGER))
    show(view, allocated(claim(name="training"), "node-a/gpu-0", reserved_for=[RUNNING]))
    view.forget_pod(RUNNING.uid, certain=True)
    show(view, claim(name="training"))
    assert view.ledger.is_held(GPU)

    clock.now += OWN_SECONDS
    view.expire_held_back()
    assert not view.ledger.is_held(GPU)


@pytest.mark.parametrize("order", ["the pod is there", "the pod is gone", "one event says both"])
def test_what_our_own_agent_has_unprepared_is_free_at_once(order: str) -> None:
    """The kubelet says that a pod ended after it has unprepared its claims."""
    view, _ = scene(published_by(FIELD_MANAGER))
    mine = allocated(claim(name="training"), "node-a/gpu-0", reserved_for=[RUNNING])
    show(view, mine)
    kopf = KopfMirror(view, lambda refs: None, lambda kind: None, lambda notice: None)
    ended = {**to_plain(ENDED), "metadata": {**to_plain(ENDED)["metadata"], "resourceVersion": "2"}}
    if order != "one event says both":
        kopf.take(PODS, "MODIFIED", ended)
    if order != "the pod is there":
        kopf.take(PODS, "DELETED", ended)
    show(view, claim(name="training"))

    assert not view.ledger.is_held(GPU)


def test_one_user_that_may_still_run_is_enough_to_hold_it() -> None:
    view, _ = scene(published_by(FIELD_MANAGER))
    other = pod("other", claims=["training"], node_name="node-a", phase="Succeeded")
    show(view, other)
    show(view, allocated(claim(name="training"), "node-a/gpu-0", reserved_for=[RUNNING, other]))
    show(view, claim(name="training"))

    assert view.ledger.is_held(GPU)


@pytest.mark.parametrize("reason", ["never bound", "switched off", "of our own agent, switched off"])
def test_otherwise_it_is_free_at_once(reason: str) -> None:
    view, _ = scene(
        published_by(FIELD_MANAGER if "own agent" in reason else "another-driver"),
        0.0 if "switched off" in reason else HELD,
    )
    user = WAITING if reason == "never bound" else RUNNING
    show(view, allocated(claim(name="training"), "node-a/gpu-0", reserved_for=[user]))
    show(view, claim(name="training"))

    assert not view.ledger.is_held(GPU)


def test_each_release_of_a_claim_is_held_back_for_its_own_time() -> None:
    first, second = GPU, DeviceId(DRIVER, "node-a", "gpu-1")
    view, clock = view_of(node(), slice_of(gpus=2, node="node-a"), RUNNING), Clock()
    view.held_back.seconds, view.held_back.now = HELD, lambda: clock.now
    for device in ("node-a/gpu-0", "node-a/gpu-1"):
        show(view, allocated(claim(name="training"), device, reserved_for=[RUNNING]))
        show(view, claim(name="training"))
        clock.now += 10

    assert view.ledger.is_held(first)
    assert view.ledger.is_held(second)
    clock.now += HELD - 20
    view.expire_held_back()
    assert not view.ledger.is_held(first)
    assert view.ledger.is_held(second)


def test_a_clock_that_was_set_back_does_not_hold_it_for_longer() -> None:
    view, clock = scene(published_by("another-driver"), HELD)
    show(view, allocated(claim(name="training"), "node-a/gpu-0", reserved_for=[RUNNING]))
    show(view, claim(name="training"))
    clock.now -= 3600
    view.expire_held_back()
    assert not view.ledger.is_held(GPU)
