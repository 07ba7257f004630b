"""What a new leader does before its first decision: it learns what the one before it wrote last.

A replica that follows is warm, and its watches may be behind, each by as much as it likes. A leader is never behind its
own writes; a new one is behind those of the former leader, and no version of one object fences what is decided from
another. So it could publish and ungate a pod whose claim the former leader had taken back a moment before, or take from
a pod what that one had ungated it with. Nothing is decided or written until

- the mirror of claims shows all that there was when the lease was acquired (`Reflector.catch_up`);
- every pod that the mirror of pods shows unbound is known as it is: the API server lists the versions of such pods, and
  those that are another version or are not listed any more are read.

Only the operator writes allocations of gated pods and lifts gates; of everything else a watch may be late at any time,
for a leader too. What costs: two lists of metadata, of all claims and of unbound pods, once in the life of a leader.

Upstream: none. kube-scheduler starts its informers anew when it begins to lead (`WaitForCacheSync`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol, TypeVar

import structlog

from dra_operator.api.core import Pod
from dra_operator.api.kinds import PODS, Kind
from dra_operator.api.meta import Object, ObjectKey, ObjectMeta, Uid, as_number
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.versions import version_of
from dra_operator.lifecycle.view import View

log = structlog.get_logger()

O = TypeVar("O", bound=Object)  # noqa: E741

UNBOUND: Final = "spec.nodeName="
_RETRY: Final = 0.5
_READS_AT_ONCE: Final = 16


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

    def begin(self) -> None:
        """The lease was acquired just now."""
        self.end()
        if not self._stopped:
            self.task = asyncio.get_running_loop().create_task(self._run())

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

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            try:
                await self._catch_up_with_pods()
                await self._claims.catch_up()
                break
            except (ApiError, NoAnswer) as error:
                log.warning("cannot learn what the leader before wrote", error=str(error), retry_in=_RETRY)
                await asyncio.sleep(_RETRY)
        self.complete = True
        self._ready(loop.time() - started)

    async def _catch_up_with_pods(self) -> None:
        metas, _ = await self._client.list_metadata(PODS, field_selector=UNBOUND)
        versions = {meta.uid: as_number(meta.resource_version) for meta in metas}
        behind = list(self._find_behind(versions))
        slots = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(pod: Pod) -> None:
            async with slots:
                await self._read(pod)

        await asyncio.gather(*(read(pod) for pod in behind))

    def _find_behind(self, versions: dict[Uid, int]) -> Iterator[Pod]:
        for uid in self._view.pods:
            pod = self._view.pod(uid)
            if pod is None or pod.done or pod.spec.node_name or not pod.spec.resource_claims:
                continue
            if version_of(pod) < versions.get(uid, version_of(pod) + 1):
                yield pod

    async def _read(self, pod: Pod) -> None:
        try:
            found = await self._client.get(PODS, pod.key)
        except ApiError as error:
            if error.status != 404:
                raise
            return  # a pod that is gone can't be ungated, and its devices are released when the mirror shows that
        if found.uid == pod.uid:
            self._mark(self._view.note_written(found))
