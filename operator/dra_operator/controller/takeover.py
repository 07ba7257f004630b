"""What a new leader does before its first decision: it learns what the one before it wrote last.

A replica that follows is warm, and its watches may be behind, each by as much as it likes. A leader is never behind its
own writes; a new one is behind those of the former leader, and no version of one object fences what is decided from
another. So it could publish and ungate a pod whose claim the former leader had taken back a moment before, or take from
a pod what that one had ungated it with. Nothing is decided or written until

- the pods that wait are known as they are: the API server lists the versions of unbound pods, and those that the mirror
  of pods lacks or shows at another version, or that are not listed any more, are read;
- the mirror of claims shows all that there was when the lease was acquired (`Reflector.catch_up`).

Of a pod that could not be read, and of one that the mirror shows for the first time after that and as it was before,
nothing is decided until it was read after all (`lifecycle/horizon.py`): one pod does not keep the others waiting.
A list that fails is tried until it succeeds. The Lease is kept meanwhile: it is renewed by the same client, another
replica has no better one, and two that give it up in turn would never lead. It is told in the log, and by /readyz.

Only the operator writes allocations of gated pods and lifts gates; of everything else a watch may be late at any time,
for a leader too. What costs: two lists of metadata, of all claims and of unbound pods, once in the life of a leader.

What is not waited for is a write of the former leader that is still on its way. None is sent later than two seconds
before another may lead (`cluster/lease.py`); one that takes longer than that meets versions that the new leader has
changed, or comes second in the order of the watch, and fails or is taken back. One case is left: the release of a claim
that takes two seconds to arrive and finds the claim unchanged, its pod announced and ungated meanwhile. kube-scheduler
then allocates for the pod anew; no device is given twice.

Upstream: none. kube-scheduler starts its informers anew when it begins to lead (`WaitForCacheSync`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog

from dra_operator.api.core import Pod
from dra_operator.api.kinds import PODS, Kind
from dra_operator.api.meta import Object, ObjectKey, ObjectMeta, Uid, as_number
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.controller.tasks import start_task
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.versions import version_of
from dra_operator.lifecycle.view import View

log = structlog.get_logger()

O = TypeVar("O", bound=Object)  # noqa: E741

UNBOUND: Final = "spec.nodeName="
_RETRY: Final = 0.5
_RETRY_MAX: Final = 5.0
_READS_AT_ONCE: Final = 16
READ_SECONDS: Final = 10.0
"""What is not read by then is read one by one, as it is looked at."""
LATE_SECONDS: Final = 10.0
"""A takeover that lasts longer is told of. Most take less than two."""


class Mirror(Protocol):
    """What is needed of `cluster.reflector.Reflector`."""

    async def catch_up(self) -> None: ...


class Reader(Protocol):
    """What is needed of `cluster.http.ApiClient`."""

    async def get(self, kind: Kind[O], key: ObjectKey, /) -> O: ...

    async def list_metadata(self, kind: Kind[Any], /, *, field_selector: str) -> tuple[list[ObjectMeta], str]: ...


class Takeover:
    """See the module. `complete` is False from `begin` until all is known; then `ready` is called, once."""

    def __init__(
        self,
        client: Reader,
        view: View,
        claims: Mirror,
        *,
        mark: Callable[[Iterable[Ref]], None],
        ready: Callable[[float], None],
    ) -> None:
        """`ready` is told how many seconds it took."""
        self._client = client
        self._view = view
        self._claims = claims
        self._mark = mark
        self._ready = ready
        self._stopped = False
        self.task: asyncio.Task[None] | None = None
        """Of the last `begin`."""
        self.complete = False
        self._began = 0.0
        self._step = ""
        """What is at it."""
        self._failure = ""
        """Why the last attempt did not succeed."""

    def begin(self) -> None:
        """The lease was acquired just now."""
        self.end()
        if not self._stopped:
            self.task = start_task(self._run())

    def end(self) -> None:
        """The lease is lost."""
        self.complete = False
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def stop(self) -> None:
        """The mirrors stand still from now on. What is complete stays so: writes that were decided may be sent."""
        self._stopped = True
        if not self.complete:
            self.end()

    def remarks(self) -> list[str]:
        """What is worth telling: that it takes long, and why."""
        if self.complete or self.task is None:
            return []
        seconds = asyncio.get_running_loop().time() - self._began
        if seconds < LATE_SECONDS:
            return []
        why = f"{self._step} ({self._failure})" if self._failure else self._step
        return [f"leading for {seconds:.0f} s, but not deciding: what the leader before wrote is not known yet: {why}"]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        late = loop.call_later(LATE_SECONDS, self._tell)
        try:
            await self._until_done("pods are listed and read", self._catch_up_with_pods)
            await self._until_done("the mirror of claims catches up", self._claims.catch_up)
        finally:
            late.cancel()
        self.complete = True
        self._ready(loop.time() - self._began)

    def _tell(self) -> None:
        for remark in self.remarks():
            log.warning(remark)

    async def _until_done(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        self._step, self._failure, pause = name, "", _RETRY
        while True:
            try:
                return await step()
            except (ApiError, NoAnswer) as error:
                self._failure = str(error)
                log.warning("cannot learn what the leader before wrote", error=str(error), retry_in=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY_MAX)

    async def _catch_up_with_pods(self) -> None:
        metas, version = await self._client.list_metadata(PODS, field_selector=UNBOUND)
        behind = dict(self._find_behind(metas))
        self._view.horizon.begin(as_number(version), set(behind))
        slots = asyncio.Semaphore(_READS_AT_ONCE)
        try:
            async with asyncio.timeout(READ_SECONDS), asyncio.TaskGroup() as reads:
                for uid, key in behind.items():
                    reads.create_task(self._read(uid, key, as_number(version), slots))
        except TimeoutError:
            log.warning("reading pods takes long; the rest is read as it is looked at", pods=len(behind))

    def _find_behind(self, listed: Sequence[ObjectMeta]) -> Iterator[tuple[Uid, ObjectKey]]:
        """Pods that the mirror shows otherwise than they are listed, or not at all."""
        versions = {meta.uid: as_number(meta.resource_version) for meta in listed}
        for uid in self._view.pods:
            pod = self._view.pod(uid)
            if pod is None or pod.done or pod.spec.node_name or not pod.spec.resource_claims:
                continue
            if version_of(pod) < versions.get(uid, version_of(pod) + 1):
                yield uid, pod.key
        for meta in listed:
            if meta.uid not in self._view.pods and not self._view.is_gone(meta.uid):
                yield meta.uid, meta.key

    async def _read(self, uid: Uid, key: ObjectKey, horizon: int, slots: asyncio.Semaphore) -> None:
        found: Pod | None = None
        async with slots:
            try:
                found = await self._client.get(PODS, key)
            except NoAnswer as error:
                log.error("pod left out until it can be read", name=str(key), error=str(error))
                return
            except ApiError as error:
                if not error.is_gone:
                    log.error("pod left out until it can be read", name=str(key), error=str(error))
                    return
        if found is not None and found.uid != uid:
            found = None
        self._mark(self._view.note_read(uid, found, horizon))
