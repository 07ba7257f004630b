"""A large request is not overtaken for ever: after a while a node is kept for it."""

from __future__ import annotations

import msgspec

from dra_operator.allocation.outcome import Unschedulable
from dra_operator.allocation.place import Placement
from dra_operator.api.core import Pod
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.keys import PodRef
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.view import View
from tests.builders import claim, request, slice_of
from tests.unit.lifecycle.scene import NOW, PROTECTED, gated, gpus, held, look, says, show

POLICY = Policy(reserve_after=300)
LARGE = claim(request(count=2), name="large", finalizers=PROTECTED)
SMALL = claim(name="small", finalizers=PROTECTED)


def with_priority(of: Pod, priority: int) -> Pod:
    return msgspec.structs.replace(of, spec=msgspec.structs.replace(of.spec, priority=priority))


def scene(*, waited: float) -> tuple[View, Pod]:
    """Two nodes of two GPUs, each with one in use; a pod that wants two of one node was told to wait."""
    large = says(gated("large", claims=["large"]), "DevicesInUse", since=NOW - waited)
    view = View()
    show(view, *gpus(2, node="node-a"), *gpus(2, node="node-b"), LARGE, SMALL, large, gated("small", claims=["small"]))
    show(view, held(claim(name="a"), "node-a/gpu-0", on="node-a"), held(claim(name="b"), "node-b/gpu-0", on="node-b"))
    verdict = look(view, large, POLICY)
    view.note_waits(large.uid, verdict.group, verdict.reservation)
    return view, large


def test_a_pod_that_waits_for_a_short_time_keeps_nothing() -> None:
    view, _ = scene(waited=10)
    assert view.wakeups.reservation is None


def test_who_finds_devices_only_on_the_node_that_is_kept_is_not_told_that_there_are_none() -> None:
    view, _ = scene(waited=301)
    kept = view.wakeups.reservation
    assert kept is not None
    for slice_ in [one for one in view.inventory.slices() if one.spec.node_name != kept.node]:
        view.forget_slice(slice_.metadata.name)

    refused = Decider(view).place(gated("small", claims=["small"]), [SMALL])
    assert isinstance(refused, Unschedulable)
    assert refused.reason is Reason.DEVICES_IN_USE


def test_after_a_while_others_pass_a_node_over_until_it_is_served() -> None:
    view, large = scene(waited=301)
    decider, small = Decider(view), gated("small", claims=["small"])
    assert view.wakeups.reservation is not None
    kept = view.wakeups.reservation.node

    first = decider.place(small, [SMALL])
    assert isinstance(first, Placement)
    assert first.node != kept

    show(view, held(claim(name="c"), f"{first.node}/gpu-1", on=first.node))
    refused = decider.place(small, [SMALL])
    assert isinstance(refused, Unschedulable)
    assert "1 is kept for a pod that has waited longer" in refused.message
    assert refused.reason is Reason.DEVICES_IN_USE

    view.forget_claim(claim(name=kept[-1]).key)
    served = decider.place(large, [LARGE])
    assert isinstance(served, Placement)
    assert served.node == kept


def test_what_was_kept_is_free_again_when_the_pod_is_served_or_gone() -> None:
    for end in (View.note_served, lambda view, uid: view.forget_pod(uid, certain=True)):
        view, large = scene(waited=301)
        end(view, large.uid)
        assert view.wakeups.reservation is None
        assert isinstance(Decider(view).place(gated("small", claims=["small"]), [SMALL]), Placement)


def test_a_pod_of_higher_priority_may_have_what_is_kept() -> None:
    view, _ = scene(waited=301)
    assert view.wakeups.reservation is not None
    urgent = gated("urgent", claims=["small"])
    assert view.wakeups.reservation.keeps_out(urgent)
    assert not view.wakeups.reservation.keeps_out(with_priority(urgent, 1))


def test_nothing_is_kept_for_what_no_node_could_ever_have() -> None:
    view = View()
    huge = claim(request(count=9), name="large", finalizers=PROTECTED)
    asks = says(gated("large", claims=["large"]), "NoMatchingDevice", since=NOW - 1_000)
    show(view, *gpus(2), huge, asks)
    assert look(view, asks, POLICY).reservation is None


def test_a_pod_whose_turn_is_before_takes_the_place() -> None:
    view, large = scene(waited=301)
    first = view.wakeups.reservation
    assert first is not None
    older = with_priority(says(gated("older", claims=["large"]), "DevicesInUse", since=NOW - 400), 1)
    show(view, older)
    verdict = look(view, older, POLICY)
    view.note_waits(older.uid, verdict.group, verdict.reservation)
    assert view.wakeups.reservation is not None
    assert view.wakeups.reservation.uid == older.uid
    assert look(view, large, POLICY).reservation is None


def test_a_node_that_can_serve_the_pod_no_more_is_given_up() -> None:
    view, large = scene(waited=301)
    assert view.wakeups.reservation is not None
    for node in ("node-a", "node-b"):
        show(view, slice_of(gpus=1, node=node))  # one of the two GPUs has vanished
    verdict = look(view, large, POLICY)
    view.note_waits(large.uid, verdict.group, verdict.reservation)
    assert view.wakeups.reservation is None


def test_a_pod_that_lost_its_claim_keeps_nothing() -> None:
    view, large = scene(waited=301)
    view.forget_claim(LARGE.key)
    verdict = look(view, large, POLICY)
    assert verdict.reason == "ClaimNotFound"
    view.note_waits(large.uid, verdict.group, verdict.reservation, no_device_helps=verdict.no_device_helps)
    assert view.wakeups.reservation is None


def test_who_takes_no_device_may_go_to_a_kept_node() -> None:
    view, _ = scene(waited=301)
    assert view.wakeups.reservation is not None
    kept = view.wakeups.reservation.node
    shared = held(claim(name="shared"), f"{kept}/gpu-1", on=kept)
    joins = gated("joins", claims=["shared"])
    show(view, shared, joins)
    placed = Decider(view).place(joins, [shared])
    assert isinstance(placed, Placement)
    assert placed.node == kept


def test_whom_a_node_is_kept_for_hears_of_everything_on_it() -> None:
    view, large = scene(waited=301)
    assert view.wakeups.reservation is not None
    assert PodRef(large.uid) in view.freed((view.wakeups.reservation.node,))
