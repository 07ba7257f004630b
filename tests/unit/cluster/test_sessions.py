"""Another certificate has connections of its own; those before it end with what is under way on them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from dra_operator.cluster.sessions import Sessions


class Begun:
    """Sessions that count."""

    def __init__(self) -> None:
        self.all: list[aiohttp.ClientSession] = []
        self.sessions = Sessions(self._begin)

    def _begin(self) -> aiohttp.ClientSession:
        self.all.append(aiohttp.ClientSession())
        return self.all[-1]

    def closed(self) -> list[bool]:
        return [session.closed for session in self.all]


async def test_requests_share_one_session_as_long_as_the_certificate_is_the_same() -> None:
    begun = Begun()
    async with begun.sessions.use(0) as one, begun.sessions.use(0) as other:
        assert one is other
    async with begun.sessions.use(0) as later:
        assert later is one
    assert begun.closed() == [False]
    await begun.sessions.close()
    assert begun.closed() == [True]


async def test_a_session_of_an_older_certificate_ends_with_the_last_of_what_is_under_way_on_it() -> None:
    begun = Begun()
    first, second = begun.sessions.use(0), begun.sessions.use(0)
    await first.__aenter__()
    await second.__aenter__()
    async with begun.sessions.use(1):
        await first.__aexit__(None, None, None)
        assert begun.closed() == [False, False]
        await second.__aexit__(None, None, None)
        assert begun.closed() == [True, False]
    await begun.sessions.close()


async def test_one_that_nothing_is_under_way_on_ends_at_once() -> None:
    begun = Begun()
    async with begun.sessions.use(0):
        pass
    async with begun.sessions.use(1):
        assert begun.closed() == [True, False]
    await begun.sessions.close()


async def test_many_that_are_refused_at_once_begin_one_new_session() -> None:
    begun = Begun()
    refused = asyncio.Barrier(32)

    async def request() -> None:
        async with begun.sessions.use(0):
            await refused.wait()
        async with begun.sessions.use(1) as session:
            assert not session.closed

    await asyncio.gather(*(request() for _ in range(32)))
    assert begun.closed() == [True, False]
    await begun.sessions.close()


async def test_who_signed_before_the_certificate_was_replaced_goes_out_with_the_new_one() -> None:
    begun = Begun()
    async with begun.sessions.use(1) as newer, begun.sessions.use(0) as used:
        assert used is newer
    await begun.sessions.close()


async def test_what_is_under_way_when_all_are_closed_keeps_none_open() -> None:
    begun = Begun()
    async with begun.sessions.use(0), begun.sessions.use(1):
        await begun.sessions.close()
        assert begun.closed() == [True, True]
    assert begun.closed() == [True, True]


async def test_a_request_that_fails_counts_no_longer() -> None:
    begun = Begun()

    async def failing() -> None:
        async with begun.sessions.use(0):
            async with begun.sessions.use(1):
                pass
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    assert begun.closed() == [True, False]
    await begun.sessions.close()
