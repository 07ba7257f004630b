"""A list is taken in with turns for others, who may do everything meanwhile but decide."""

from __future__ import annotations

import asyncio
import itertools
from itertools import pairwise

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.resource import ResourceClaim
from dra_operator.controller.lists import Lists
from dra_operator.controller.mirrors import ClaimMirror, SliceMirror
from dra_operator.lifecycle.actions import Ungate, WriteClaimStatus
from dra_operator.lifecycle.versions import version_of
from dra_operator.lifecycle.view import View
from tests.builders import claim, slice_of
from tests.unit.controller.desk import Desk, now, play
from tests.unit.lifecycle.scene import PROTECTED, gated, gpus, held, show
from tests.virtual_loop import run_virtual

FREE = claim(name="mine", finalizers=PROTECTED)


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
