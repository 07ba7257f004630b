"""Leader election by a Lease: one replica writes, the others keep warm.

What holds:
- `holds()` is False from the moment the renew deadline since the *start* of the last successful renewal has passed,
  whatever hangs: it is asked before every write (the write barrier), and needs no task to run;
- a request takes at most what is left until the deadline;
- another's lease is judged by our own clock from when we saw it change, never by the times written in it;
- `release` gives the lease back, so that another takes over at once.

The deadline is shorter than the lease, so a leader that is cut off stops writing before anyone may take over.

Upstream: client-go's tools/leaderelection; kubernetes_asyncio's has no deadline, no barrier and no release.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec import field

from dra_operator.api.codec import decode, encode
from dra_operator.api.meta import ObjectMeta, Struct
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer

log = structlog.get_logger()


class LeaseSpec(Struct, frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Struct, frozen=True):
    api_version: str = field(default="")
    kind: str = field(default="")
    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec = LeaseSpec()


@dataclass(slots=True)
class _Seen:
    """Another's lease as last read, and when (our clock) it was first seen like that."""

    version: str
    at: float


class LeaderElection:
    """See the module. Times are seconds."""

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
    ) -> None:
        if not retry_period < renew_deadline < lease_duration:
            raise ValueError("a lease needs retry_period < renew_deadline < lease_duration")
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._duration = lease_duration
        self._deadline = renew_deadline
        self._period = retry_period
        self._renewed_at: float | None = None
        self._lease: Lease | None = None
        self._seen: _Seen | None = None

    def holds(self) -> bool:
        """Whether this replica may write right now."""
        if self._renewed_at is None:
            return False
        return asyncio.get_running_loop().time() < self._renewed_at + self._deadline

    async def run(self, on_acquired: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Acquire and renew for ever. The callbacks follow `holds`, a retry period late at most."""
        led = False
        while True:
            try:
                async with asyncio.timeout(self._deadline / 2):
                    await self._try()
            except (ApiError, NoAnswer, TimeoutError) as error:
                log.warning("lease not renewed", lease=self._name, error=str(error) or type(error).__name__)
            if self.holds() and not led:
                led = True
                on_acquired()
            elif led and not self.holds():
                led = False
                self._renewed_at = None
                on_lost()
            await asyncio.sleep(self._period)

    async def release(self) -> None:
        """Give the lease back, if we have it. Best effort: it expires by itself."""
        if not self.holds() or self._lease is None:
            return
        self._renewed_at = None
        spec = LeaseSpec(
            holder_identity="", lease_duration_seconds=1, lease_transitions=self._lease.spec.lease_transitions
        )
        try:
            await self._put(self._lease, spec, timeout=2.0)
        except (ApiError, NoAnswer) as error:
            log.warning("lease not released", lease=self._name, error=str(error))

    async def _try(self) -> None:
        """One attempt to acquire or renew."""
        now = asyncio.get_running_loop().time()
        lease = await self._get()
        if lease is None:
            await self._create(now)
            return
        holder = lease.spec.holder_identity or ""
        if holder and holder != self._identity and not self._expired(lease, now):
            self._renewed_at = None
            return
        mine = holder == self._identity
        transitions = (lease.spec.lease_transitions or 0) + (0 if mine else 1)
        acquired = lease.spec.acquire_time if mine else _micro_time()
        spec = LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=int(self._duration),
            acquire_time=acquired,
            renew_time=_micro_time(),
            lease_transitions=transitions,
        )
        try:
            self._lease = await self._put(lease, spec, timeout=self._deadline / 2)
        except ApiError as error:
            if error.status != 409:
                raise
            return  # somebody was faster; read again next time
        self._renewed_at = now

    def _expired(self, lease: Lease, now: float) -> bool:
        """Whether another's lease has not changed for as long as it is meant to last."""
        version = lease.metadata.resource_version
        if self._seen is None or self._seen.version != version:
            self._seen = _Seen(version, now)
            return False
        return now >= self._seen.at + (lease.spec.lease_duration_seconds or self._duration)

    async def _get(self) -> Lease | None:
        try:
            answer = await self._client.request("GET", f"{self._collection}/{self._name}", timeout=self._deadline / 2)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return decode(answer.body, Lease)

    async def _create(self, now: float) -> None:
        body = Lease(
            api_version="coordination.k8s.io/v1",
            kind="Lease",
            metadata=ObjectMeta(name=self._name, namespace=self._namespace),
            spec=LeaseSpec(
                holder_identity=self._identity,
                lease_duration_seconds=int(self._duration),
                acquire_time=_micro_time(),
                renew_time=_micro_time(),
                lease_transitions=0,
            ),
        )
        try:
            answer = await self._client.request("POST", self._collection, body=encode(body))
        except ApiError as error:
            if error.status != 409:
                raise
            return
        self._lease = decode(answer.body, Lease)
        self._renewed_at = now

    async def _put(self, lease: Lease, spec: LeaseSpec, *, timeout: float) -> Lease:
        """Write the spec, conditional on the lease being as it was read."""
        meta = ObjectMeta(name=self._name, namespace=self._namespace, resource_version=lease.metadata.resource_version)
        body: Any = Lease(api_version="coordination.k8s.io/v1", kind="Lease", metadata=meta, spec=spec)
        answer = await self._client.request(
            "PUT", f"{self._collection}/{self._name}", body=encode(body), timeout=timeout
        )
        return decode(answer.body, Lease)


def _micro_time() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
