"""Sessions of connections, of which each is known by the client certificate that it began with.

When there is another certificate, the requests to come get connections of their own. What is under way on the old ones
goes on: the server knew it when it began, and may have taken the write whose answer is still to come. The last of them
closes the old session.

Upstream: client-go's transport (cert_rotation.go), which closes all connections at once. Not here: which certificate
there is (`wire.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp


@dataclass(slots=True, eq=False)
class _Open:
    session: aiohttp.ClientSession
    certificate: int
    under_way: int = 0


class Sessions:
    """See the module. `close` them."""

    def __init__(self, begin: Callable[[], aiohttp.ClientSession]) -> None:
        self._begin = begin
        self._newest: _Open | None = None
        self._older: set[_Open] = set()
        """Those with something under way."""

    @asynccontextmanager
    async def use(self, certificate: int) -> AsyncIterator[aiohttp.ClientSession]:
        """A session for one request of a client whose certificate was replaced so often, or a later one's."""
        used = self._newest
        if used is None or used.certificate < certificate:
            old, used = used, _Open(self._begin(), certificate)
            self._newest = used
            if old is not None:
                self._older.add(old)
                await self._close_if_idle(old)
        used.under_way += 1
        try:
            yield used.session
        finally:
            used.under_way -= 1
            await self._close_if_idle(used)

    async def _close_if_idle(self, one: _Open) -> None:
        if one in self._older and not one.under_way:
            self._older.remove(one)
            await one.session.close()

    async def close(self) -> None:
        """Whatever is under way has no answer."""
        left = [*self._older, *filter(None, [self._newest])]
        self._newest = None
        self._older.clear()
        for one in left:
            await one.session.close()
