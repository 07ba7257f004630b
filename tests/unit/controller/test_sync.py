"""Start: what is waited for until Kopf's mirror counts as complete, and how often the API server is asked for that."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from dra_operator.api.kinds import PODS, Kind
from dra_operator.api.meta import ObjectMeta, Uid
from dra_operator.cluster.http import NoAnswer
from dra_operator.controller.sync import wait_until_shown
from tests.virtual_loop import run_virtual


class Cluster:
    """Pods that there are, by UID, and those of which an event came."""

    def __init__(self, *uids: str) -> None:
        self.pods = {Uid(uid) for uid in uids}
        self.shown: set[Uid] = set()
        self.lists = 0
        self.fails = 0

    async def list_metadata(self, kind: Kind[Any]) -> tuple[list[ObjectMeta], str]:
        assert kind is PODS
        self.lists += 1
        if self.lists <= self.fails:
            raise NoAnswer("connection refused")
        found = [ObjectMeta(name=uid, namespace="default", uid=uid) for uid in sorted(self.pods)]
        await asyncio.sleep(0.04)
        return found, "1"

    def create(self, uid: str, *, shown_after: float) -> None:
        self.pods.add(Uid(uid))
        asyncio.get_running_loop().call_later(shown_after, self.shown.add, Uid(uid))

    async def sync(self) -> float:
        """Returns how long it took."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.timeout(600):
            await wait_until_shown(self, PODS, self.shown.__contains__)
        return loop.time() - begun


def play(scenario: Coroutine[Any, Any, None]) -> None:
    run_virtual(scenario)


def test_one_list_is_enough_when_all_was_shown() -> None:
    async def scenario() -> None:
        cluster = Cluster("a", "b")
        cluster.shown = {Uid("a"), Uid("b")}
        await cluster.sync()
        assert cluster.lists == 1

    play(scenario())


def test_it_waits_for_what_was_not_shown_yet() -> None:
    async def scenario() -> None:
        cluster = Cluster()
        cluster.create("late", shown_after=1.5)
        assert 1.5 <= await cluster.sync() < 1.7
        assert cluster.lists == 1

    play(scenario())


def test_pods_that_keep_coming_do_not_keep_it_from_ending() -> None:
    async def scenario() -> None:
        cluster = Cluster()

        async def churn() -> None:
            for number in range(100_000):
                cluster.create(f"pod-{number}", shown_after=0.15)
                await asyncio.sleep(0.01)

        coming = asyncio.create_task(churn())
        await asyncio.sleep(1)
        assert await cluster.sync() < 0.5
        assert cluster.lists == 1
        coming.cancel()

    play(scenario())


def test_what_was_deleted_before_it_was_shown_is_not_waited_for() -> None:
    async def scenario() -> None:
        cluster = Cluster("gone")
        asyncio.get_running_loop().call_later(1.0, cluster.pods.clear)
        assert await cluster.sync() < 3
        assert cluster.lists == 2

    play(scenario())


def test_lists_get_rare_while_something_is_not_shown() -> None:
    async def scenario() -> None:
        cluster = Cluster()
        cluster.create("late", shown_after=300)
        await cluster.sync()
        assert cluster.lists < 15

    play(scenario())


def test_an_api_server_that_does_not_answer_is_asked_again() -> None:
    async def scenario() -> None:
        cluster = Cluster("a")
        cluster.shown, cluster.fails = {Uid("a")}, 3
        await cluster.sync()
        assert cluster.lists == 4

    play(scenario())
