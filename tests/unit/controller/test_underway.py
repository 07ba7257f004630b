"""Shares of the writes that may be under way: who is answered is not stopped by who is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from dra_operator.controller.underway import (
    MANY_SLOW,
    OF_A_FLOW,
    OF_A_FLOW_THEN,
    SLOW_SECONDS,
    WRITES_AT_ONCE,
    UnderWay,
    Write,
)
from tests.virtual_loop import run_virtual


class Desk:
    """Begins what it may."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.limited = False
        self.under_way = UnderWay(self._hold, self._let_go, lambda: self.limited)

    def _hold(self, flow: str) -> None:
        assert flow not in self.held
        self.held.add(flow)

    def _let_go(self, flow: str) -> None:
        self.held.remove(flow)

    async def begin(self, flow: str, most: int = 1) -> list[Write]:
        """So many, or as many as the flow may have."""
        begun: list[Write] = []
        while len(begun) < most and flow not in self.held:
            await self.under_way.room()
            begun.append(self.under_way.begin(flow))
        return begun

    async def hang(self, least: int = MANY_SLOW) -> list[Write]:
        """Flows `stuck-N` whose writes are not answered, as many as it takes."""
        hung: list[Write] = []
        while len(hung) < least:
            hung += await self.begin(f"stuck-{len(hung)}", least)
        await asyncio.sleep(2 * SLOW_SECONDS)
        return hung


def play(scenario: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Desk())

    run_virtual(main())


def test_a_flow_has_its_share_and_gets_it_again() -> None:
    async def scenario(desk: Desk) -> None:
        begun = await desk.begin("a", 1000)
        assert len(begun) == OF_A_FLOW
        assert desk.held == {"a"}
        desk.under_way.end(begun[0])
        assert desk.held == set()

    play(scenario)


def test_so_many_at_once_and_no_more_of_those_that_are_answered_soon() -> None:
    async def scenario(desk: Desk) -> None:
        for flow in ("a", "b"):
            await desk.begin(flow, WRITES_AT_ONCE // 2)
        await desk.begin("c")
        assert asyncio.get_running_loop().time() == SLOW_SECONDS
        assert desk.under_way.in_flight == WRITES_AT_ONCE + 1

    play(scenario)


def test_what_waits_for_our_own_limit_is_not_slow_and_no_more_begins_until_it_is_sent() -> None:
    async def scenario(desk: Desk) -> None:
        desk.limited = True
        for flow in ("a", "b"):
            await desk.begin(flow, WRITES_AT_ONCE // 2)
        await asyncio.sleep(10 * SLOW_SECONDS)
        assert desk.under_way.full
        desk.limited = False
        await desk.begin("c")
        assert asyncio.get_running_loop().time() <= 11 * SLOW_SECONDS

    play(scenario)


def test_where_many_hang_their_flows_begin_nothing_and_others_a_few_at_once() -> None:
    async def scenario(desk: Desk) -> None:
        hung = await desk.hang()
        assert desk.held == {write.flow for write in hung}
        assert not desk.under_way.full
        assert len(await desk.begin("a", 1000)) == OF_A_FLOW_THEN
        assert len(await desk.begin("b", 1000)) == OF_A_FLOW_THEN

    play(scenario)


def test_who_is_answered_soon_goes_on_however_many_hang() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.hang()
        for _ in range(100):
            begun = await desk.begin("a", 1000)
            assert begun
            for write in begun:
                desk.under_way.end(write)
        assert "a" not in desk.held

    play(scenario)


def test_a_few_that_hang_stop_their_own_flow_only_at_its_share() -> None:
    async def scenario(desk: Desk) -> None:
        await desk.begin("a", 3)
        await asyncio.sleep(2 * SLOW_SECONDS)
        assert desk.held == set()
        assert len(await desk.begin("a", 1000)) == OF_A_FLOW - 3

    play(scenario)


def test_when_they_end_everybody_is_let_go_and_nothing_is_left() -> None:
    async def scenario(desk: Desk) -> None:
        writes = [*await desk.hang(), *await desk.begin("a", 1000)]
        for write in writes:
            desk.under_way.end(write)
        assert desk.held == set()
        assert desk.under_way.in_flight == 0
        assert not desk.under_way._flows

    play(scenario)
