"""Admission as a whole: the gate that is watched over, and, where an address is given, the webhooks that are served.

Starts and ends with the controller and needs nothing else of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Final

from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import GATE_CONFIGURATION, SELECTORS_CONFIGURATION, WEBHOOK_SERVICE
from dra_operator.cluster.http import ApiClient
from dra_operator.controller.admission.certificates import Keyring, Lifetimes
from dra_operator.controller.admission.gatewatch import GateWatch
from dra_operator.controller.admission.keeper import MUTATING, VALIDATING, Keeper
from dra_operator.controller.admission.server import AdmissionServer
from dra_operator.controller.admission.turns import Turns
from dra_operator.controller.kopf_light import kopf
from dra_operator.controller.settings import Settings

WEBHOOKS: Final = ("gate", "selectors")
"""Ids of the handlers in `handlers.py`, and paths of the webhook configurations."""
_PLACES: Final = (
    (MUTATING, GATE_CONFIGURATION),
    (MUTATING, SELECTORS_CONFIGURATION),
    (VALIDATING, SELECTORS_CONFIGURATION),
)


class Admission:
    """See the module."""

    def __init__(self, settings: Settings, client: ApiClient, *, rng: random.Random) -> None:
        self.reviews = Turns()
        """Of objects whose expressions are looked at."""
        self._server: AdmissionServer | None = None
        self._keeper: Keeper | None = None
        if settings.webhook_address:
            self._server = AdmissionServer(settings.webhook_address, WEBHOOKS)
            self._keeper = Keeper(
                client,
                ObjectKey(settings.namespace, WEBHOOK_SERVICE),
                _PLACES,
                _names(settings.namespace, self._server.host),
                self._use,
                lifetimes=Lifetimes(settings.webhook_ca_lifetime),
                now=time.time,
                rng=rng,
            )
        self._watch = GateWatch(client, settings.gate, lambda: self._server is not None, rng=rng)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run())
            if self._keeper is not None:
                tasks.create_task(self._keeper.run())

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()

    async def answer_by_kopf(self, answer: kopf.WebhookFn) -> AsyncIterator[kopf.WebhookClientConfig]:
        """What Kopf takes for an admission server: it asks for one as soon as there are handlers."""
        if self._server is not None:
            async for config in self._server.answer_by_kopf(answer):
                yield config
        await asyncio.Event().wait()

    def unready(self) -> str | None:
        """Why API servers should not ask this replica yet: the webhook's Service goes by what is ready."""
        if self._server is None or self._server.is_serving:
            return None
        return "admission webhooks are not served yet"

    def remarks(self) -> list[str]:
        """What an admin should know, though it does not make the operator unready."""
        trouble = self._keeper.trouble if self._keeper is not None else None
        return [remark for remark in (self._watch.remark, trouble) if remark is not None]

    async def _use(self, ring: Keyring) -> None:
        assert self._server is not None
        await self._server.use(ring.serving)


def _names(namespace: str, host: str) -> tuple[str, ...]:
    """What API servers may call us: the Service, and an address of ours that was given (a webhook's `url`)."""
    service = f"{WEBHOOK_SERVICE}.{namespace}.svc"
    names = [service, f"{service}.cluster.local"]
    if host:
        names.append(host)
    return tuple(names)
