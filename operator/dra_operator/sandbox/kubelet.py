"""A stand-in for the kubelets of all simulated nodes: one watch of pods and one of claims, a task for each pod.

A pod's task admits, prepares, sets the pod Running in one status write, ends it after `dra-operator.io/run-for`, and
finishes its deletion as a kubelet does: unprepare, say that the pod has ended, then DELETE with grace period 0 and the
UID as precondition. A pod that is deleted ends at once unless `dra-operator.io/ignore-term` lets it run for its whole
grace period.

Writes that fail are tried again until the pod is gone: the API server may restart meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import IGNORE_TERM_ANNOTATION, RUN_FOR_ANNOTATION
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.events import EventRecorder
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.reflector import Reflector
from dra_operator.lifecycle.actions import Notice
from dra_operator.sandbox.runtime import NodeRuntime, NotYetError

log = structlog.get_logger()

_CONCURRENT_WRITES: Final = 32
_RETRY: Final = 0.5
_TOLD_AT: Final = 6
"""The failure that is told. A device is given back within a second or two, and the next pod waits for that."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Kubelets:
    """See the module. `nodes` are the names of the nodes that it stands in for."""

    def __init__(self, client: ApiClient, nodes: Sequence[str], runtime: NodeRuntime) -> None:
        self._client = client
        self._nodes = frozenset(nodes)
        self._runtime = runtime
        self._claims: dict[ObjectKey, ResourceClaim] = {}
        self._workers: dict[Uid, _Worker] = {}
        self._writes = asyncio.Semaphore(_CONCURRENT_WRITES)
        self._rng = random.Random()  # noqa: S311 - jitter
        self._events = EventRecorder(client, instance="sandbox", rng=self._rng, controller="kubelet")

    async def run(self) -> None:
        rng = self._rng
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._events.run())
            tasks.create_task(Reflector(self._client, CLAIMS, _ClaimSink(self), rng=rng).run())
            tasks.create_task(Reflector(self._client, PODS, _PodSink(self), rng=rng).run())

    # --- what the watches say --------------------------------------------------------------------------------------

    def see_pod(self, pod: Pod) -> None:
        if pod.spec.node_name not in self._nodes:
            return
        worker = self._workers.get(pod.uid)
        if worker is not None:
            worker.pod = pod
            worker.changed.set()
        elif not (pod.terminal and pod.metadata.deletion_timestamp is None):
            worker = self._workers[pod.uid] = _Worker(pod)
            worker.task = asyncio.create_task(self._work(worker))

    def lose_pod(self, uid: Uid) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.gone = True
            worker.changed.set()

    def known_pods(self) -> set[Uid]:
        return set(self._workers)

    def see_claims(self, changes: dict[ObjectKey, ResourceClaim | None], *, whole: bool) -> None:
        if whole:
            self._claims.clear()
        for key, claim in changes.items():
            if claim is None:
                self._claims.pop(key, None)
            else:
                self._claims[key] = claim
        for worker in self._workers.values():
            if worker.waiting:
                worker.changed.set()

    # --- a pod's life ----------------------------------------------------------------------------------------------

    async def _work(self, worker: _Worker) -> None:
        claims: list[ResourceClaim] = []
        try:
            if not worker.ending and not worker.pod.terminal:
                claims = await self._become_ready(worker)
            if not worker.ending and not worker.pod.terminal:
                await self._write(worker, lambda: self._set_phase(worker.pod, "Running"))
                await self._live(worker)
            await self._runtime.unprepare(worker.pod, claims)
            if not worker.pod.terminal:
                await self._write(worker, lambda: self._set_phase(worker.pod, "Succeeded"))
            while not worker.ending:
                await worker.wait()
            await self._write(worker, lambda: self._finish(worker.pod))
        except Exception:
            # One pod's trouble must not end the node.
            log.exception("pod worker failed", pod=str(worker.pod.key))
        finally:
            del self._workers[worker.pod.uid]

    async def _become_ready(self, worker: _Worker) -> list[ResourceClaim]:
        worker.waiting = True
        try:
            while not worker.ending:
                claims: list[ResourceClaim] = []
                try:
                    claims = await self._runtime.admit(worker.pod, self._claims)
                    await self._runtime.prepare(worker.pod, claims)
                    return claims
                except NotYetError as reason:
                    if claims:  # it is admitted
                        self._tell(worker, reason)
                    log.debug("pod waits", pod=str(worker.pod.key), why=str(reason))
                    await worker.wait(reason.again_in)
            return []
        finally:
            worker.waiting = False

    def _tell(self, worker: _Worker, reason: NotYetError) -> None:
        """That the pod's claims are not prepared, once it is no matter of a moment."""
        worker.failures += 1
        if worker.failures == _TOLD_AT or (reason.again_in is None and worker.failures < _TOLD_AT):
            worker.failures = _TOLD_AT
            message = f"Failed to prepare dynamic resources: {reason}"
            pod = worker.pod
            self._events.record(Notice("Pod", pod.key, pod.uid, "Warning", "FailedPrepareDynamicResources", message))

    async def _live(self, worker: _Worker) -> None:
        """Until the pod's time is up, or it is deleted and its grace period is over."""
        loop = asyncio.get_running_loop()
        run_for = duration(worker.pod.metadata.annotation(RUN_FOR_ANNOTATION))
        end = None if run_for is None else loop.time() + run_for
        while not worker.ending and (end is None or loop.time() < end):
            await worker.wait(None if end is None else end - loop.time())
        if worker.gone or not worker.ending or worker.pod.metadata.annotation(IGNORE_TERM_ANNOTATION) != "true":
            return
        grace = loop.time() + (worker.pod.metadata.deletion_grace_period_seconds or 0)
        while not worker.gone and loop.time() < grace:
            await worker.wait(grace - loop.time())

    async def _write(self, worker: _Worker, request: Callable[[], Awaitable[None]]) -> None:
        """Until it is done, or the pod is gone."""
        while not worker.gone:
            try:
                async with self._writes:
                    await request()
                return
            except ApiError as error:
                if error.status in (404, 409):
                    return
                log.warning("pod not updated", pod=str(worker.pod.key), error=str(error))
            except NoAnswer as error:
                log.warning("pod not updated", pod=str(worker.pod.key), error=str(error))
            await asyncio.sleep(_RETRY)

    async def _set_phase(self, pod: Pod, phase: str) -> None:
        body = {"metadata": {"uid": pod.uid}, "status": status_of(pod, phase)}
        await self._client.patch(
            PODS, pod.key, body, patch_type="strategic", subresource="status", field_manager="kubelet"
        )

    async def _finish(self, pod: Pod) -> None:
        await self._client.delete(PODS, pod.key, uid=pod.uid, grace_seconds=0)


class _Worker:
    """One pod's task and the newest it knows of the pod."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.gone = False
        self.waiting = False
        self.failures = 0
        """How often its claims could not be prepared."""
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def ending(self) -> bool:
        return self.gone or self.pod.metadata.deletion_timestamp is not None

    async def wait(self, seconds: float | None = None) -> None:
        """Until something changes, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return
        self.changed.clear()


class _PodSink:
    def __init__(self, kubelets: Kubelets) -> None:
        self._kubelets = kubelets

    async def replace(self, objects: Sequence[Pod], resource_version: str) -> None:
        listed = {pod.uid for pod in objects}
        for uid in self._kubelets.known_pods() - listed:
            self._kubelets.lose_pod(uid)
        for pod in objects:
            self._kubelets.see_pod(pod)

    def apply(self, type_: str, object_: Pod) -> None:
        if type_ == "DELETED":
            self._kubelets.lose_pod(object_.uid)
        else:
            self._kubelets.see_pod(object_)


class _ClaimSink:
    def __init__(self, kubelets: Kubelets) -> None:
        self._kubelets = kubelets

    async def replace(self, objects: Sequence[ResourceClaim], resource_version: str) -> None:
        self._kubelets.see_claims({claim.key: claim for claim in objects}, whole=True)

    def apply(self, type_: str, object_: ResourceClaim) -> None:
        self._kubelets.see_claims({object_.key: None if type_ == "DELETED" else object_}, whole=False)


def status_of(pod: Pod, phase: str) -> dict[str, Any]:
    """The status that a kubelet writes when a pod starts to run, or has ended well."""
    now = datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    running = phase == "Running"
    state: dict[str, Any] = (
        {"running": {"startedAt": now}}
        if running
        else {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    )
    ready = "True" if running else "False"
    reason = {} if running else {"reason": "PodCompleted"}
    conditions = [
        {"type": "Initialized", "status": "True", "lastTransitionTime": now, **reason},
        {"type": "ContainersReady", "status": ready, "lastTransitionTime": now, **reason},
        {"type": "Ready", "status": ready, "lastTransitionTime": now, **reason},
    ]
    statuses = [
        {
            "name": container.name,
            "image": "simulated",
            "imageID": "simulated",
            "ready": running,
            "started": running,
            "restartCount": 0,
            "state": state,
        }
        for container in pod.spec.containers
    ]
    status = {"phase": phase, "conditions": conditions, "containerStatuses": statuses}
    return {**status, "startTime": now} if running else status


def duration(text: str | None) -> float | None:
    """Seconds of `dra-operator.io/run-for`: a number, or a Go duration such as 1m30s. None runs until deleted."""
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        log.error("not a duration, the pod runs until it is deleted", annotation=RUN_FOR_ANNOTATION, value=text)
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
