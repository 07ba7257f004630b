"""`--claims=auto` at work: beside another generator it makes no claim; without one it soon waits for nobody."""

from __future__ import annotations

import asyncio

from dra_operator.api.core import Pod
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import CreateClaim
from dra_operator.lifecycle.policy import ClaimsMode, Policy
from dra_operator.lifecycle.turns import KNOWN_PATIENCE, MISSES, SILENCE
from tests.builders import template
from tests.unit.controller.desk import Desk, now, play
from tests.unit.lifecycle.scene import gated, generated, gpus, made_by

AUTO = Policy(claims=ClaimsMode.AUTO)


async def seconds_to_run(desk: Desk, name: str) -> float:
    """From the pod's creation until it is ungated."""
    started = now()
    desk.create(gated(name, templates=["template"]))
    await desk.until(lambda: desk.ungated(name), f"{name} is ungated", 2 * KNOWN_PATIENCE)
    return now() - started


def generate(desk: Desk, pod: Pod) -> None:
    """What the other generator does for a pod."""
    name = f"{pod.metadata.name}-template-other"
    desk.create(made_by("kube-controller-manager", generated(pod, name=name, finalizers=())))


async def other_generator(desk: Desk) -> None:
    """Makes the claim of each pod that has none, a little later."""
    while True:
        await asyncio.sleep(0.3)
        owners = [claim.metadata.controller for claim in desk.store.all(ResourceClaim)]
        owned = {owner.uid for owner in owners if owner is not None}
        for pod in [pod for pod in desk.store.all(Pod) if pod.uid not in owned]:
            generate(desk, pod)


def test_without_another_generator_three_pods_wait_and_the_next_does_not() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(8), template())
        for number in range(MISSES):
            assert SILENCE < await seconds_to_run(desk, f"early-{number}") < SILENCE + 1
        assert await seconds_to_run(desk, "late") < 1

    play(scenario, policy=AUTO)


def test_pods_that_come_together_wait_together() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(8), template())
        waits = await asyncio.gather(*(seconds_to_run(desk, f"pod-{number}") for number in range(MISSES)))
        assert max(waits) < SILENCE + 1
        assert await seconds_to_run(desk, "late") < 1

    play(scenario, policy=AUTO)


def test_beside_another_generator_no_claim_is_made_and_nobody_waits_long() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(8), template())
        other = asyncio.create_task(other_generator(desk))
        try:
            for number in range(5):
                assert await seconds_to_run(desk, f"pod-{number}") < 1
        finally:
            other.cancel()
        assert desk.calls(CreateClaim) == []
        assert len(list(desk.store.all(ResourceClaim))) == 5

    play(scenario, policy=AUTO)


def test_a_generator_that_is_turned_on_later_is_found_and_one_that_is_turned_off_is_replaced() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(8), template())
        await asyncio.gather(*(seconds_to_run(desk, f"alone-{number}") for number in range(MISSES)))
        desk.create(gated("first", templates=["template"]))
        generate(desk, desk.pod("first"))  # it was faster once
        await desk.until(lambda: desk.ungated("first"), "first is ungated")
        other = asyncio.create_task(other_generator(desk))
        try:
            assert await seconds_to_run(desk, "beside") < 1
        finally:
            other.cancel()
        assert len(desk.calls(CreateClaim)) == MISSES
        assert KNOWN_PATIENCE < await seconds_to_run(desk, "left-alone") < KNOWN_PATIENCE + 1

    play(scenario, policy=AUTO)
