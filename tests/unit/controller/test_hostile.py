"""Selectors made to hold up the operator: they hold up their own pod, and nothing that shares its event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from dra_operator.allocation.asking import TakesLong, ask, spending
from dra_operator.allocation.search import STEPS_PER_TURN
from dra_operator.allocation.taking import Taken, Taking
from dra_operator.api.core import Pod
from dra_operator.api.meta import Object, Uid
from dra_operator.cel.selector import compile_selector
from dra_operator.controller.engine import SELECTOR_STEPS, STEPS_IN_ONE_GO
from dra_operator.inventory.devices import Device
from dra_operator.lifecycle.actions import Action
from dra_operator.lifecycle.decide import Decider, Decision
from dra_operator.lifecycle.keys import PodRef
from tests.builders import claim, device, device_class, distinct_attribute, node, request, slice_of, template
from tests.unit.controller.desk import Desk, play
from tests.unit.lifecycle.scene import PROTECTED, gated, gpus, held, show
from tests.virtual_loop import run_virtual

TEN = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"


def loops(depth: int, inner: str) -> str:
    """`inner`, ten to the power of `depth` times."""
    return "".join(f"{TEN}.all({name}, " for name in "abcdefgh"[:depth]) + inner + ")" * depth


SLOW = loops(4, "quantity('1Gi').add(quantity('1Mi')).isGreaterThan(quantity('3'))")
"""Some 80,000 steps; the API server stores it."""
SLOWER = loops(5, "device.driver != 'x'")
ENDLESS = loops(6, "true")
"""Spends the whole budget of an evaluation."""
FAILS = loops(4, "device.attributes['example.com'].missing == 'x'")
LONG = " && ".join(f"device.driver != 'x{number}'" for number in range(300))
"""Takes long to compile."""


def test_the_texts_are_what_they_say() -> None:
    [device] = devices(1)
    assert SELECTOR_STEPS / 2 < compile_selector(SLOW).measure(device.view)[1] < SELECTOR_STEPS
    assert compile_selector(SLOWER).measure(device.view)[1] > SELECTOR_STEPS
    assert all(compile_selector(text).estimated_cost <= 1_000_000 for text in (SLOW, SLOWER, FAILS, LONG))


def devices(count: int) -> list[Device]:
    slice_ = slice_of(gpus=count)
    return [Device(slice_, basic) for basic in slice_.spec.devices or ()]


def answered(expression: str, of: list[Device]) -> int:
    return sum(device.match(expression) is not None for device in of)


def test_an_allowance_ends_where_it_is_spent_and_what_was_answered_stays() -> None:
    of = devices(8)
    looks = 0
    while answered(SLOW, of) < len(of):
        before = answered(SLOW, of)
        with spending(SELECTOR_STEPS):
            try:
                for device in of:
                    ask(SLOW, device)
            except TakesLong as long:
                long.question.answer()
        assert answered(SLOW, of) - before <= 2, "one that fits, and one aside"
        looks += 1
    assert looks >= 4


@pytest.mark.parametrize("expression", [SLOW, SLOWER, ENDLESS, FAILS, LONG, "device.driver == 'x'", "true"])
def test_answers_are_the_same_with_an_allowance_and_without(expression: str) -> None:
    [one], [other] = devices(1), devices(1)
    alone = ask(expression, one)
    found: Any = None
    while found is None:
        with spending(SELECTOR_STEPS):
            try:
                found = ask(expression, other)
            except TakesLong as long:
                long.question.answer()
    assert found is alone if isinstance(alone, bool) else found.split("\n")[0] in alone or alone in found


def hostile(expression: str) -> tuple[Object, ...]:
    return template(request("gpu", expression), name="hostile"), gated("hostile", templates=["hostile"])


@pytest.mark.parametrize("expression", [SLOW, SLOWER])
def test_a_pod_whose_selector_takes_long_gets_its_device_in_the_end(expression: str) -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(6), *hostile(expression))
        await desk.until(lambda: desk.ungated("hostile"), "the pod with the slow selector is ungated")

    play(scenario)


def test_a_pod_whose_selector_never_ends_is_told_so() -> None:
    async def scenario(desk: Desk) -> None:
        desk.create(*gpus(6), *hostile(ENDLESS))
        await desk.until(lambda: desk.reason("hostile") == "SelectorFailed", "the pod with the endless selector waits")

    play(scenario)


def test_what_a_look_begins_goes_on_under_no_allowance() -> None:
    """A task has the context of who began it: one that wrote something later must not find the allowance spent."""
    answers: list[bool | str] = []

    async def scenario(desk: Desk) -> None:
        def write(action: Action) -> Action:
            answers.append(ask(SLOWER, devices(1)[0]))
            return action

        desk.keeps = write
        desk.create(*gpus(1), claim(name="mine", finalizers=PROTECTED), gated(claims=["mine"]))
        await desk.until(desk.ungated, "the pod is ungated")

    play(scenario)
    assert len(answers) >= 3
    assert set(answers) == {True}


@pytest.mark.parametrize(
    ("nodes", "selector"),
    [(1, loops(3, "quantity('{}Gi').isGreaterThan(quantity('0'))")), (200, "device.driver != 'driver-{}'")],
    ids=["slow selectors", "long searches"],
)
def test_who_might_join_a_write_is_looked_at_within_the_look_of_who_writes(
    nodes: int, selector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        desk = Desk()
        for number in range(nodes):
            show(desk.view, *gpus(1, node=f"node-{number}"))
        show(desk.view, held(claim(name="ours", finalizers=PROTECTED), "node-0/gpu-0", by=[], on=None))
        for number in range(32):
            own = claim(request("gpu", selector.format(number)), name=f"own-{number}", finalizers=PROTECTED)
            show(desk.view, own, gated(f"p{number}", claims=["ours", own.metadata.name]))
        first = gated("first", claims=["ours"])
        show(desk.view, first)
        ref = PodRef(first.uid)
        while (search := desk.engine._look(ref)) is not None:
            await desk.engine._drive(ref, search)
        assert desk.engine.writes
        await desk.engine.drain()

    placed: set[Uid] = set()

    def place(decider: Decider, pod: Pod, *others: Any) -> Decision:
        placed.add(pod.uid)
        return real(decider, pod, *others)

    real = Decider.place
    monkeypatch.setattr(Decider, "place", place)
    run_virtual(scenario())
    assert 1 < len(placed) < 10, "of 33"


@pytest.mark.parametrize(
    ("length", "links", "reason"),
    [(29, 30, "Allocated"), (29, 29, "ConstraintUnsatisfied"), (33, 33, "SearchBudgetExceeded")],
    ids=["with a solution", "without", "that is given up"],
)
def test_a_puzzle_on_one_node_has_its_answer_and_keeps_nobody_waiting(
    length: int, links: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each device of a chain shares a link with the next: every other one is asked for, and they come last."""
    turns = [0]
    """Devices tried in each turn of the event loop."""
    real_take, real_turn = Taking.take, asyncio.events.Handle._run

    def take(taking: Taking, *what: Any, **how: Any) -> Taken | None:
        turns[-1] += 1
        return real_take(taking, *what, **how)

    def turn(handle: asyncio.Handle) -> None:
        turns.append(0)
        real_turn(handle)

    async def scenario(desk: Desk) -> None:
        order = [*range(1, length, 2), *range(0, length, 2)]
        chain = [device(f"gpu-{i:02}", attributes={"links": [i, (i + 1) % links]}) for i in order]
        apart = distinct_attribute("gpu.example.com/links")
        asked = claim(request(count=length // 2 + 1), constraints=[apart], finalizers=PROTECTED)
        desk.create(node(), device_class(), slice_of(chain), asked, gated(claims=["claim"]))
        await desk.until(lambda: desk.reason() == reason, "the pod is told")

    monkeypatch.setattr(Taking, "take", take)
    monkeypatch.setattr(asyncio.events.Handle, "_run", turn)
    play(scenario)
    assert sum(turns) > 3_000
    assert max(turns) <= (STEPS_IN_ONE_GO + 1) * STEPS_PER_TURN + 2 * length


def test_others_are_not_kept_waiting() -> None:
    """On a real loop: the longest turn of it is a small part of what the selectors cost."""
    turns: list[float] = []
    real = asyncio.events.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        real(handle)
        turns.append(time.thread_time() - began)

    async def scenario() -> None:
        desk = Desk()
        working = asyncio.create_task(desk.work())
        desk.create(*gpus(5), claim(name="mine", finalizers=PROTECTED), *hostile(SLOWER))
        desk.create(gated("other", claims=["mine"]))
        async with asyncio.timeout(120):
            while not desk.ungated("other", "hostile"):
                await asyncio.sleep(0.01)
        working.cancel()

    began = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.events.Handle, "_run", timed)
        asyncio.run(scenario())
    spent = time.process_time() - began
    assert max(turns) < spent / 4, "the thread has done most of it"
