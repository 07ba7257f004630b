"""The engine's promises: one decision at a time, one write of an object at a time, no answer that matters is lost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from itertools import pairwise

import msgspec
import pytest
from structlog.testing import capture_logs

from dra_operator.api.core import Pod, PodStatus
from dra_operator.api.meta import Condition, ObjectKey
from dra_operator.api.names import DEVICES_ALLOCATED, GATE
from dra_operator.api.resource import DeviceToleration, ResourceClaim
from dra_operator.controller.answers import REFUSAL_RETRY
from dra_operator.controller.engine import LOOKS_PER_TURN
from dra_operator.controller.underway import MANY_SLOW, OF_A_FLOW, SLOW_SECONDS, WRITES_AT_ONCE
from dra_operator.lifecycle.actions import (
    Action,
    Conflict,
    CreateClaim,
    DeleteClaim,
    Later,
    PublishStatus,
    ReadClaim,
    ReadPod,
    Refused,
    SetFinalizers,
    Ungate,
    Unknown,
    WriteClaimStatus,
)
from dra_operator.lifecycle.keys import ClaimRef, PodRef
from dra_operator.lifecycle.publish import timestamp
from tests.builders import claim, node, pod, request, template
from tests.unit.controller.desk import ANSWER_LOST, BROKEN, REQUEST_LOST, Call, Desk, Fate, now, play
from tests.unit.lifecycle.scene import NOW, PROTECTED, gated, generated, gpus, held, publishes, says, show

YEAR = 365 * 86400.0
QUOTA = Refused(403, "exceeded quota: claims")


def times(calls: list[Call]) -> list[float]:
    return [round(call.begun, 3) for call in calls]


def devices(desk: Desk) -> list[str]:
    """Every device that some claim has, as often as it is given."""
    return sorted(
        f"{result.pool}/{result.device}"
        for one in desk.store.all(ResourceClaim)
        if one.status.allocation is not None
        for result in one.status.allocation.devices.results or ()
    )


# --- the way of a pod ------------------------------------------------------------------------------------------------


def test_a_pod_with_a_template_takes_four_writes() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(), template(), gated(templates=["template"]))
        await desk.until(desk.ungated, "the pod is ungated")
        await asyncio.sleep(100)
        assert [type(call.action) for call in desk.sent] == [CreateClaim, WriteClaimStatus, PublishStatus, Ungate]

    play(scenario)


def test_a_users_claim_takes_one_more() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(), claim(name="mine"), gated(claims=["mine"]))
        await desk.until(lambda: bool(desk.calls(Ungate)), "the pod is ungated")
        assert [type(call.action) for call in desk.sent] == [SetFinalizers, WriteClaimStatus, PublishStatus, Ungate]

    play(scenario)


def test_no_pod_is_ungated_before_the_watch_confirms_its_allocation() -> None:
    async def scenario(desk: Desk) -> None:
        desk.watch_delay = 3.0
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(lambda: bool(desk.calls(Ungate)), "the pod is ungated")
        [write], [ungate] = desk.calls(WriteClaimStatus), desk.calls(Ungate)
        assert ungate.begun - write.ended > 2.0

    play(scenario)


def test_devices_come_back_when_pods_end_and_go_to_those_who_wait() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(), template(), gated("first", templates=["template"]))
        await desk.until(lambda: desk.ungated("first"), "the first is ungated")
        desk.create(gated("second", templates=["template"]))
        await desk.until(lambda: desk.reason("second") == "DevicesInUse", "the second waits")
        ended = PodStatus(phase="Succeeded")
        desk.store.modify(Pod, desk.pod("first").key, lambda one: msgspec.structs.replace(one, status=ended))
        await desk.until(lambda: desk.ungated("second"), "the second is ungated")
        assert [one.metadata.controller.name for one in desk.store.all(ResourceClaim) if one.metadata.controller] == [
            "second"
        ]

    play(scenario)


def test_pods_that_share_an_allocated_claim_are_reserved_in_one_write() -> None:
    names = [f"p{index}" for index in range(5)]

    async def scenario(desk: Desk) -> None:
        desk.create(
            *gpus(), claim(name="ours", finalizers=PROTECTED), *(gated(name, claims=["ours"]) for name in names)
        )
        await desk.until(lambda: desk.ungated(*names), "all pods are ungated")
        assert [len(call.action.reserved_for) for call in desk.calls(WriteClaimStatus)] == [1, 5]  # type: ignore[union-attr]

    play(scenario)


def test_a_pod_that_may_not_go_where_the_shared_claim_is_does_not_join_the_others() -> None:
    async def scenario(desk: Desk) -> None:
        lost = gated("lost", claims=["ours"])
        elsewhere = msgspec.structs.replace(lost.spec, node_selector={"zone": "elsewhere"})
        desk.create(*gpus(), claim(name="ours", finalizers=PROTECTED), msgspec.structs.replace(lost, spec=elsewhere))
        desk.create(*(gated(name, claims=["ours"]) for name in ("p1", "p2", "p3")))
        await desk.until(lambda: desk.ungated("p1", "p2", "p3"), "the others are ungated")
        users = {user.name for user in desk.claim("ours").status.reserved_for or ()}
        assert (users, desk.ungated("lost")) == ({"p1", "p2", "p3"}, False)

    play(scenario)


@pytest.mark.parametrize("fate", [Conflict("modified"), REQUEST_LOST, ANSWER_LOST])
def test_those_who_joined_a_write_that_failed_are_served_all_the_same(fate: Fate) -> None:
    names = [f"p{index}" for index in range(4)]

    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(), held(claim(name="ours", finalizers=PROTECTED), by=[]))
        desk.meets(WriteClaimStatus, fate, fate)
        desk.create(*(gated(name, claims=["ours"]) for name in names))
        await desk.until(lambda: desk.ungated(*names), "all pods are ungated")
        assert {user.name for user in desk.claim("ours").status.reserved_for or ()} == set(names)

    play(scenario)


def test_so_many_writes_are_under_way_and_no_more_and_the_oldest_pod_is_done_first() -> None:
    names = [f"p{index:02}" for index in range(3 * OF_A_FLOW)]

    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(len(names)), template())
        for age, name in enumerate(reversed(names)):
            young = gated(name, templates=["template"])
            created = msgspec.structs.replace(young.metadata, creation_timestamp=timestamp(NOW - age))
            desk.create(msgspec.structs.replace(young, metadata=created))
        await desk.until(lambda: len(desk.calls(Ungate)) == len(names), "all pods are ungated")
        for call in desk.sent:
            assert sum(other.begun <= call.begun < other.ended for other in desk.sent) <= OF_A_FLOW
        ended = {call.target.rpartition("/")[2]: call.ended for call in desk.calls(Ungate)}
        assert max(ended[name] for name in names[:8]) < min(ended[name] for name in names[-8:])

    play(scenario)


def crowd(desk: Desk, namespace: str, size: int = 3 * WRITES_AT_ONCE) -> None:
    """Pods of another namespace, each with a template claim that could be made."""
    desk.create(template(namespace=namespace))
    for index in range(size):
        desk.create(pod(f"c{index:03}", namespace, templates=["template"], gates=[GATE]))


def test_writes_of_one_namespace_that_hang_delay_no_other() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(4), template())
        desk.hung.add("stuck")
        crowd(desk, "stuck")
        await desk.until(lambda: desk.engine.writes_under_way == OF_A_FLOW, "its share is used up")
        started = now()
        desk.create(gated("mine", templates=["template"]))
        await desk.until(lambda: desk.ungated("mine"), "the other tenant's pod is ungated")
        assert now() - started < SLOW_SECONDS
        assert {call.target.partition("/")[0] for call in desk.sent} == {"default"}

    play(scenario)


def test_namespaces_that_hang_one_and_all_do_not_stop_decisions_either() -> None:
    """Many more writes than all the shares of a few namespaces, and nobody answers for as long as a request takes."""

    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(4), template())
        for index in range(2 * MANY_SLOW // OF_A_FLOW):
            desk.hung.add(f"stuck-{index}")
            crowd(desk, f"stuck-{index}", OF_A_FLOW)
        await desk.until(lambda: desk.engine.writes_under_way >= MANY_SLOW, "many writes hang")
        await asyncio.sleep(30)
        assert desk.engine.writes_under_way <= MANY_SLOW + WRITES_AT_ONCE
        desk.create(gated("mine", templates=["template"]))
        await desk.until(lambda: desk.ungated("mine"), "the pod is ungated", 5.0)
        assert {call.target.partition("/")[0] for call in desk.sent} == {"default"}

    play(scenario)


def test_releases_do_not_wait_for_pods_of_their_namespace_that_hang() -> None:
    async def scenario(desk: Desk) -> None:
        desk.hung.add("stuck")
        crowd(desk, "stuck", OF_A_FLOW + 8)
        await desk.until(lambda: desk.engine.writes_under_way == OF_A_FLOW, "its share is used up")
        left = held(claim(name="held", namespace="stuck", finalizers=PROTECTED), by=[pod("lost", "stuck")])
        desk.create(*gpus(), left)
        await desk.until(lambda: desk.engine.writes_under_way == OF_A_FLOW + 1, "the release is begun")

    play(scenario)


def test_what_waited_for_its_namespace_goes_on_when_writes_are_answered_again() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(OF_A_FLOW + 8))
        desk.hung.add("stuck")
        crowd(desk, "stuck", OF_A_FLOW + 8)
        await desk.until(lambda: desk.engine.writes_under_way == OF_A_FLOW, "its share is used up")
        desk.hung.clear()
        await desk.until(lambda: len(desk.calls(Ungate)) == OF_A_FLOW + 8, "all pods are ungated")
        assert desk.engine.writes_under_way == 0

    play(scenario)


# --- one write of an object at a time --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_writes_of_one_object_never_overlap(seed: int) -> None:
    names = [f"p{index}" for index in range(6)]

    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(4), template(), claim(name="shared"))
        desk.create(*(gated(name, claims=["shared"], templates=["template"]) for name in names))
        for _ in range(400):  # everything is looked at over and over, whatever is under way
            desk.sweep()
            await asyncio.sleep(0.005)
        spans: defaultdict[str, list[Call]] = defaultdict(list)
        for call in desk.sent:
            spans[call.target].append(call)
        for calls in spans.values():
            for one, next_ in pairwise(sorted(calls, key=lambda call: call.begun)):
                assert one.ended <= next_.begun
        assert len(spans["default/shared"]) > 3

    play(scenario, seed=seed)


def test_writes_of_different_objects_do_overlap() -> None:
    names = [f"p{index}" for index in range(10)]

    async def scenario(desk: Desk) -> None:
        desk.latency = 1.0
        desk.create(*gpus(10), template(), *(gated(name, templates=["template"]) for name in names))
        await desk.until(lambda: desk.ungated(*names), "all are ungated")
        assert now() < 6.0  # four writes each
        assert len(devices(desk)) == len(set(devices(desk))) == 10

    play(scenario)


def test_two_pods_that_want_one_device_are_decided_one_after_the_other() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(), claim(name="a", finalizers=PROTECTED), claim(name="b", finalizers=PROTECTED))
        desk.create(gated("one", claims=["a"]), gated("two", claims=["b"]))
        await desk.until(lambda: desk.ungated("one"), "the first is ungated")
        await desk.until(lambda: desk.reason("two") == "DevicesInUse", "the second waits")
        assert len(desk.calls(WriteClaimStatus)) == 1

    play(scenario)


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_write_that_took_effect_without_an_answer_is_found_by_reading_and_not_repeated() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, ANSWER_LOST)
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(desk.ungated, "the pod is ungated")
        assert len(desk.calls(ReadClaim)) == 1
        assert len(desk.calls(WriteClaimStatus)) == 1

    play(scenario)


def test_a_write_that_did_not_take_effect_is_found_by_reading_and_decided_anew() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, REQUEST_LOST)
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(desk.ungated, "the pod is ungated")
        assert len(desk.calls(ReadClaim)) == 1
        assert len(desk.calls(WriteClaimStatus)) == 2

    play(scenario)


@pytest.mark.parametrize("fate", [ANSWER_LOST, REQUEST_LOST], ids=["took effect", "did not"])
def test_while_it_is_not_known_nobody_else_is_given_the_device(fate: Fate) -> None:
    async def scenario(desk: Desk) -> None:
        desk.watch_delay = 30.0
        desk.create(*gpus(), claim(name="a", finalizers=PROTECTED), claim(name="b", finalizers=PROTECTED))
        desk.create(gated("one", claims=["a"]))
        desk.meets(WriteClaimStatus, fate)
        desk.meets(ReadClaim, *[REQUEST_LOST] * 4)
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "the write was sent")
        two = desk.store.create(gated("two", claims=["b"]))
        desk.engine.mark(desk.view.observe_pod(two))
        await desk.until(lambda: desk.reason("two") == "DevicesInUse", "the second waits", 1.0)
        assert {call.target for call in desk.calls(WriteClaimStatus)} == {"default/a"}
        await desk.until(lambda: desk.ungated("one"), "the first is ungated", 200.0)
        assert devices(desk) == ["node-a/gpu-0"]

    play(scenario)


def test_what_another_operator_wrote_is_not_taken_for_our_own_write_whose_answer_was_lost() -> None:
    """It has told the pod that the devices are taken back, and is about to do so: we must not say that it has them."""

    async def scenario(desk: Desk) -> None:
        desk.watch_delay = 30.0
        key = ObjectKey("default", "mine")
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), says(gated(claims=["mine"]), "NodeUnsuitable"))
        free, user = desk.claim("mine"), desk.pod()
        theirs = desk.store.modify(ResourceClaim, key, lambda one: held(one, by=[user]))
        assert theirs is not None
        desk.meets(WriteClaimStatus, ANSWER_LOST)
        show(desk.view, *gpus(), free, user)
        desk.engine.mark([PodRef(user.uid)])
        await desk.until(lambda: bool(desk.calls(ReadClaim)), "what became of it is asked")
        desk.engine.mark(desk.view.observe_claim(theirs, live=True))
        desk.store.modify(ResourceClaim, key, lambda one: msgspec.structs.replace(one, status=free.status))
        await desk.until(lambda: now() > 20.0, "a watch that is late")
        assert not desk.ungated()
        await desk.until(desk.ungated, "it is ungated with devices that it has")
        assert devices(desk) == ["node-a/gpu-0"]

    play(scenario, alone=False)


def test_it_is_read_ever_more_slowly_until_it_is_known() -> None:
    async def scenario(desk: Desk) -> None:
        desk.latency = 0.0
        desk.meets(WriteClaimStatus, ANSWER_LOST)
        desk.meets(ReadClaim, *[REQUEST_LOST] * 8)
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(lambda: len(desk.calls(ReadClaim)) == 9, "it was read until it was known", 100.0)
        reads = times(desk.calls(ReadClaim))
        gaps = [round(second - first, 3) for first, second in pairwise(reads)]
        assert gaps == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]

    play(scenario)


def test_a_published_claim_that_no_watch_shows_yet_is_read_and_used() -> None:
    """None is made beside it, however late the watch of claims is."""

    async def scenario(desk: Desk) -> None:
        desk.watch_delay = 30.0
        one = desk.store.create(publishes(gated(templates=["template"]), {"template": "theirs"}))
        desk.store.create(generated(one, name="theirs", uid=""))
        show(desk.view, *gpus(), template(), one)
        desk.sweep()
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "it is allocated")
        assert [call.target for call in desk.calls(ReadClaim)] == ["default/theirs"]
        assert [call.target for call in desk.calls(WriteClaimStatus)] == ["default/theirs"]
        assert desk.calls(CreateClaim) == []

    play(scenario)


def test_a_published_claim_that_is_gone_is_read_once() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(), template(), publishes(gated(templates=["template"]), {"template": "gone"}))
        await desk.until(desk.ungated, "the pod is ungated")
        assert [call.target for call in desk.calls(ReadClaim)] == ["default/gone"]
        assert len(desk.calls(CreateClaim)) == 1

    play(scenario)


def test_a_server_that_says_how_long_to_wait_is_heard() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, Later("too many requests", retry_after=7.0))
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(desk.ungated, "the pod is ungated")
        refused, again = desk.calls(WriteClaimStatus)[:2]
        assert again.begun - refused.ended >= 7.0
        assert desk.calls(ReadClaim) == [], "it is known that it did not take effect"

    play(scenario)


def test_but_nobody_waits_for_a_year() -> None:
    """A tenant's webhook may say what it likes."""

    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, Later("too many requests", retry_after=YEAR))
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(desk.ungated, "the pod is ungated")

    play(scenario)


def test_what_was_turned_away_holds_no_device() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, Later("too many requests", retry_after=20.0))
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "it was turned away")
        desk.create(claim(name="other", finalizers=PROTECTED), gated("two", claims=["other"]))
        await desk.until(lambda: desk.ungated("two"), "another has the device", seconds=5.0)

    play(scenario)


@pytest.mark.parametrize("outcome", [Later("too many requests", retry_after=20.0), Refused(403, "denied")])
def test_what_was_turned_away_holds_no_room_on_its_node(outcome: Fate) -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, outcome)
        small = [node(allocatable={"cpu": "4", "memory": "8Gi", "pods": "110"}), *gpus(2)[1:]]
        first, second = (pod(name, claims=[name], gates=[GATE], requests={"cpu": "3"}) for name in ("one", "two"))
        desk.create(*small, claim(name="one", finalizers=PROTECTED), first)
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "it was turned away")
        desk.create(claim(name="two", finalizers=PROTECTED), second)
        await desk.until(lambda: desk.ungated("two"), "another has the room", seconds=5.0)

    play(scenario)


def test_whether_it_took_effect_is_asked_at_once_whatever_time_was_named() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, Unknown("service unavailable", retry_after=YEAR))
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(lambda: bool(desk.calls(ReadClaim)), "the claim is read")
        assert desk.calls(ReadClaim)[0].begun - desk.calls(WriteClaimStatus)[0].ended < 1.0
        await desk.until(desk.ungated, "the pod is ungated")

    play(scenario)


def test_a_claim_that_is_gone_when_it_is_read_holds_nothing() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(WriteClaimStatus, REQUEST_LOST)
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "the write was sent")
        desk.store.modify(
            ResourceClaim,
            claim(name="mine").key,
            lambda one: msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, finalizers=None)),
        )
        desk.store.delete(ResourceClaim, claim(name="mine").key, now="2026-01-01T00:00:00Z")
        await desk.until(lambda: desk.reason() == "ClaimNotFound", "the pod is told")
        assert not desk.view.ledger.allocations()

    play(scenario)


@pytest.mark.parametrize("action", [CreateClaim, SetFinalizers, WriteClaimStatus, PublishStatus, Ungate])
@pytest.mark.parametrize(
    "fate",
    [REQUEST_LOST, ANSWER_LOST, BROKEN, Conflict("changed"), Refused(422, "invalid")],
    ids=["request lost", "answer lost", "broken", "conflict", "refused once"],
)
def test_whatever_becomes_of_a_write_the_pod_gets_there(action: type[CreateClaim], fate: Fate) -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(action, fate)
        desk.create(*gpus(2), template(), claim(name="mine"), gated(claims=["mine"], templates=["template"]))
        await desk.until(desk.ungated, "the pod is ungated")
        assert devices(desk) == ["node-a/gpu-0", "node-a/gpu-1"]
        assert len(list(desk.store.all(ResourceClaim))) == 2

    play(scenario)


def test_a_consumer_that_the_mirror_does_not_have_is_looked_up_before_its_claim_is_released() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(), held(claim(name="mine", finalizers=PROTECTED), by=[pod("lost")]))
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "the claim is released")
        assert desk.claim("mine").status.allocation is None
        [read], [release] = desk.calls(ReadPod), desk.calls(WriteClaimStatus)
        assert read.ended <= release.begun
        assert not desk.calls(DeleteClaim)

    play(scenario)


def without_tolerations(action: Action) -> Action:
    """As an API server takes it on which taints of devices are switched off."""
    if not isinstance(action, WriteClaimStatus) or action.allocation is None:
        return action
    allocation = action.allocation
    results = tuple(msgspec.structs.replace(one, tolerations=None) for one in allocation.devices.results or ())
    kept = msgspec.structs.replace(allocation.devices, results=results)
    return dataclasses.replace(action, allocation=msgspec.structs.replace(allocation, devices=kept))


@pytest.mark.parametrize("fate", ["", ANSWER_LOST], ids=["answered", "answer lost"])
@pytest.mark.parametrize("delay", [0.001, 3.0], ids=["watch first", "answer first"])
def test_a_field_that_the_api_server_drops_is_warned_of_once_and_holds_up_no_pod(delay: float, fate: Fate) -> None:
    async def scenario(desk: Desk) -> None:
        desk.keeps, desk.watch_delay = without_tolerations, delay
        desk.meets(WriteClaimStatus, fate)
        tolerant = request(tolerations=(DeviceToleration(key="worn", operator="Exists"),))
        names = ["first", "second"]
        desk.create(*gpus(2), *(claim(tolerant, name=name, finalizers=PROTECTED) for name in names))
        desk.create(*(gated(name, claims=[name]) for name in names))
        with capture_logs() as told:
            await desk.until(lambda: desk.ungated(*names), "the pods are ungated")
        assert [one["field"] for one in told if "field" in one] == ["devices.results.tolerations"]
        assert len(desk.calls(WriteClaimStatus)) == 2
        assert devices(desk) == ["node-a/gpu-0", "node-a/gpu-1"]

    play(scenario)


def test_a_failed_reservation_leaves_the_device_to_whom_another_write_gave_it() -> None:
    async def scenario(desk: Desk) -> None:
        desk.watch_delay = 5.0
        desk.create(*gpus(), claim(name="mine", finalizers=PROTECTED), claim(name="other", finalizers=PROTECTED))
        desk.create(gated("first", claims=["mine"]))
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "the device is given to the first pod's claim")

        desk.meets(WriteClaimStatus, Conflict("changed"))
        second, third = gated("second", claims=["mine"]), gated("third", claims=["other"])
        desk.create(second, third)
        desk.engine.mark(desk.view.observe_pod(second))
        await desk.until(lambda: len(desk.calls(WriteClaimStatus)) == 2, "the second pod's reservation fails")
        desk.engine.mark(desk.view.observe_pod(third))
        await asyncio.sleep(30)

        assert desk.reason("third") == "DevicesInUse"
        assert desk.claim("other").status.allocation is None
        assert not [call for call in desk.calls(WriteClaimStatus) if call.target.endswith("/other")]

    play(scenario)


# --- refused creations -----------------------------------------------------------------------------------------------


def test_a_refused_creation_is_told_with_the_api_servers_words() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(CreateClaim, QUOTA)
        desk.create(*gpus(), template(), gated(templates=["template"]))
        await desk.until(lambda: desk.reason() == "ClaimCreationRefused", "the pod is told", 1.0)
        condition = desk.pod().condition(DEVICES_ALLOCATED)
        assert condition is not None
        assert (condition.status, condition.message) == ("False", QUOTA.message)

    play(scenario)


def test_a_refused_creation_is_tried_again_and_succeeds_by_itself() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(CreateClaim, QUOTA, QUOTA)
        desk.create(*gpus(), template(), gated(templates=["template"]))
        await desk.until(desk.ungated, "the pod is ungated")
        assert [second - first >= REFUSAL_RETRY for first, second in pairwise(times(desk.calls(CreateClaim)))] == [
            True,
            True,
        ]
        assert [notice.reason for notice in desk.notices] == ["ClaimCreationRefused", "Allocated"]

    play(scenario)


def test_a_refused_creation_holds_up_nobody_else() -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(CreateClaim, QUOTA)
        desk.create(*gpus(), template(), gated("first", templates=["template"]))
        await desk.until(lambda: desk.reason("first") == "ClaimCreationRefused", "the first is told")
        desk.create(gated("second", templates=["template"]))
        await desk.until(lambda: desk.ungated("second"), "the second is ungated", 2.0)

    play(scenario)


# --- one that breaks a rule ------------------------------------------------------------------------------------------


def test_a_pod_that_cannot_be_looked_at_stops_nobody_and_is_tried_ever_more_slowly() -> None:
    broken = Condition(type=DEVICES_ALLOCATED, status="True", reason="Allocated", last_transition_time="yesterday")
    bad = msgspec.structs.replace(pod("bad", claims=["mine"]), status=PodStatus(conditions=(broken,)))

    async def scenario(desk: Desk) -> None:
        looks: list[float] = []
        reconcile = desk.view.pod
        desk.create(*gpus(), template(), claim(name="mine"), bad, gated("good", templates=["template"]))
        await desk.until(lambda: desk.ungated("good"), "the other is ungated")
        bad_uid = desk.pod("bad").uid
        desk.view.pod = lambda uid: (looks.append(now()) if uid == bad_uid else None, reconcile(uid))[1]  # type: ignore[func-returns-value,method-assign]
        await asyncio.sleep(100)
        assert 3 < len(looks) < 60

    play(scenario)


# --- who may write ---------------------------------------------------------------------------------------------------


def test_a_follower_writes_nothing_and_takes_over_where_the_leader_stopped() -> None:
    async def scenario(desk: Desk) -> None:
        desk.leads = False
        desk.create(*gpus(), template(), gated(templates=["template"]))
        await asyncio.sleep(100)
        assert desk.sent == []
        desk.leads = True
        desk.sweep()
        await desk.until(desk.ungated, "the pod is ungated")

    play(scenario)


def test_writes_on_their_way_are_waited_for() -> None:
    async def scenario(desk: Desk) -> None:
        desk.latency = 5.0
        desk.create(*gpus(), template(), gated(templates=["template"]))
        await desk.until(lambda: bool(desk.engine.writes), "a write is on its way")
        desk.leads = False
        await desk.engine.drain()
        assert [type(call.action) for call in desk.sent] == [CreateClaim]

    play(scenario)


# --- order and turns -------------------------------------------------------------------------------------------------


def test_claims_are_looked_at_before_pods() -> None:
    async def scenario(desk: Desk) -> None:
        waiting, free = PodRef(pod("waiting").uid), ClaimRef(claim().key)
        desk.engine.mark({waiting, free})
        await asyncio.sleep(0)
        assert [ref for _, ref in desk.looks] == [free, waiting]

    play(scenario)


def test_others_get_their_turn_between_looks() -> None:
    async def scenario(desk: Desk) -> None:
        desk.engine.mark({PodRef(pod(f"p{index}").uid) for index in range(10 * LOOKS_PER_TURN)})
        seen = []
        while len(desk.looks) < 10 * LOOKS_PER_TURN:
            await asyncio.sleep(0)
            seen.append(len(desk.looks))
        assert max(second - first for first, second in pairwise([0, *seen])) <= LOOKS_PER_TURN

    play(scenario)


# --- telling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [Conflict("changed"), REQUEST_LOST, ANSWER_LOST], ids=["conflict", "lost", "done"])
def test_a_reason_is_told_once_whatever_became_of_its_first_write(fate: Fate) -> None:
    async def scenario(desk: Desk) -> None:
        desk.meets(PublishStatus, fate)
        desk.create(*gpus(), gated(claims=["missing"]))
        await desk.until(lambda: desk.reason() == "ClaimNotFound", "the pod is told")
        await asyncio.sleep(300)
        assert [notice.reason for notice in desk.notices] == ["ClaimNotFound"]
        assert len(desk.calls(PublishStatus)) <= 2

    play(scenario)


# --- who waits -------------------------------------------------------------------------------------------------------


def test_a_device_that_is_given_back_is_looked_at_by_as_many_as_it_serves_and_one() -> None:
    async def scenario(desk: Desk) -> None:
        waiting = [f"pod-{number:02}" for number in range(40)]
        holder = pod("holder", claims=["held"], node_name="node-a", phase="Running")
        desk.create(*gpus(), holder, held(claim(name="held", finalizers=PROTECTED), by=[holder]), template())
        desk.create(*(gated(name, templates=["template"]) for name in waiting))
        await desk.until(lambda: all(desk.reason(name) == "DevicesInUse" for name in waiting), "all wait")
        await asyncio.sleep(1)

        desk.looks.clear()
        desk.store.delete(Pod, holder.key, now=timestamp(NOW + now()), force=True)
        await desk.until(lambda: sum(desk.ungated(name) for name in waiting) == 1, "one is served", seconds=20)
        await asyncio.sleep(1)

        served = {name for name in waiting if desk.ungated(name)}
        looked = {ref.uid for _, ref in desk.looks if isinstance(ref, PodRef)}
        assert len(looked & {desk.pod(name).uid for name in waiting}) <= len(served) + 1

    play(scenario)


def test_a_crowd_of_one_namespace_does_not_hold_up_a_pod_of_another() -> None:
    """By looks, which are what decisions cost: the pod is looked at as if the crowd were not there."""

    async def scenario(desk: Desk) -> None:
        crowd = [gated(f"crowd-{number:04}", claims=["nothing"]) for number in range(1_000)]
        other = pod("single", "elsewhere", claims=["nothing"], gates=[GATE])
        desk.engine.mark(ref for each in crowd for ref in desk.view.observe_pod(each))
        await asyncio.sleep(0)
        desk.engine.mark(desk.view.observe_pod(other))
        await desk.until(lambda: any(ref == PodRef(other.uid) for _, ref in desk.looks), "it is looked at")

        before = [ref for _, ref in desk.looks].index(PodRef(other.uid))
        assert before <= LOOKS_PER_TURN + 1

    play(scenario)
