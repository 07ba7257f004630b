"""A list is taken in with turns for others, who may do everything meanwhile but decide."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.resource import ResourceClaim
from dra_operator.controller.lists import Lists
from dra_operator.controller.mirrors import ClaimMirror, SliceMirror
from dra_operator.lifecycle.actions import CreateClaim, Ungate, WriteClaimStatus
from dra_operator.lifecycle.keys import ClaimRef, PodRef, Ref
from dra_operator.lifecycle.policy import ClaimsMode, Policy
from dra_operator.lifecycle.versions import version_of
from dra_operator.lifecycle.view import View
from tests.builders import claim, slice_of, template
from tests.unit.controller.desk import Desk, now, play
from tests.unit.lifecycle.scene import PROTECTED, gated, gpus, held, show
from tests.virtual_loop import run_virtual

FREE = claim(name="mine", finalizers=PROTECTED)


def without_finalizers(claim: ResourceClaim) -> ResourceClaim:
    return msgspec.structs.replace(claim, metadata=msgspec.structs.replace(claim.metadata, finalizers=None))


async def a_second() -> None:
    await asyncio.sleep(1.0)


def without_a_watch(desk: Desk) -> Pod:
    """A node with one GPU, and a gated pod that names the claim "mine"; what there is of claims a list has to show."""
    desk.watch_delay = 1e6
    desk.create(*gpus(), gated(claims=["mine"]))
    show(desk.view, *gpus(), desk.pod())
    return desk.pod()


def relisted(desk: Desk) -> asyncio.Task[None]:
    """All claims that there are now are listed, in order of their names. A second passes between two steps of that."""
    desk.engine.lists = Lists(turn_seconds=0.0, turn=a_second)
    mirror = ClaimMirror(desk.view, desk.engine.mark, desk.engine.lists)
    claims = sorted(desk.store.all(ResourceClaim), key=lambda one: one.key)
    return asyncio.create_task(mirror.replace(claims, str(max(version_of(one) for one in claims))))


@pytest.mark.parametrize(
    ("rivals", "lifted"), [([], True), ([held(claim(name="rival"))], False)], ids=["alone", "with a rival"]
)
def test_no_gate_is_lifted_for_a_device_that_another_claim_may_have_which_the_list_has_yet_to_show(
    rivals: list[ResourceClaim], *, lifted: bool
) -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(held(FREE, by=[without_a_watch(desk)]), *rivals)
        await relisted(desk)
        ended = now()
        await asyncio.sleep(10)
        assert all(call.begun >= ended for call in desk.sent)
        assert bool(desk.calls(Ungate)) == lifted

    play(scenario)


def test_the_answer_to_a_write_is_taken_in_while_a_list_is() -> None:
    async def scenario(desk: Desk) -> None:
        without_a_watch(desk)
        desk.create(FREE, claim(name="other"))
        show(desk.view, desk.claim("mine"))
        desk.latency = 1.5
        desk.sweep()
        await desk.until(lambda: bool(desk.engine.writes), "the allocation is being written")
        relist = relisted(desk)
        await desk.until(lambda: bool(desk.calls(WriteClaimStatus)), "the write is answered")
        await desk.until(lambda: desk.view.claim_catching_up(FREE.key), "the answer is known")
        assert not relist.done()
        await relist
        assert desk.view.claim_catching_up(FREE.key), "the list was made before the write"
        assert desk.view.ledger.is_assumed(desk.claim("mine").uid)

    play(scenario)


def test_what_was_assumed_for_a_claim_that_a_list_shows_given_back_already_is_free() -> None:
    """Allocated and given back while the watch was lost: nothing shows the claim as it was in between."""

    async def scenario(desk: Desk) -> None:
        pod = without_a_watch(desk)
        desk.create(FREE)
        show(desk.view, desk.claim("mine"))
        desk.sweep()
        await desk.until(lambda: desk.claim("mine").status.allocation is not None, "allocated")
        desk.store.delete(Pod, pod.key, now="2026-01-01T00:00:00Z", force=True)
        desk.engine.mark(desk.view.forget_pod(pod.uid, certain=True))
        await desk.until(lambda: desk.claim("mine").status.allocation is None, "given back")
        await relisted(desk)
        desk.create(claim(name="next", finalizers=PROTECTED), gated("next", claims=["next"]))
        show(desk.view, desk.claim("next"), desk.pod("next"))
        desk.sweep()
        await desk.until(lambda: desk.claim("next").status.allocation is not None, "the device is given to another")

    play(scenario)


def test_a_claim_that_was_gone_when_the_list_was_made_is_not_known_by_an_answer_that_comes_late() -> None:
    async def scenario(desk: Desk) -> None:
        without_a_watch(desk)
        desk.create(template(), gated("late", templates=["template"]), claim(name="other"))
        show(desk.view, template(), desk.pod("late"))
        desk.latency = 60.0
        desk.sweep()
        await desk.until(lambda: len(list(desk.store.all(ResourceClaim))) == 2, "created, and not answered", 99)
        made = next(one for one in desk.store.all(ResourceClaim) if one.metadata.name != "other")
        desk.store.modify(ResourceClaim, made.key, without_finalizers)
        desk.store.delete(ResourceClaim, made.key, now="2026-01-01T00:00:00Z", force=True)
        desk.create(claim(name="later"))
        await relisted(desk)
        assert not desk.calls(CreateClaim)
        await desk.until(lambda: bool(desk.calls(CreateClaim)), "the answer is here")
        await asyncio.sleep(0.1)
        assert desk.view.claim(made.key) is None

    play(scenario, policy=Policy(claims=ClaimsMode.GENERATE))


def test_what_many_claims_of_a_list_concern_is_marked_once_and_when_all_are_there() -> None:
    """A thousand pods wait for whatever comes free: that each of a thousand claims does must not count a million."""

    async def scenario() -> None:
        lists, marked = Lists(turn_seconds=0.0), list[Ref]()
        waiting = {PodRef(Uid(f"pod-{number}")) for number in range(1_000)}
        pieces = (waiting | {ClaimRef(ObjectKey("ns", f"claim-{number}"))} for number in range(1_000))

        def nothing_yet() -> Iterator[set[Ref]]:
            for piece in pieces:
                assert not marked
                yield piece

        await lists.take_in(nothing_yet(), marked.extend)
        assert len(marked) == 2_000
        assert set(marked) >= waiting

    run_virtual(scenario())


def test_nothing_is_decided_by_a_list_that_was_broken_off() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(held(FREE, by=[without_a_watch(desk)]), claim(name="other"))
        relist = relisted(desk)
        await desk.until(lambda: FREE.key in desk.view.claims, "some of the list is taken in")
        relist.cancel()
        await asyncio.sleep(100)
        assert (desk.sent, desk.looks) == ([], [])

    play(scenario)


def test_of_two_lists_the_later_end_counts() -> None:
    async def scenario() -> None:
        lists = Lists(turn_seconds=0.0, turn=a_second)
        short = asyncio.create_task(lists.take_in([()] * 2, lambda refs: None))
        long = asyncio.create_task(lists.take_in([()] * 5, lambda refs: None))
        await asyncio.sleep(0)
        await lists.ended()
        assert short.done()
        assert long.done()
        await lists.ended()

    run_virtual(scenario())


@pytest.mark.parametrize("kind", ["claims", "slices"])
def test_others_have_their_turn_every_few_milliseconds(kind: str) -> None:
    """Each piece takes one second here, and a turn is ten."""
    seconds, turns, view = itertools.count(), list[int](), View()

    async def turn() -> None:
        turns.append(len(view.claims) + sum(1 for _ in view.inventory.slices()))

    async def take_in() -> None:
        lists = Lists(clock=lambda: next(seconds), turn_seconds=10, turn=turn)
        if kind == "claims":
            claims = [claim(name=f"claim-{number}", version=1) for number in range(1_000)]
            await ClaimMirror(view, lambda refs: None, lists).replace(claims, "9")
        else:
            slices = [slice_of(name=f"slice-{number}", node=f"node-{number}") for number in range(1_000)]
            await SliceMirror(view, lambda refs: None, lists).replace(slices, "9")

    asyncio.run(take_in())
    assert turns[-1] >= 990
    assert max(later - earlier for earlier, later in pairwise(turns)) <= 10
