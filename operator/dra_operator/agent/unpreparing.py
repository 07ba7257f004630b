"""Keeps new claims off devices that are still prepared for a claim which holds them no longer.

A claim may lose its devices while containers still run with them: its pod was deleted by force, or the plugin was away
when the kubelet unprepared it. Whoever got such a device next would wait for it, so it carries the taint
`dra-operator.io/unpreparing` (NoSchedule) until it is unprepared. Shares need none, nor admin access.

Each prepared claim has a watch of its own, as the kubelet has for each Secret of its pods: a node has a few of them,
and a watch of all claims would bring every node every change of the cluster. It begins some seconds after the claim was
prepared: prepare itself has just read it, and while a node starts its pods their containers come first. A claim that is
unprepared by then costs no watch; one that has lost its devices by then is found by the LIST that begins a watch.

Not here: that such a device is refused (`preparation.py`); publishing (`node.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dra_operator.agent.allocated import AllocatedDevice, allocated_devices
from dra_operator.agent.checkpoint import PreparedClaim
from dra_operator.agent.taints import DeviceTaints
from dra_operator.api.kinds import CLAIMS
from dra_operator.api.meta import Uid
from dra_operator.api.names import UNPREPARING_TAINT
from dra_operator.api.resource import DeviceTaint, ResourceClaim
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.reflector import Reflector

_TAINT: Final = DeviceTaint(key=UNPREPARING_TAINT, effect="NoSchedule")


class UnpreparingTaints:
    """See the module. `changed` is to be set whenever `prepared()` may give something else. `watch_after`: seconds."""

    def __init__(
        self,
        client: ApiClient,
        driver: str,
        taints: DeviceTaints,
        prepared: Callable[[], Mapping[Uid, PreparedClaim]],
        changed: asyncio.Event,
        watch_after: float = 3.0,
    ) -> None:
        self._client = client
        self._driver = driver
        self._taints = taints
        self._prepared = prepared
        self._changed = changed
        self._watch_after = watch_after
        self._held: dict[Uid, frozenset[AllocatedDevice]] = {}
        """What the claims hold, of those that were read."""
        self._watches: dict[Uid, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """For ever."""
        rng = random.Random()  # noqa: S311 - jitter
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                prepared = self._prepared()
                for uid in self._watches.keys() - prepared.keys():
                    self._watches.pop(uid).cancel()
                    self._held.pop(uid, None)
                for uid in prepared.keys() - self._watches.keys():
                    claim = prepared[uid]
                    reflector = Reflector(
                        self._client,
                        CLAIMS,
                        _Sink(self, uid),
                        rng=rng,
                        namespace=claim.namespace,
                        field_selector=f"metadata.name={claim.name}",
                    )
                    self._watches[uid] = tasks.create_task(self._watch(reflector), name=f"watch claim {claim.name}")
                self.say()
                await self._changed.wait()

    async def _watch(self, reflector: Reflector[ResourceClaim]) -> None:
        await asyncio.sleep(self._watch_after)
        await reflector.run()

    def see(self, uid: Uid, claim: ResourceClaim | None) -> None:
        """This is the claim now; None if it is gone."""
        allocation = None if claim is None else claim.status.allocation
        results = () if allocation is None else allocation.devices.results or ()
        self._held[uid] = frozenset(allocated_devices(results, self._driver))
        self.say()

    def say(self) -> None:
        tainted = {
            one.device: _TAINT
            for uid, claim in self._prepared().items()
            if uid in self._held
            for one in claim.allocated
            if one not in self._held[uid] and one.share_id is None and not one.admin_access
        }
        self._taints.replace(UNPREPARING_TAINT, tainted)


class _Sink:
    """One claim: of its name there may be another one by now."""

    def __init__(self, taints: UnpreparingTaints, uid: Uid) -> None:
        self._taints = taints
        self._uid = uid

    async def replace(self, objects: Sequence[ResourceClaim], resource_version: str) -> None:
        self._taints.see(self._uid, next((claim for claim in objects if claim.uid == self._uid), None))

    def apply(self, type_: str, object_: ResourceClaim) -> None:
        if object_.uid == self._uid:
            self._taints.see(self._uid, None if type_ == "DELETED" else object_)
