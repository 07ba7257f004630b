"""Kopf, without what it would load and keep and we do not use.

Two things. To recognise objects of other clients if it is handed some, Kopf imports them where they are installed:
kubernetes_asyncio alone is 60 MB of modules, and seconds. It is kept from Kopf here, and can be imported afterwards by
who needs it (`cluster/plugins.py`). And Kopf remembers a record of 1 kB for each object that it has ever shown a
handler: progress, daemons, indexes. Handlers of events have none of these.

Whoever uses Kopf takes it from here: the first import decides. (`kopf run` has made it before we are asked.)

Upstream: `kopf._cogs.helpers.thirdparty` for the first, `kopf._core.reactor.inventory` for the second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CLIENTS = ("kubernetes_asyncio", "kubernetes", "pykube")


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """To import these fails meanwhile, unless that was done before."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # what the import system takes for "not to be had"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _absent(*_CLIENTS):
    import kopf
    from kopf._cogs.structs.bodies import RawBody
    from kopf._cogs.structs.ephemera import AnyMemo
    from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

    kopf.get_default_registry()  # made once, when it is asked for: it too looks which clients there are

__all__ = ["NoMemories", "kopf"]


class NoMemories(ResourceMemories):
    """A fresh record for every event, and none is kept."""

    async def recall(
        self,
        raw_body: RawBody,
        *,
        memobase: AnyMemo | None = None,
        noticed_by_listing: bool = False,
        ephemeral: bool = False,
    ) -> ResourceMemory:
        """A record as it is of an object that Kopf has never seen."""
        return await super().recall(
            raw_body=raw_body, memobase=memobase, noticed_by_listing=noticed_by_listing, ephemeral=True
        )
