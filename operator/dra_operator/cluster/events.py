"""Events on Pods and claims: best effort, never in the way of a decision.

The same notice again within ten minutes of the last becomes a count on the first Event's series instead of a new
object. What comes too fast is dropped: per object and in all by token buckets, and by the length of the queue when the
API server does not keep up. `dropped` counts it.

Invariant: no notice, and no answer to one, ends the recorder or reaches its caller.

Upstream: k8s.io/client-go/tools/events (series), tools/record (rate limits).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from dra_operator.api.codec import encode
from dra_operator.api.meta import Uid
from dra_operator.api.names import REPORTING_CONTROLLER
from dra_operator.api.text import cut
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.lifecycle.actions import Notice

log = structlog.get_logger()

QUEUE_MAX: Final = 1_000
SERIES_SECONDS: Final = 600.0
NOTE_MAX: Final = 1_024
"""Bytes of UTF-8, as all limits of the API to an Event's texts."""
_WORD_MAX: Final = 128
_NAME_MAX: Final = 200
"""Characters of the object's name in the Event's, which may have 253."""
OBJECT_BURST: Final = 10.0
OBJECT_REFILL: Final = 1 / 20
TOTAL_BURST: Final = 500.0
TOTAL_REFILL: Final = 50.0
"""Notices a second: more than pods are given devices in a second, and little beside what these writes cost."""
_REMEMBERED: Final = 4_096
_API_VERSIONS: Final = {"Pod": "v1", "ResourceClaim": "resource.k8s.io/v1"}


@dataclass(slots=True)
class _Series:
    name: str
    last: float
    count: int


@dataclass(slots=True)
class _Bucket:
    """`tokens` at the time `at`; never more than `burst`, `refill` more a second."""

    burst: float
    refill: float
    tokens: float
    at: float

    def fill(self, now: float) -> bool:
        """Bring it up to now. Whether there is a token to take."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.refill)
        self.at = now
        return self.tokens >= 1


class EventRecorder:
    """`record` takes notices, `run` sends them."""

    def __init__(
        self, client: ApiClient, *, instance: str, rng: random.Random, controller: str = REPORTING_CONTROLLER
    ) -> None:
        """`instance` names this replica of the `controller`."""
        self._controller = controller
        self._client = client
        self._instance = instance
        self._rng = rng
        self._queue: asyncio.Queue[Notice] = asyncio.Queue(QUEUE_MAX)
        self._series: OrderedDict[Notice, _Series] = OrderedDict()
        self._buckets: OrderedDict[Uid, _Bucket] = OrderedDict()
        self._total: _Bucket | None = None
        self.dropped = 0

    def record(self, notice: Notice) -> None:
        """Queue the notice. Never blocks and never raises."""
        if not self._allows(notice.uid):
            self.dropped += 1
            return
        try:
            self._queue.put_nowait(notice)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Send what is queued, for ever."""
        while True:
            notice = await self._queue.get()
            try:
                await self._send(notice)
            except (ApiError, NoAnswer) as error:
                log.debug("event not recorded", object=str(notice.key), reason=notice.reason, error=str(error))
            except Exception:
                # An Event is never worth the recorder: the next notice may fare better.
                log.exception("event not recorded", object=str(notice.key), reason=notice.reason)

    def _allows(self, uid: Uid) -> bool:
        """Take a token from the object's bucket and from that of all; from neither where one is empty."""
        now = asyncio.get_running_loop().time()
        total = self._total = self._total or _Bucket(TOTAL_BURST, TOTAL_REFILL, TOTAL_BURST, now)
        bucket = self._buckets.setdefault(uid, _Bucket(OBJECT_BURST, OBJECT_REFILL, OBJECT_BURST, now))
        self._buckets.move_to_end(uid)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if not (bucket.fill(now) and total.fill(now)):
            return False
        bucket.tokens -= 1
        total.tokens -= 1
        return True

    async def _send(self, notice: Notice) -> None:
        now = asyncio.get_running_loop().time()
        path = f"/apis/events.k8s.io/v1/namespaces/{notice.key.namespace or 'default'}/events"
        series = self._series.get(notice)
        if series is not None and now - series.last < SERIES_SECONDS:
            series.count += 1
            series.last = now
            self._series.move_to_end(notice)
            body: dict[str, Any] = {"series": {"count": series.count, "lastObservedTime": _micro_time()}}
            try:
                await self._client.request(
                    "PATCH", f"{path}/{series.name}", body=encode(body), content_type="application/merge-patch+json"
                )
            except ApiError as error:
                if error.status != 404:  # expired at the server: begin anew
                    raise
            else:
                return
        name = f"{notice.key.name[:_NAME_MAX].rstrip('.-')}.{_unique(notice, self._rng)}"
        await self._client.request("POST", path, body=encode(self._event(notice, name)))
        self._series[notice] = _Series(name, now, 1)
        self._series.move_to_end(notice)
        if len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

    def _event(self, notice: Notice, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": notice.key.namespace or "default"},
            "eventTime": _micro_time(),
            "type": notice.type,
            "reason": cut(notice.reason, _WORD_MAX),
            "action": "AllocateDevices",
            "note": cut(notice.message, NOTE_MAX),
            "reportingController": self._controller,
            "reportingInstance": cut(self._instance, _WORD_MAX),
            "regarding": {
                "apiVersion": _API_VERSIONS[notice.kind],
                "kind": notice.kind,
                "namespace": notice.key.namespace,
                "name": notice.key.name,
                "uid": notice.uid,
            },
        }


def _unique(notice: Notice, rng: random.Random) -> str:
    seed = f"{notice.uid}/{notice.reason}/{notice.message}/{rng.random()}"
    return hashlib.sha256(seed.encode()).hexdigest()[:16]


def _micro_time() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
