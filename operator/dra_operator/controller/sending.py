"""A write is sent, and it is known afterwards whether it took effect.

Where the answer to a claim's status was lost, the claim is read until that is known. Devices of an allocation stay
assumed meanwhile, so that no other claim is given them.

Invariant: no outcome of a claim's status is `Unknown`.

Upstream: kube-scheduler forgets what it assumed, and relies on its informer to show a write that took effect after all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import (
    Action,
    Conflict,
    Done,
    Missing,
    Outcome,
    ReadClaim,
    Unknown,
    WriteClaimStatus,
    target_of,
)
from dra_operator.lifecycle.answer import same_devices

log = structlog.get_logger()

Perform: TypeAlias = Callable[[Action], Awaitable[Outcome]]

_READ_PAUSE: Final = 0.1
_READ_PAUSE_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class Sender:
    """See the module. `clock` is seconds; `wrote` is told of each request, its outcome and how long that took."""

    perform: Perform
    clock: Callable[[], float]
    wrote: Callable[[Action, Outcome, float], None]

    async def send(self, action: Action, answered: Callable[[], None]) -> Outcome:
        """What became of the action. `answered` is called once it was answered, be that not known by then."""
        try:
            outcome = await self.request(action)
        finally:
            answered()
        pause = _READ_PAUSE
        while isinstance(action, WriteClaimStatus) and isinstance(outcome, Unknown):
            await asyncio.sleep(pause)  # what asked to come later is the write's affair: a read may come
            pause = min(2 * pause, _READ_PAUSE_MAX)
            read = await self.request(ReadClaim(action.key))
            if isinstance(read, Missing):
                return read
            if isinstance(read, Done) and isinstance(read.object, ResourceClaim):
                as_written = _says(read.object, action)
                return Done(read.object, found=True) if as_written else Conflict("the write did not take effect")
        return outcome

    async def request(self, action: Action) -> Outcome:
        """One request. A writer that fails, which it should not, leaves it unknown what became of it."""
        started = self.clock()
        try:
            outcome = await self.perform(action)
        except Exception as error:
            log.exception("write failed", action=type(action).__name__, target=str(target_of(action)))
            outcome = Unknown(f"{type(error).__name__}: {error}")
        self.wrote(action, outcome, self.clock() - started)
        return outcome


def _says(claim: ResourceClaim, action: WriteClaimStatus) -> bool:
    """Whether the claim is as the action would have left it."""
    users = {consumer.uid for consumer in claim.status.reserved_for or ()}
    wanted = {consumer.uid for consumer in action.reserved_for}
    return claim.uid == action.uid and users == wanted and same_devices(action.allocation, claim.status.allocation)
