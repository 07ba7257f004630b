"""Finds what vanished while Kopf was not looking.

Kopf emits no DELETED for objects that are deleted during a 410 and the list that follows. A census lists a kind's
metadata only, and reports what we know and the API server does not: at start, within a second when asked (Kopf
relisted), and every ten minutes anyway. A list that is empty nobody tells us of: so every few seconds the API server is
asked whether there is anything at all, and where we know of few objects a census is taken.

An object created after the list began is not in it and has not vanished: only what was known before the list started
is compared, and only if it is still known with that UID afterwards.

Upstream: none; a client-go reflector hands out the same by replacing its store.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from dra_operator.api.kinds import Kind
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.said import Said

log = structlog.get_logger()

INTERVAL: Final = 600.0
PROBE: Final = 5.0
"""Seconds between two looks whether all of the kind has vanished, while we know of something."""
FEW: Final = 20
"""So many may all vanish and others come between two looks; a census of them costs no more than the question."""
_COALESCE: Final = 0.5
_RETRY: Final = 5.0


class Census:
    """One kind's census. `vanished` decides itself whether it still knows the object with that UID."""

    def __init__(
        self,
        client: ApiClient,
        kind: Kind[Any],
        known: Callable[[], Mapping[ObjectKey, Uid]],
        vanished: Callable[[ObjectKey, Uid], None],
        *,
        rng: random.Random,
        interval: float = INTERVAL,
    ) -> None:
        self._client = client
        self._kind = kind
        self._known = known
        self._vanished = vanished
        self._rng = rng
        self._interval = interval
        self._said = Said()
        self._asked = asyncio.Event()
        self._asked.set()
        self.taken = asyncio.Event()
        """There was a census."""

    def request(self) -> None:
        """Take a census within a second; several requests make one."""
        self._asked.set()

    async def run(self) -> None:
        """Take the first census at once, the others as described, for ever."""
        while True:
            self._asked.clear()
            try:
                await self.take()
                self._said.forget()
            except (ApiError, NoAnswer) as error:
                if self._said.is_news(str(error)):
                    log.warning("census failed", resource=self._kind.plural, error=str(error))
                await asyncio.sleep(_RETRY)
                self._asked.set()
            await self._wait()

    async def _wait(self) -> None:
        """Until the next census is due."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval * self._rng.uniform(0.9, 1.1)
        while (left := due - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(PROBE, left)):
                    await self._asked.wait()
            except TimeoutError:
                if await self._may_all_be_gone():
                    return
            else:
                await asyncio.sleep(_COALESCE)
                return

    async def _may_all_be_gone(self) -> bool:
        """Whether to count what we know of: it is little, or there is nothing of the kind any more."""
        known = len(self._known())
        if known <= FEW:
            return known > 0
        try:
            return not await self._client.any_exists(self._kind)
        except (ApiError, NoAnswer):
            return False  # asked again soon

    async def take(self) -> int:
        """One census. Returns how many had vanished."""
        before = dict(self._known())
        listed = {meta.key: meta.uid for meta in (await self._client.list_metadata(self._kind))[0]}
        after = self._known()
        gone = [(key, uid) for key, uid in before.items() if listed.get(key) != uid and after.get(key) == uid]
        for key, uid in gone:
            self._vanished(key, uid)
        self.taken.set()
        return len(gone)
