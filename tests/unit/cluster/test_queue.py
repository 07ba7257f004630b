"""The work queue's promises: one of each key, when it is due, the most important first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from dra_operator.cluster.queue import WorkQueue
from tests.virtual_loop import Stuck, run_virtual

Queue: TypeAlias = WorkQueue[str]
Scenario: TypeAlias = Callable[[Queue], Awaitable[None]]


def play(scenario: Scenario, *, seed: int = 0) -> None:
    """Run the scenario with a queue of its own, in virtual time."""

    async def main() -> None:
        await scenario(WorkQueue(random.Random(seed)))

    run_virtual(main())


def now() -> float:
    return asyncio.get_running_loop().time()


async def take(queue: Queue) -> tuple[str, float]:
    """The next key, worked on at once, and when it was handed out."""
    key = await queue.get()
    queue.done(key)
    return key, now()


def test_a_key_added_often_is_handed_out_once() -> None:
    async def scenario(queue: Queue) -> None:
        for _ in range(3):
            queue.add("a")
        queue.add("b")
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    play(scenario)


def test_a_delayed_key_is_handed_out_when_it_is_due_and_not_before() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("late", after=5.0)
        queue.add("soon", after=1.0)
        assert await take(queue) == ("soon", 1.0)
        assert await take(queue) == ("late", 5.0)

    play(scenario)


@pytest.mark.parametrize(
    ("delays", "due"),
    [((5.0, 0.0), 0.0), ((0.0, 5.0), 0.0), ((5.0, 2.0), 2.0), ((2.0, 5.0), 2.0)],
    ids=["at once after all", "stays due", "earlier", "not later"],
)
def test_the_earlier_due_time_wins(delays: tuple[float, float], due: float) -> None:
    async def scenario(queue: Queue) -> None:
        for delay in delays:
            queue.add("a", after=delay)
        assert await take(queue) == ("a", due)
        await asyncio.sleep(10)
        assert len(queue) == 0, "the later time was kept beside the earlier"

    play(scenario)


def test_the_highest_priority_comes_first_and_then_the_oldest() -> None:
    async def scenario(queue: Queue) -> None:
        for key, priority in (("low", 0), ("high", 9), ("low too", 0), ("high too", 9), ("negative", -1)):
            queue.add(key, priority=priority)
        order = [(await take(queue))[0] for _ in range(5)]
        assert order == ["high", "high too", "low", "low too", "negative"]

    play(scenario)


@pytest.mark.parametrize("priorities", [(0, 9), (9, 0)])
def test_the_higher_priority_wins(priorities: tuple[int, int]) -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("first", priority=5)
        for priority in priorities:
            queue.add("a", priority=priority)
        assert (await take(queue))[0] == "a"

    play(scenario)


def test_the_higher_priority_stays_when_the_key_becomes_due_earlier() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("a", after=5.0, priority=9)
        queue.add("first", priority=5)
        queue.add("a", priority=0)
        assert (await take(queue))[0] == "a"

    play(scenario)


def test_the_older_object_comes_first_whenever_its_key_was_added() -> None:
    async def scenario(queue: Queue) -> None:
        for key, since in (("young", 9.0), ("old", 1.0), ("young too", 9.0)):
            queue.add(key, since=since)
        assert [(await take(queue))[0] for _ in range(3)] == ["old", "young", "young too"]

    play(scenario)


def test_a_key_keeps_its_age_when_it_is_added_again() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("old", priority=0)
        queue.add("young", priority=1)
        queue.add("old", priority=1)
        assert (await take(queue))[0] == "old"

    play(scenario)


def test_a_higher_priority_does_not_make_a_delayed_key_due() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("a", after=5.0)
        queue.add("a", after=9.0, priority=9)
        assert await take(queue) == ("a", 5.0)

    play(scenario)


def test_a_key_that_is_worked_on_comes_again_only_after_done() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("a")
        await queue.get()
        queue.add("a")
        queue.add("b")
        assert await queue.get() == "b"
        again = asyncio.ensure_future(queue.get())
        await asyncio.sleep(60)
        assert not again.done()
        queue.done("a")
        assert await again == "a"

    play(scenario)


def test_a_delay_counts_from_the_add_and_not_from_done() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("a")
        await queue.get()
        queue.add("a", after=3.0)
        await asyncio.sleep(1)
        queue.done("a")
        assert await take(queue) == ("a", 3.0)

    play(scenario)


def test_done_without_a_new_add_ends_it() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("a")
        await take(queue)
        await queue.get()

    with pytest.raises(Stuck):
        play(scenario)


def test_a_waiting_get_is_woken_and_a_cancelled_one_loses_nothing() -> None:
    async def scenario(queue: Queue) -> None:
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(1)
        waiting.cancel()
        queue.add("a")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await take(queue))[0] == "a"

    play(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_backoff_grows_from_20_ms_to_30_s_and_stays_within(seed: int) -> None:
    async def scenario(queue: Queue) -> None:
        pauses = [queue.retry("a") for _ in range(2_000)]
        assert 0.02 <= pauses[0] <= 0.04
        assert min(pauses) >= 0.02
        assert max(pauses) <= 30.0
        assert pauses[:10] == sorted(pauses[:10])
        assert min(pauses[12:]) >= 15.0
        assert len(set(pauses[12:])) > 100, "without jitter all come back at once"

    play(scenario, seed=seed)


def test_retry_adds_nothing() -> None:
    async def scenario(queue: Queue) -> None:
        queue.retry("a")
        assert (len(queue), queue.adds) == (0, 0)

    play(scenario)


def test_forget_begins_the_backoff_anew_for_that_key_only() -> None:
    async def scenario(queue: Queue) -> None:
        for key in ("a", "b"):
            for _ in range(10):
                queue.retry(key)
        queue.forget("a")
        queue.forget("never seen")
        assert queue.retry("a") <= 0.04
        assert queue.retry("b") > 1.0

    play(scenario)


def test_a_due_time_that_was_overtaken_leaves_nothing_behind() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("a", after=5.0)
        queue.add("a", after=1.0)
        await take(queue)
        queue.add("a", after=10.0)
        await asyncio.sleep(5)
        assert (queue.depth, len(queue)) == (0, 1)
        assert await take(queue) == ("a", 11.0)

    play(scenario)


def test_depth_counts_what_is_due_and_adds_what_came_in() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("due")
        queue.add("due", priority=3)
        queue.add("delayed", after=5.0)
        assert (queue.depth, len(queue), queue.adds) == (1, 2, 2)
        await asyncio.sleep(6)
        assert queue.depth == 2
        await take(queue)
        await take(queue)
        assert (queue.depth, len(queue)) == (0, 0)

    play(scenario)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_doubled_or_early_in_any_order_of_calls(seed: int) -> None:
    """Against the definition: what was added since it was last handed out is handed out once, when it is due."""
    rng = random.Random(seed)
    due: dict[str, float] = {}

    async def consume(queue: Queue) -> None:
        working: set[str] = set()

        async def work(key: str) -> None:
            await asyncio.sleep(rng.choice([0.0, 0.5, 3.0]))
            working.discard(key)
            queue.done(key)

        async with asyncio.TaskGroup() as group:
            while True:
                key = await queue.get()
                assert key not in working
                assert now() >= due.pop(key) - 1e-9
                working.add(key)
                group.create_task(work(key))

    async def scenario(queue: Queue) -> None:
        consumer = asyncio.ensure_future(consume(queue))
        for _ in range(300):
            key, after = rng.choice("abcdef"), rng.choice([0.0, 0.0, 0.3, 2.0, 7.0])
            due[key] = min(now() + after, due.get(key, float("inf")))
            queue.add(key, after=after, priority=rng.randrange(3))
            await asyncio.sleep(rng.choice([0.0, 0.0, 0.1, 1.0]))
        await asyncio.sleep(60)
        assert not consumer.done()
        assert due == {}
        consumer.cancel()

    play(scenario, seed=seed)


# --- in turn over flows ----------------------------------------------------------------------------------------------


def test_a_flow_with_thousands_of_keys_delays_anothers_only_key_by_one() -> None:
    async def scenario(queue: Queue) -> None:
        for number in range(5_000):
            queue.add(f"crowd-{number:04}", flow="crowd")
        assert await queue.get() == "crowd-0000"
        queue.add("single", flow="quiet")
        assert [await queue.get() for _ in range(3)] == ["single", "crowd-0001", "crowd-0002"]

    play(scenario)


def test_priority_goes_before_turns_and_turns_before_age() -> None:
    async def scenario(queue: Queue) -> None:
        queue.add("a1", flow="a")
        queue.add("a2", flow="a")
        queue.add("b1", flow="b")
        queue.add("a3", flow="a", priority=1)
        assert [await queue.get() for _ in range(4)] == ["a3", "a1", "b1", "a2"]

    play(scenario)


def test_a_flow_that_comes_back_at_once_is_not_served_twice_in_a_round() -> None:
    async def scenario(queue: Queue) -> None:
        for name in ("b1", "b2"):
            queue.add(name, flow="b")
        queue.add("a1", flow="a")
        assert (await take(queue))[0] == "b1"
        assert (await take(queue))[0] == "a1"
        queue.add("a2", flow="a")
        assert [(await take(queue))[0] for _ in range(2)] == ["b2", "a2"]

    play(scenario)


def test_a_flow_that_is_held_is_passed_over_until_it_is_let_go() -> None:
    async def scenario(queue: Queue) -> None:
        for key in ("a1", "a2", "b1", "b2"):
            queue.add(key, flow=key[0])
        queue.add("a0", flow="a", priority=1)
        queue.hold("a")
        assert queue.ready == 2
        assert [(await take(queue))[0] for _ in range(2)] == ["b1", "b2"]
        queue.add("a3", flow="a")
        queue.add("b3", flow="b")
        assert (await take(queue))[0] == "b3"
        assert queue.ready == 0
        queue.let_go("a")
        assert [(await take(queue))[0] for _ in range(4)] == ["a0", "a1", "a2", "a3"]

    play(scenario)


def test_who_waits_for_a_key_hears_of_a_flow_that_is_let_go() -> None:
    async def scenario(queue: Queue) -> None:
        queue.hold("a")
        queue.add("a1", flow="a")
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(1)
        assert not waiting.done()
        queue.let_go("a")
        assert await waiting == "a1"

    play(scenario)


def test_keys_that_are_not_due_take_no_turn() -> None:
    async def scenario(queue: Queue) -> None:
        for number in range(100):
            queue.add(f"later-{number}", after=60.0, flow="a")
        queue.add("a1", flow="a")
        for number in range(3):
            queue.add(f"b{number}", flow="b")
        assert [(await take(queue))[0] for _ in range(4)] == ["a1", "b0", "b1", "b2"]

    play(scenario)
