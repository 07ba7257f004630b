"""When the loop of decisions counts as stuck, with the real queue and in virtual time."""

from __future__ import annotations

import asyncio
import random

from dra_operator.cluster.queue import WorkQueue
from dra_operator.controller.progress import PATIENCE_SECONDS, Progress
from tests.virtual_loop import run_virtual

PROBE = 10.0


class Loop:
    """Takes from its queue as the engine does, unless it hangs."""

    def __init__(self) -> None:
        self.queue: WorkQueue[str] = WorkQueue(random.Random(0))
        self.taken = 0
        clock = asyncio.get_running_loop().time
        self.progress = Progress(lambda: self.taken, lambda: self.queue.ready, clock)

    async def run(self) -> None:
        while True:
            key = await self.queue.get()
            self.taken += 1
            self.queue.done(key)

    async def probed(self, seconds: float) -> str | None:
        """What the last of the probes says."""
        answer = None
        for _ in range(int(seconds / PROBE)):
            answer = self.progress.stuck()
            await asyncio.sleep(PROBE)
        return answer


def test_a_loop_that_takes_nothing_of_what_is_due_is_stuck_and_recovers() -> None:
    async def scenario() -> None:
        loop = Loop()
        loop.queue.add("a")
        assert await loop.probed(PATIENCE_SECONDS) is None
        stuck = await loop.probed(2 * PROBE)
        assert stuck is not None
        assert "1 wait for it" in stuck
        task = asyncio.create_task(loop.run())
        assert await loop.probed(2 * PROBE) is None
        task.cancel()

    run_virtual(scenario())


def test_a_loop_with_nothing_to_do_is_not() -> None:
    async def scenario() -> None:
        loop = Loop()
        loop.queue.add("later", after=1e6)
        task = asyncio.create_task(loop.run())
        assert await loop.probed(20 * PATIENCE_SECONDS) is None
        task.cancel()

    run_virtual(scenario())


def test_what_waits_for_the_answer_to_a_write_is_not_due() -> None:
    """The API server may be away for long; a restart would help nobody."""

    async def scenario() -> None:
        loop = Loop()
        loop.queue.add("a")
        assert await loop.queue.get() == "a"
        loop.queue.add("a")
        assert await loop.probed(20 * PATIENCE_SECONDS) is None

    run_virtual(scenario())


def test_a_process_that_was_suspended_is_not_stuck() -> None:
    async def scenario() -> None:
        loop = Loop()
        task = asyncio.create_task(loop.run())
        for _ in range(5):
            loop.queue.add("a")
            await asyncio.sleep(10 * PATIENCE_SECONDS)
            assert loop.progress.stuck() is None
        task.cancel()

    run_virtual(scenario())


def test_nor_is_one_that_was_suspended_with_something_due() -> None:
    """The first probe may be answered before the loop has taken what was there all the while."""

    async def scenario() -> None:
        loop = Loop()
        loop.queue.add("a")
        assert loop.progress.stuck() is None
        await asyncio.sleep(10 * PATIENCE_SECONDS)
        assert loop.progress.stuck() is None
        assert await loop.probed(PATIENCE_SECONDS) is not None, "it goes on, and takes nothing all the same"

    run_virtual(scenario())
