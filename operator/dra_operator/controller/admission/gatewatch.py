"""Whether something gates pods, and what: looked at every now and then, and said loudly where nothing does.

The policy and the webhook's configuration are an admin's to apply, never ours; we only read them. `--gate=auto` goes by
what the API server has: policies from 1.36 on, the webhook otherwise, and the webhook, too, where policies exist and
ours was not applied but the webhook was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from dra_operator.api.codec import decode
from dra_operator.api.meta import Struct
from dra_operator.api.names import GATE_CONFIGURATION
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.controller.settings import Gate

log = structlog.get_logger()

_ROOT: Final = "/apis/admissionregistration.k8s.io/v1"
_POLICIES: Final = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
_WEBHOOKS: Final = "mutatingwebhookconfigurations"
_AGAIN: Final = 60.0
_SOON: Final = 5.0
"""While something is missing: an admin may be applying it right now."""
_ABSENT: Final = (403, 404)
"""Not there, or the right to see it, which comes with it."""


class _Resource(Struct, frozen=True):
    name: str


class _Resources(Struct, frozen=True):
    """Upstream: metav1.APIResourceList."""

    resources: tuple[_Resource, ...] = ()


class GateWatch:
    """See the module. `remark` is what is wrong, or None."""

    def __init__(
        self, client: ApiClient, gate: Gate, serves_webhook: Callable[[], bool], *, rng: random.Random
    ) -> None:
        self._client = client
        self._gate = gate
        self._serves_webhook = serves_webhook
        self._rng = rng
        self.remark: str | None = None
        self.by: Gate | None = None
        """What gates: the policy, the webhook; None while nobody knows."""

    async def run(self) -> None:
        """Returns at once where no gate is wanted."""
        if self._gate is Gate.OFF:
            return
        while True:
            try:
                await self.look()
            except (ApiError, NoAnswer, msgspec.MsgspecError) as error:
                log.info("cannot see what gates pods", error=str(error))
            pause = _AGAIN if self.by is not None and self.remark is None else _SOON
            await asyncio.sleep(pause * self._rng.uniform(0.8, 1.2))

    async def look(self) -> None:
        """Once. A change is logged: a missing gate as a warning."""
        by, missing = await self._find()
        remark = None
        if missing:
            what = "; ".join(missing)
            where = "manifests/base" if by is Gate.POLICY else "manifests/overlays/webhook"
            remark = f"pods are not gated, so kube-scheduler allocates their devices: apply {where} ({what})"
        if remark != self.remark and remark is not None:
            log.warning("no gate", why=remark)
        elif (remark, by) != (self.remark, self.by):
            log.info("pods are gated", by=str(by))
        self.remark, self.by = remark, by

    async def _find(self) -> tuple[Gate, list[str]]:
        """What should gate, and what of it is missing."""
        if self._gate is Gate.WEBHOOK:
            return Gate.WEBHOOK, await self._missing_webhook()
        if self._gate is Gate.AUTO and not await self._has_policies():
            return Gate.WEBHOOK, await self._missing_webhook()
        missing = [found for name in _POLICIES if (found := await self._missing(name)) is not None]
        if missing and self._gate is Gate.AUTO and not await self._missing_webhook():
            return Gate.WEBHOOK, []
        return Gate.POLICY, missing

    async def _has_policies(self) -> bool:
        answer = await self._client.request("GET", _ROOT)
        return _POLICIES[0] in {one.name for one in decode(answer.body, _Resources).resources}

    async def _missing_webhook(self) -> list[str]:
        if not self._serves_webhook():
            return ["this operator serves no webhook: --webhook-address"]
        found = await self._missing(_WEBHOOKS)
        return [] if found is None else [found]

    async def _missing(self, resource: str) -> str | None:
        try:
            await self._client.request("GET", f"{_ROOT}/{resource}/{GATE_CONFIGURATION}")
        except ApiError as error:
            if error.status in _ABSENT:
                return f"{resource}/{GATE_CONFIGURATION}: {error}"
            raise
        return None
