"""Work of many namespaces: who comes when, by order and never by time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from dra_operator.controller.admission.turns import Turns

LONG = 3600.0
"""Never reached."""


def work(name: str, pieces: int, order: list[str]) -> Generator[None, None, str]:
    for piece in range(pieces):
        order.append(f"{name}{piece}")
        if piece < pieces - 1:
            yield
    return name


async def started(turns: Turns, *whose: tuple[str, Generator[None, None, str]]) -> list[asyncio.Task[str]]:
    """Each comes after the one before it has taken its place."""
    tasks = []
    for namespace, pieces in whose:
        tasks.append(asyncio.create_task(turns.run(namespace, pieces)))
        await asyncio.sleep(0)
    return tasks


class Held:
    """A first piece that lasts until it is let go, so that the others have come before it ends."""

    def __init__(self) -> None:
        self._go = threading.Event()

    def __call__(self, order: list[str]) -> Generator[None, None, str]:
        self._go.wait()
        order.append("held")
        yield from ()
        return "held"

    def let_go(self) -> None:
        self._go.set()


async def test_a_result_is_the_works_own() -> None:
    order: list[str] = []
    assert await Turns(LONG).run("a", work("x", 3, order)) == "x"
    assert order == ["x0", "x1", "x2"]


async def test_one_piece_at_a_time_and_who_has_much_to_do_holds_up_others_by_one() -> None:
    turns, held, order = Turns(LONG), Held(), list[str]()
    tasks = await started(
        turns,
        ("a", held(order)),
        ("a", work("long", 4, order)),
        ("a", work("longer", 2, order)),
        ("b", work("b", 1, order)),
    )
    held.let_go()

    assert await asyncio.gather(*tasks) == ["held", "long", "longer", "b"]
    assert order == ["held", "long0", "b0", "long1", "long2", "long3", "longer0", "longer1"]


async def test_namespaces_take_turns_however_much_each_brings() -> None:
    turns, held, order = Turns(LONG), Held(), list[str]()
    tasks = await started(
        turns,
        ("z", held(order)),
        *(("many", work(name, 2, order)) for name in "mno"),
        ("few", work("f", 3, order)),
        ("one", work("i", 1, order)),
    )
    held.let_go()
    await asyncio.gather(*tasks)

    assert order == ["held", "m0", "f0", "i0", "m1", "f1", "n0", "f2", "n1", "o0", "o1"]


async def test_what_is_not_done_in_time_is_given_up_and_the_turn_ends_with_its_piece() -> None:
    turns, held, order = Turns(0.01), Held(), list[str]()
    with pytest.raises(TimeoutError):
        await turns.run("a", held(order))
    waits = asyncio.create_task(turns.run("b", work("b", 1, order)))
    with pytest.raises(TimeoutError):
        await waits
    assert order == [], "the piece of the first still runs"

    held.let_go()
    await until_done(turns, order)
    assert order[:2] == ["held", "c0"]
    assert set(order[2:]) <= {"c0"}


async def until_done(turns: Turns, order: list[str]) -> None:
    """Come again until it is in time: a piece takes as long as it takes."""
    while True:
        try:
            await turns.run("c", work("c", 1, order))
        except TimeoutError:
            continue
        return


@pytest.mark.parametrize("given_up", [0, 1, 2])
async def test_who_gives_up_waiting_holds_up_nobody(given_up: int) -> None:
    turns, held, order = Turns(LONG), Held(), list[str]()
    first, *tasks = await started(
        turns, ("z", held(order)), ("a", work("a", 2, order)), ("a", work("b", 1, order)), ("c", work("c", 1, order))
    )
    tasks.pop(given_up).cancel()
    held.let_go()
    await asyncio.gather(first, *tasks)

    assert len([one for one in order if one.startswith("abc"[given_up])]) == 0
    assert await turns.run("d", work("d", 1, order)) == "d"


async def test_work_that_fails_ends_its_turn() -> None:
    def broken() -> Generator[None, None, None]:
        yield
        raise ValueError("no")

    turns = Turns(LONG)
    with pytest.raises(ValueError, match="no"):
        await turns.run("a", broken())
    order: list[str] = []
    assert await turns.run("a", work("x", 1, order)) == "x"


async def test_given_up_at_any_moment_the_turn_is_not_lost() -> None:
    """Cancelled after each number of steps of the event loop that it can take."""
    for steps in range(12):
        turns, order = Turns(LONG), list[str]()
        task = asyncio.create_task(turns.run("a", work("a", 3, order)))
        other = asyncio.create_task(turns.run("b", work("b", 3, order)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await other == "b"
        assert await turns.run("c", work("c", 1, order)) == "c"


async def test_who_has_given_up_costs_the_next_of_the_namespace_no_turn() -> None:
    turns, held, order = Turns(LONG), Held(), list[str]()
    first, other, *dead = await started(
        turns, ("z", held(order)), ("b", work("b", 20, order)), *(("t", work("dead", 1, order)) for _ in range(10))
    )
    for one in dead:
        one.cancel()
    [living] = await started(turns, ("t", work("living", 1, order)))
    held.let_go()
    await asyncio.gather(first, other, living)
    await asyncio.gather(*dead, return_exceptions=True)

    assert order[:3] == ["held", "b0", "living0"]


async def test_of_who_has_given_up_nothing_is_kept() -> None:
    turns, held, order = Turns(LONG), Held(), list[str]()
    first, *dead = await started(turns, ("z", held(order)), *(("t", work("dead", 1, order)) for _ in range(10)))
    assert turns.waiting == 10
    for one in dead:
        one.cancel()
    await asyncio.gather(*dead, return_exceptions=True)

    assert turns.waiting == 0
    held.let_go()
    await first


async def test_where_no_thread_is_to_be_had_the_turn_ends_too() -> None:
    turns, order = Turns(LONG), list[str]()
    loop = asyncio.get_running_loop()
    broken = ThreadPoolExecutor(1)
    broken.shutdown()
    loop.set_default_executor(broken)
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        await turns.run("a", work("a", 1, order))

    loop.set_default_executor(ThreadPoolExecutor(1))
    assert await turns.run("a", work("x", 1, order)) == "x"
