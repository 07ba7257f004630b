"""The virtual loop keeps the promises of its docstring: the other tests stand on it."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from tests.virtual_loop import Stuck, run_virtual


def test_a_day_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400 * 3)
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    assert run_virtual(main()) == pytest.approx(86_400 * 3)
    assert time.monotonic() - started < 60


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        await asyncio.gather(*(_append(order, number, number / 10) for number in (3, 1, 2)))
        return order

    assert run_virtual(main()) == [1, 2, 3]


async def _append(order: list[int], number: int, after: float) -> None:
    await asyncio.sleep(after)
    order.append(number)


def test_the_seed_picks_the_order_of_timers_of_one_moment() -> None:
    async def main() -> tuple[int, ...]:
        order: list[int] = []
        await asyncio.gather(*(_append(order, number, 1.0) for number in range(8)))
        return tuple(order)

    assert run_virtual(main(), seed=7) == run_virtual(main(), seed=7)
    assert len({run_virtual(main(), seed=seed) for seed in range(1, 6)}) > 1


def test_a_run_that_waits_for_nothing_says_so() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="all wait"):
        run_virtual(main())


def test_work_for_threads_is_done_in_the_loop() -> None:
    async def main() -> int:
        return await asyncio.to_thread(lambda: 7)

    assert run_virtual(main()) == 7


def test_http_goes_through_memory() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response(body=await request.read() * 100_000)

    async def main() -> tuple[int, float]:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_post("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        timeout = aiohttp.ClientTimeout(total=None)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, data=b"x" * 20) as reply:
            size = len(await reply.read())
        await runner.cleanup()
        return size, asyncio.get_running_loop().time()

    size, now = run_virtual(main())
    assert size == 2_000_000
    assert 3600 <= now < 3700


def test_a_connection_to_nobody_is_refused() -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get("http://127.0.0.1:9/")

    with pytest.raises(aiohttp.ClientConnectorError):
        run_virtual(main())
