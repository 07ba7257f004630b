"""The controller as a whole: what runs, in which order it starts, and how it stops.

    Kopf events ─┐                       ┌─ Writer (behind the lease's write barrier)
    Reflectors ──┼→ View → queue → Engine┤
    Census ──────┘                       └─ EventRecorder

Start: mirrors first, decisions only when all of them are synced, writes only while the Lease is held, and not before
all is known that was written under it before. Stop: no new decision; writes on their way are answered, under a Lease
that is renewed meanwhile; it is released, connections are closed.

One instance a process; it outlives a restart of Kopf.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
import structlog

from dra_operator.allocation.features import Features
from dra_operator.api.kinds import CLAIMS, SLICES, TAINT_RULES, Kind
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.cluster.census import Census
from dra_operator.cluster.events import EventRecorder
from dra_operator.cluster.flavour import Api, ApiMissing, expect_api
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.cluster.lease import LeaderElection
from dra_operator.cluster.pace import PaceObserver
from dra_operator.cluster.queue import WorkQueue
from dra_operator.cluster.reflector import Reflector
from dra_operator.cluster.writer import Writer
from dra_operator.controller.admission.admission import Admission
from dra_operator.controller.engine import STEPS_IN_ONE_GO, Engine
from dra_operator.controller.evictor import Evictor, TaintEviction
from dra_operator.controller.health import HealthServer
from dra_operator.controller.heap import settle
from dra_operator.controller.lists import Lists
from dra_operator.controller.metrics import Metrics
from dra_operator.controller.mirrors import KOPF_KINDS, ClaimMirror, KopfMirror, SliceMirror, TaintRuleMirror
from dra_operator.controller.permissions import Permissions
from dra_operator.controller.progress import Progress
from dra_operator.controller.settings import CANNOT_ADOPT, Settings
from dra_operator.controller.sync import wait_until_shown
from dra_operator.controller.takeover import Takeover
from dra_operator.controller.tasks import find_ended, start_task
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.lean import Lean
from dra_operator.lifecycle.policy import ClaimsMode
from dra_operator.lifecycle.sweep import Sweep
from dra_operator.lifecycle.unelected import PATIENCE, Unelected
from dra_operator.lifecycle.view import View

log = structlog.get_logger()

_RELEASE_POLL = 0.5
_LAG_PROBE = 0.1
_TELL_EVERY = 60.0
_DRAIN_SECONDS = 20.0
"""How long a stop waits for answers; a Pod has 30 s by default until it is killed."""
COLLECTOR_SECONDS = 1.0
"""How long claims of pods that are gone are left to the garbage collector. It may be busy, or not run at all; devices
wait no longer for it."""
_API_PATIENCE = 20.0
"""Seconds. A cluster that comes up with us gets its definitions in that time."""


class Controller:
    """See the module."""

    def __init__(self, settings: Settings, *, identity: str, rng: random.Random | None = None) -> None:
        """`identity` names this replica in the Lease. Raises `KubeconfigError`."""
        self.settings = settings
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self.credentials = find_credentials(settings.kubeconfig or None, settings.context or None)
        self._client: ApiClient = self.credentials.client()
        self._permissions = Permissions(self.credentials.source)
        self.api = settings.api
        """Who serves resource.k8s.io; known from the start on."""
        patience = PATIENCE * self._rng.uniform(1.0, 2.0)
        self.view = View(Unelected(alone=settings.leader_elect, patience=patience, met=self._on_another))
        self.view.held_back.seconds, self.view.held_back.now = settings.release_hold, time.time
        self.view.collector_seconds, self.view.now = COLLECTOR_SECONDS, time.time
        decider = Decider(self.view, Features(), settings.placement, steps_in_one_go=STEPS_IN_ONE_GO)
        self.metrics = Metrics(self.view, lambda: decider.allocator.costs.steps)
        self._client.observe(self.metrics.called, self._permissions.answered)
        pace = self._client.pace
        pace.qps, pace.burst, pace.rng = settings.kube_api_qps, settings.kube_api_burst, self._rng
        pace.observer = PaceObserver(self.metrics.refused, self.metrics.waited)
        self.metrics.watch_requests(lambda: pace.waiting)
        self._queue: WorkQueue[Ref] = WorkQueue(self._rng)
        self.metrics.watch_queue(lambda: self._queue.depth, lambda: self._queue.adds)
        self._lease = LeaderElection(
            self._client, namespace=settings.namespace, name=settings.lease_name, identity=identity
        )
        self._recorder = EventRecorder(self._client, instance=identity, rng=self._rng)
        self._writer = Writer(self._client, allow=self._may_write)
        lists = Lists()
        self.engine = Engine(
            view=self.view,
            decider=decider,
            policy=settings.policy(),
            queue=self._queue,
            perform=self._writer.perform,
            record=self._recorder.record,
            now=time.time,
            clock=time.perf_counter,
            leads=self._may_write,
            limited=lambda: pace.limits,
            watcher=self.metrics,
            lists=lists,
        )
        self._evictor = Evictor(
            self.view,
            self._client.guarded(self._may_write),
            settings.taint_eviction,
            lists=lists,
            now=time.time,
            record=self._recorder.record,
        )
        self.kopf = KopfMirror(self.view, self.engine.mark, self._on_relisted, self._record)
        to_claims = ClaimMirror(self.view, self.engine.mark, lists)
        to_slices = SliceMirror(self.view, self.engine.mark, lists)
        claims = Reflector(self._client, CLAIMS, to_claims, rng=self._rng, prepare=Lean().claim)
        slices = Reflector(self._client, SLICES, to_slices, rng=self._rng, prepare=Lean().slice)
        self._reflectors = (claims, slices)
        to_rules = TaintRuleMirror(self.view, self.engine.mark, lists)
        self._taint_rules = Reflector(self._client, TAINT_RULES, to_rules, rng=self._rng)
        """Served as v1 from Kubernetes 1.37 on: synced is not waited for."""
        self._takeover = Takeover(self._client, self.view, claims, mark=self.engine.mark, ready=self._lead)
        self._censuses = {kind.plural: self._census(kind) for kind in KOPF_KINDS}
        self._begins = asyncio.Event()
        """To decide: what was marked before was not looked at."""
        self._tasks: list[asyncio.Task[None]] = []
        self._election: asyncio.Task[None] | None = None
        self._progress = Progress(lambda: self.engine.taken, self._takeable, time.monotonic)
        self._health: HealthServer | None = None
        self._lent: aiohttp.ClientSession | None = None
        self._told_of_another = -math.inf
        self.synced = asyncio.Event()
        self.admission = Admission(settings, self._client, rng=self._rng)

    def _census(self, kind: Kind[Any]) -> Census:
        return Census(
            self._client,
            kind,
            lambda: self.kopf.known(kind),
            lambda key, uid: self._vanished(kind, key, uid),
            rng=self._rng,
        )

    def _vanished(self, kind: Kind[Any], key: ObjectKey, uid: Uid) -> None:
        self.metrics.drifted(kind.plural)
        self.kopf.vanished(kind, key, uid)

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything but Kopf, whose events come in through `observe`. Raises `ApiMissing` or `OSError`."""
        if self.settings.metrics_address:
            self._health = HealthServer(
                self.settings.metrics_address, self.metrics.registry, self._dead, self._unready, self._remarks
            )
            await self._health.start()
            log.info("serving metrics and health", port=self._health.port)
        await self._find_api()
        for reflector in (*self._reflectors, self._taint_rules):
            self._spawn(reflector.run())
        self._spawn(self._recorder.run())
        self._spawn(self._decide())
        self._spawn(self.admission.run())
        self._spawn(self._measure_lag())

    async def stop(self) -> None:
        """Stop deciding, let writes end, give the Lease back."""
        log.info("stopping", writes=len(self.engine.writes))
        election = [task for task in self._tasks if task is self._election]
        self._takeover.stop()
        await _end([task for task in self._tasks if task is not self._election])
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self.engine.drain()
        except TimeoutError:
            log.warning("writes were not answered", writes=len(self.engine.writes), seconds=_DRAIN_SECONDS)
        await _end(election)
        self._tasks.clear()
        if self.settings.leader_elect:
            await self._lease.release()
        await self.admission.stop()
        if self._health is not None:
            await self._health.stop()
        if self._lent is not None:
            await self._lent.close()
        await self._client.close()

    def observe(self, kind: Kind[Any], type_: str | None, body: Mapping[str, Any]) -> None:
        """One event from Kopf."""
        self.kopf.take(kind, type_, body)

    async def session_for_kopf(self) -> aiohttp.ClientSession:
        """What Kopf asks the API server through. It closes it, unless it ends in the middle of something."""
        if self._lent is not None:
            await self._lent.close()
        self._lent = self._client.lend()
        return self._lent

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = start_task(work)
        self._tasks.append(task)
        return task

    # --- from synced to deciding -----------------------------------------------------------------------------------

    async def _decide(self) -> None:
        started = time.monotonic()
        await self._sync()
        log.info(
            "synced",
            pods=len(self.view.pods),
            claims=len(self.view.claims),
            nodes=len(self.view.nodes),
            seconds=round(time.monotonic() - started, 3),
        )
        settle()
        self.synced.set()
        for census in self._censuses.values():
            self._spawn(census.run())
        if self.settings.leader_elect:
            self._election = self._spawn(self._lease.run(on_acquired=self._takeover.begin, on_lost=self._on_lost))
        else:
            self._takeover.begin()
        self._spawn(self._sweep())
        self._spawn(self._release())
        if self.settings.taint_eviction is not TaintEviction.OFF:
            self._spawn(self._evictor.run())
        await self.engine.run()

    async def _sync(self) -> None:
        """Wait until the reflectors have listed, and Kopf has shown all that a list of metadata shows."""
        for reflector in self._reflectors:
            await reflector.synced.wait()
        await self._taint_rules.settled.wait()
        for kind in KOPF_KINDS:
            await wait_until_shown(self._client, kind, self.kopf.was_shown)
        self.kopf.note_synced()

    async def _sweep(self) -> None:
        sweep = Sweep(self.view)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.sweep_interval * self._rng.uniform(0.9, 1.1)):
                    await self._begins.wait()
            batches = sweep.everything() if self._begins.is_set() else sweep.round()
            self._begins.clear()
            for refs in batches:
                self.engine.mark(refs)
                await asyncio.sleep(0)

    async def _release(self) -> None:
        while True:
            await asyncio.sleep(_RELEASE_POLL)
            self.engine.mark(self.view.expire_held_back())

    async def _measure_lag(self) -> None:
        """How late the event loop is with what is due: the Lease and the probes are served by it, too."""
        while True:
            due = time.perf_counter() + _LAG_PROBE
            await asyncio.sleep(_LAG_PROBE)
            self.metrics.lagged(max(0.0, time.perf_counter() - due))  # uvloop's timers may be half a millisecond early

    def _takeable(self) -> int:
        """What the engine could look at now; nothing while it waits for the API server's answers."""
        return 0 if self.engine.full else self._queue.ready

    def _lead(self, seconds: float) -> None:
        log.info("leading", caught_up_in=round(seconds, 3))
        self._begins.set()

    def _on_lost(self) -> None:
        self._takeover.end()
        log.warning("the lease is lost; following")

    def _on_another(self, key: ObjectKey) -> None:
        now = time.monotonic()
        if now >= self._told_of_another + _TELL_EVERY:
            self._told_of_another = now
            log.warning("another operator writes, too; run one, or with --leader-elect", claim=str(key))

    def _on_relisted(self, kind: Kind[Any]) -> None:
        self._censuses[kind.plural].request()

    def _record(self, notice: Notice) -> None:
        """What every replica sees, the leader tells."""
        if self._may_write():
            self._recorder.record(notice)

    def _may_write(self) -> bool:
        return self._takeover.complete and (not self.settings.leader_elect or self._lease.holds())

    async def _find_api(self) -> None:
        told = ""

        def waiting(why: str) -> None:
            nonlocal told
            if why != told:
                log.warning("waiting for the API", why=why)
            told = why

        self.api = await expect_api(self._client, self.settings.api, patience=_API_PATIENCE, waiting=waiting)
        if self.api is Api.CRD:
            log.info("resource.k8s.io is served by custom resources")
            self._writer.clears_devices = True
            if self.settings.claims is ClaimsMode.ADOPT:
                raise ApiMissing(f"--claims=adopt: {CANNOT_ADOPT}")
            self.engine.policy = replace(self.engine.policy, claims=ClaimsMode.GENERATE)

    # --- health ----------------------------------------------------------------------------------------------------

    def _dead(self) -> str | None:
        if ended := find_ended((*self._tasks, *filter(None, (self._takeover.task,)))):
            return ended
        return self._progress.stuck() if self.synced.is_set() else None

    def _remarks(self) -> list[str]:
        return [*self.admission.remarks(), *self._takeover.remarks(), *self._permissions.hindering()]

    def _unready(self) -> str | None:
        if blocking := self._permissions.blocking():
            return "\n".join(blocking)
        return self.admission.unready() if self.synced.is_set() else "mirrors are not synced yet"


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
