"""Leader election by a Lease: one replica writes, the others keep warm.

What holds:
- `holds()` is False from the moment the renew deadline since the *start* of the last successful renewal has passed,
  whatever hangs: it is asked before every write (the write barrier), and needs no task to run;
- `on_lost` is called at that moment too, by a timer, and after it `on_acquired` before anything is written again: what
  was turned away at the barrier in between is not forgotten;
- an attempt takes a third of the deadline at most, so that one that hangs leaves time for another, and one that is told
  to come later than that ends at once;
- another's lease is judged by our own clock from when we had seen it change, never by the times written in it;
- every write is conditional on the Lease being as it was read, or as we wrote it: a conflict means that somebody was
  faster, and so does one that is gone. Then it is read, as it is where an answer was lost;
- who leads writes without reading first: one request a renewal;
- `release` gives the lease back, so that another takes over at once.

The deadline is shorter than the lease, so a leader that is cut off stops writing before anyone may take over. Of one
that dies without a word, another sees the last renewal up to a period late and looks a period apart, so that it leads
after a lease and two periods at most, and what the requests take: 12 s.

Upstream: client-go's tools/leaderelection; kubernetes_asyncio's has no deadline, no barrier and no release.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from dra_operator.api.codec import decode, encode
from dra_operator.api.meta import ObjectMeta, Struct
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer, Response
from dra_operator.cluster.said import Said

log = structlog.get_logger()

LEASE_DURATION: Final = 10.0
RENEW_DEADLINE: Final = 8.0
RETRY_PERIOD: Final = 1.0
"""Shorter than client-go's 15, 10 and 2 s: a replica that follows is warm, so that changing leaders costs little, and
one that lost the lease in an outage of the API server takes it again as soon as that answers."""

_EXPECTED: Final = (ApiError, NoAnswer, OSError, msgspec.MsgspecError)
"""What a request may end with: TimeoutError and an unreadable token file are OSErrors; a proxy may answer anything."""


class LeaseSpec(Struct, frozen=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Struct, frozen=True):
    api_version: str = ""
    kind: str = ""
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
        lease_duration: float = LEASE_DURATION,
        renew_deadline: float = RENEW_DEADLINE,
        retry_period: float = RETRY_PERIOD,
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
        self._attempt = renew_deadline / 3
        self._renewed_at: float | None = None
        self._written: Lease | None = None
        """As our last write left it; None where that is not known."""
        self._tried = False
        self._said = Said()
        self._seen: _Seen | None = None
        self._leading = False
        self._lapse: asyncio.TimerHandle | None = None
        self._on_lost: Callable[[], None] = lambda: None

    def holds(self) -> bool:
        """Whether this replica may write right now."""
        if self._renewed_at is None:
            return False
        return asyncio.get_running_loop().time() < self._renewed_at + self._deadline

    async def run(self, on_acquired: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Acquire and renew for ever. Cancelled to stop, which calls nothing."""
        self._on_lost = on_lost
        try:
            while True:
                try:
                    async with asyncio.timeout(self._attempt):
                        await self._try()
                    self._said.forget()
                except _EXPECTED as error:
                    if self._said.is_news(why := str(error) or type(error).__name__):
                        log.warning("lease not renewed", lease=self._name, error=why)
                if self.holds() and not self._leading:
                    self._leading = True
                    on_acquired()
                await asyncio.sleep(self._period)
        finally:
            self._cancel_lapse()

    async def release(self) -> None:
        """Give the lease back, if we have it; `run` has ended by then. Best effort: it expires by itself."""
        self._renewed_at = self._written = None
        self._leading = False
        if not self._tried:
            return
        try:
            async with asyncio.timeout(self._attempt):
                await self._give_back()
        except _EXPECTED as error:
            log.warning("lease not released", lease=self._name, error=str(error) or type(error).__name__)

    async def _try(self) -> None:
        """One attempt to acquire or renew."""
        started = asyncio.get_running_loop().time()
        written, self._written = self._written, None
        if written is not None:
            self._written = await self._write(written, self._renewal(written))
            if self._written is not None:
                self._renewed(started)
                return
        started = asyncio.get_running_loop().time()
        lease = await self._get()
        holder = "" if lease is None else lease.spec.holder_identity or ""
        if lease is not None and holder and holder != self._identity and not self._expired(lease):
            self._lose()
            return
        self._tried = True
        self._written = await self._write(lease, self._renewal(lease))
        if self._written is not None:
            self._renewed(started)

    def _renewal(self, lease: Lease | None) -> LeaseSpec:
        """What makes that lease ours, from now on or for longer."""
        mine = lease is not None and lease.spec.holder_identity == self._identity
        now = _micro_time()
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=math.ceil(self._duration),
            acquire_time=lease.spec.acquire_time if lease is not None and mine else now,
            renew_time=now,
            lease_transitions=0 if lease is None else (lease.spec.lease_transitions or 0) + (0 if mine else 1),
        )

    def _renewed(self, started: float) -> None:
        if not self.holds():
            self._lose()  # the timer may be due and not have run: a lapse is a lapse
        self._renewed_at = started
        self._cancel_lapse()
        self._lapse = asyncio.get_running_loop().call_at(started + self._deadline, self._lose)

    def _lose(self) -> None:
        """We do not lead, as of now."""
        self._renewed_at = None
        self._cancel_lapse()
        if self._leading:
            self._leading = False
            self._on_lost()

    def _cancel_lapse(self) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None

    async def _give_back(self) -> None:
        """A renewal that was cut off may still arrive and win over the first attempt."""
        for _ in range(2):
            lease = await self._get()
            if lease is None or lease.spec.holder_identity != self._identity:
                return
            now = _micro_time()
            spec = LeaseSpec(
                holder_identity="",
                lease_duration_seconds=1,
                acquire_time=now,
                renew_time=now,
                lease_transitions=lease.spec.lease_transitions,
            )
            if await self._write(lease, spec) is not None:
                log.info("lease released", lease=self._name)
                return

    def _expired(self, lease: Lease) -> bool:
        """Whether another's lease has not changed for as long as it is meant to last. Asked right after reading it."""
        now = asyncio.get_running_loop().time()
        version = lease.metadata.resource_version
        if self._seen is None or self._seen.version != version:
            self._seen = _Seen(version, now)
            return False
        return now >= self._seen.at + (lease.spec.lease_duration_seconds or self._duration)

    async def _get(self) -> Lease | None:
        try:
            answer = await self._client.request("GET", f"{self._collection}/{self._name}", timeout=self._attempt)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return _lease_in(answer)

    async def _write(self, lease: Lease | None, spec: LeaseSpec) -> Lease | None:
        """Create the Lease, or patch its spec if it still is as it was. None: somebody was faster.

        A patch and not an update: labels and annotations that others set on it stay.
        """
        try:
            if lease is None:
                new = Lease(
                    api_version="coordination.k8s.io/v1",
                    kind="Lease",
                    metadata=ObjectMeta(name=self._name, namespace=self._namespace),
                    spec=spec,
                )
                answer = await self._client.request("POST", self._collection, body=encode(new), timeout=self._attempt)
            else:
                meta = ObjectMeta(uid=lease.metadata.uid, resource_version=lease.metadata.resource_version)
                answer = await self._client.request(
                    "PATCH",
                    f"{self._collection}/{self._name}",
                    body=encode({"metadata": meta, "spec": spec}),
                    content_type="application/merge-patch+json",
                    timeout=self._attempt,
                )
        except ApiError as error:
            if error.status == 409 or (error.status == 404 and lease is not None):
                return None
            raise
        return _lease_in(answer)


def _lease_in(answer: Response) -> Lease:
    """The Lease that was answered. One without a resourceVersion is none: what is written after it has no condition."""
    lease = decode(answer.body, Lease)
    if not lease.metadata.resource_version:
        raise NoAnswer("the answer is no Lease")
    return lease


def _micro_time() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
