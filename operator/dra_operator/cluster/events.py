"""Events on Pods and claims: best effort, never in the way of a decision.

The same notice again within a while becomes a count on the first Event's series instead of a new object. What comes
too fast is dropped: per object by a token bucket, in all by the length of the queue.

Upstream: k8s.io/client-go/tools/events (series, rate limits).
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
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.lifecycle.actions import Notice

log = structlog.get_logger()

QUEUE_MAX: Final = 1_000
SERIES_SECONDS: Final = 600.0
NOTE_MAX: Final = 1_024
_BURST: Final = 10.0
_REFILL: Final = 1 / 20
_REMEMBERED: Final = 4_096
_API_VERSIONS: Final = {"Pod": "v1", "ResourceClaim": "resource.k8s.io/v1"}


@dataclass(slots=True)
class _Series:
    name: str
    since: float
    count: int


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class EventRecorder:
    """`record` takes notices, `run` sends them."""

    def __init__(self, client: ApiClient, *, instance: str, rng: random.Random) -> None:
        """`instance` names this replica."""
        self._client = client
        self._instance = instance
        self._rng = rng
        self._queue: asyncio.Queue[Notice] = asyncio.Queue(QUEUE_MAX)
        self._series: OrderedDict[Notice, _Series] = OrderedDict()
        self._buckets: OrderedDict[Uid, _Bucket] = OrderedDict()
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
        while True:
            notice = await self._queue.get()
            try:
                await self._send(notice)
            except (ApiError, NoAnswer) as error:
                log.debug("event not recorded", object=str(notice.key), reason=notice.reason, error=str(error))

    def _allows(self, uid: Uid) -> bool:
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.setdefault(uid, _Bucket(_BURST, now))
        bucket.tokens = min(_BURST, bucket.tokens + (now - bucket.at) * _REFILL)
        bucket.at = now
        self._buckets.move_to_end(uid)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    async def _send(self, notice: Notice) -> None:
        now = asyncio.get_running_loop().time()
        path = f"/apis/events.k8s.io/v1/namespaces/{notice.key.namespace or 'default'}/events"
        series = self._series.get(notice)
        if series is not None and now - series.since < SERIES_SECONDS:
            series.count += 1
            body: dict[str, Any] = {"series": {"count": series.count, "lastObservedTime": _micro_time()}}
            try:
                await self._client.request(
                    "PATCH", f"{path}/{series.name}", body=encode(body), content_type="application/merge-patch+json"
                )
            except ApiError as error:
                if error.status != 404:
                    raise
                del self._series[notice]  # expired at the server: begin anew
            else:
                return
        name = f"{notice.key.name[:200]}.{_unique(notice, self._rng)}"
        await self._client.request("POST", path, body=encode(self._event(notice, name)))
        self._series[notice] = _Series(name, now, 1)
        if len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

    def _event(self, notice: Notice, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": notice.key.namespace or "default"},
            "eventTime": _micro_time(),
            "type": notice.type,
            "reason": notice.reason[:128],
            "action": "AllocateDevices",
            "note": notice.message[:NOTE_MAX],
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._instance[:128],
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
