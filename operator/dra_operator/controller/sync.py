"""When Kopf's mirror of a kind is complete: it has shown all that there was when we asked.

One list of metadata names what has to be shown. An object was shown when an event came that told of it, whatever that
said: one that does not fit our types is left out, and one that was deleted or replaced is not waited for. What was
deleted before Kopf listed is never shown; lists at an ever slower pace find that out, and add nothing to wait for.

Upstream: `WaitForCacheSync` of client-go, which knows what its own reflector has listed. Kopf does not say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from dra_operator.api.kinds import Kind
from dra_operator.api.meta import ObjectMeta, Uid
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.cluster.said import Said

log = structlog.get_logger()

_POLL: Final = 0.1
_RETRY: Final = 1.0
_RETRY_MAX: Final = 15.0
_AGAIN: Final = 2.0
_AGAIN_MAX: Final = 30.0


class Lister(Protocol):
    """What is needed of `cluster.http.ApiClient`."""

    async def list_metadata(self, kind: Kind[Any], /) -> tuple[Sequence[ObjectMeta], str]: ...


async def wait_until_shown(lister: Lister, kind: Kind[Any], was_shown: Callable[[Uid], bool]) -> None:
    """Returns when every object of the kind that there is now was shown, or is gone."""
    loop = asyncio.get_running_loop()
    pause = _AGAIN
    missing = await _list(lister, kind)
    list_at = loop.time() + pause
    while missing := {uid for uid in missing if not was_shown(uid)}:
        await asyncio.sleep(_POLL)
        if loop.time() >= list_at:
            missing &= await _list(lister, kind)
            pause = min(2 * pause, _AGAIN_MAX)
            list_at = loop.time() + pause


async def _list(lister: Lister, kind: Kind[Any]) -> set[Uid]:
    """The UIDs of all objects of the kind."""
    pause, said = _RETRY, Said()
    while True:
        try:
            listed, _ = await lister.list_metadata(kind)
        except (ApiError, NoAnswer) as error:
            if said.is_news(str(error)):
                log.warning("cannot list", resource=kind.plural, error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MAX)
        else:
            return {meta.uid for meta in listed}
