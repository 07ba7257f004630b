"""Evicts pods from devices that are tainted NoExecute, by the eviction API.

kube-controller-manager does that itself where its device-taint-eviction controller runs. `auto` finds out by waiting:
a pod that is still there some seconds after it was due is nobody's. `on` does not wait, `off` does nothing.

An eviction respects PodDisruptionBudgets: one that is refused for that (429) is tried again. The pod's UID is a
precondition, so that a replacement of the same name stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import structlog

from dra_operator.api.codec import encode
from dra_operator.api.kinds import PODS
from dra_operator.api.meta import Uid
from dra_operator.api.resource import DeviceTaint
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer, NotSent
from dra_operator.controller.lists import Lists
from dra_operator.inventory.devices import DeviceId
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.eviction import Eviction, Users, evictions
from dra_operator.lifecycle.view import View

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 10.0
"""How late upstream's controller may be before it is not there."""
_AGAIN_SECONDS: Final = 5.0
_REQUEST_SECONDS: Final = 3.0
"""A budget answers "later" (429): others must not wait for that."""
_GONE: Final = (404, 409)
_NOT_NOW: Final = 429


class TaintEviction(StrEnum):
    """Who evicts pods from tainted devices (`--taint-eviction`)."""

    AUTO = "auto"
    """This operator where nobody else does."""
    ON = "on"
    OFF = "off"


class Evictor:
    """See the module. `now` is seconds of the epoch; `client` is behind the lease's write barrier."""

    def __init__(
        self,
        view: View,
        client: ApiClient,
        mode: TaintEviction,
        *,
        lists: Lists,
        now: Callable[[], float],
        record: Callable[[Notice], None],
    ) -> None:
        self._view = view
        self._client = client
        self._lists = lists
        self._patience = PATIENCE_SECONDS if mode is TaintEviction.AUTO else 0.0
        self._now = now
        self._record = record
        self._users = Users()
        self._seen: dict[Uid, float] = {}
        """When a pod was first seen to be due: upstream's time runs from there, not from a taint of last week."""
        self._not_before: dict[Uid, float] = {}
        self._tainted: dict[tuple[DeviceId, DeviceTaint], float] = {}
        """When taints without a time of their own were first seen."""

    async def run(self) -> None:
        """For ever, whatever one look runs into."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("look for evictions failed", again_in=LOOK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Evict whoever is overdue. Half a list would tell of claims as they are and of taints as they were."""
        await self._lists.ended()
        now = self._now()
        known, self._tainted = self._tainted, {}

        def first_seen(device: DeviceId, taint: DeviceTaint) -> float:
            return self._tainted.setdefault((device, taint), known.get((device, taint), now))

        due = [one for one in evictions(self._view, self._users, first_seen) if one.due <= now]
        uids = {one.pod.uid for one in due}
        self._seen = {uid: min(now, self._seen.get(uid, now)) for uid in uids}  # the clock may have been set back
        again = now + _AGAIN_SECONDS
        self._not_before = {uid: min(when, again) for uid, when in self._not_before.items() if uid in uids}
        turn = [
            one
            for one in due
            if self._seen[one.pod.uid] + self._patience <= now and self._not_before.get(one.pod.uid, 0.0) <= now
        ]
        self._not_before |= {one.pod.uid: again for one in turn}
        answers = await asyncio.gather(*(self._evict(eviction) for eviction in turn), return_exceptions=True)
        for eviction, answer in zip(turn, answers, strict=True):
            if isinstance(answer, Exception):
                log.error("eviction failed", pod=str(eviction.pod.key), exc_info=answer)

    async def _evict(self, eviction: Eviction) -> None:
        pod = eviction.pod
        body: dict[str, Any] = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        }
        about = {"pod": str(pod.key), "device": str(eviction.device), "taint": eviction.taint.key}
        try:
            path = PODS.path(pod.key, "eviction")
            await self._client.request("POST", path, body=encode(body), timeout=_REQUEST_SECONDS)
        except ApiError as error:
            if error.status in _GONE:
                return
            tell = log.info if error.status == _NOT_NOW else log.warning
            tell("pod not evicted from a tainted device", **about, error=str(error), again_in=_AGAIN_SECONDS)
            return
        except (NoAnswer, NotSent) as error:
            log.debug("eviction not sent", **about, error=str(error))
            return
        log.info("pod evicted from a tainted device", **about)
        value = f" ({eviction.taint.value})" if eviction.taint.value else ""
        message = f"evicted: a device that the pod uses has the taint {eviction.taint.key}{value}"
        self._record(Notice("Pod", pod.key, pod.uid, "Warning", "DeviceTaintEviction", message))
