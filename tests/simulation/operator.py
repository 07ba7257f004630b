"""The operator in the simulation: the very engine, view and reconcilers, between delayed watches and faulty writes.

One `Incarnation` is one life of the process. It lists, then follows the store's log with a delay of its own for each
resource; its writes may be slow, fail before or after they took effect, or kill it. What a new incarnation knows is
what it lists.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from dra_operator.api.core import Namespace, Node, Pod
from dra_operator.api.meta import Object, ObjectKey
from dra_operator.api.resource import DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice
from dra_operator.cluster.queue import WorkQueue
from dra_operator.controller.engine import Engine
from dra_operator.lifecycle.actions import Action, Notice, Outcome, ReadClaim, ReadPod, Unknown
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View
from tests.simulation.world import Cluster, wall_clock

WATCHED: tuple[type[Object], ...] = (
    Namespace,
    DeviceClass,
    ResourceClaimTemplate,
    Node,
    ResourceSlice,
    ResourceClaim,
    Pod,
)
SWEEP = 5.0


class Faults:
    """How likely what is; all zero once the cluster is to come to rest."""

    def __init__(self) -> None:
        self.crash = 0.02
        self.lost_before = 0.03
        self.lost_after = 0.03
        self.relist = 0.02

    def end(self) -> None:
        self.crash = self.lost_before = self.lost_after = self.relist = 0.0


class Incarnation:
    """See the module. `crashed` is set when a write kills it."""

    def __init__(
        self,
        cluster: Cluster,
        rng: random.Random,
        faults: Faults,
        before: Callable[[Action], None],
        writes: Counter[str],
    ) -> None:
        """`before` is told of each action right before it reaches the store (the invariants look then)."""
        self._cluster = cluster
        self._rng = rng
        self._faults = faults
        self._before = before
        self._writes = writes
        self._tasks: list[asyncio.Task[None]] = []
        self.crashed = asyncio.Event()
        self.view = View()
        queue: WorkQueue[Ref] = WorkQueue(rng)
        self.engine = Engine(
            view=self.view,
            decider=Decider(self.view),
            policy=Policy(confirm_timeout=2.0, conflict_retry=0.3, reserve_after=10.0),
            queue=queue,
            perform=self._perform,
            record=self._record,
            now=wall_clock,
            leads=lambda: True,
            watcher=self,
        )
        self.errors: list[str] = []

    def start(self) -> None:
        version = self._cluster.store.version
        for type_ in WATCHED:
            self._list(type_)
        for type_ in WATCHED:
            self._tasks.append(asyncio.create_task(self._follow(type_, version)))
        self._tasks.append(asyncio.create_task(self.engine.run()))
        self._tasks.append(asyncio.create_task(self._sweep()))
        self.engine.sweep()

    async def stop(self) -> None:
        """The process is gone, and so is every write that has not reached the store."""
        tasks = [*self._tasks, *self.engine.writes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what it sees -----------------------------------------------------------------------------------------------

    async def _follow(self, type_: type[Object], version: int) -> None:
        """Deliver the log's entries of one type, in order, each a little late; at times a list takes their place."""
        store, position = self._cluster.store, 0
        while position < len(store.log) and store.log[position].version <= version:
            position += 1
        while True:
            if position >= len(store.log):
                await asyncio.sleep(0.02)
                continue
            await asyncio.sleep(self._rng.choice((0.0, 0.002, 0.01, 0.05)))
            if type_ in (Pod, ResourceClaim) and self._rng.random() < self._faults.relist:
                self._cluster.trouble[f"watch of {type_.__name__} lost, listed anew"] += 1
                position = len(store.log)
                self._list(type_)
                continue
            change = store.log[position]
            position += 1
            if isinstance(change.object, type_):
                self._deliver(change.type, change.object)

    def _list(self, type_: type[Object]) -> None:
        store = self._cluster.store
        objects = list(store.all(type_))
        if type_ is ResourceClaim:
            claims = [one for one in objects if isinstance(one, ResourceClaim)]
            self.engine.mark(self.view.replace_claims(claims, str(store.version)))
            return
        if type_ is Pod:  # Kopf swallows deletions while it lists; the census finds them
            listed = {one.uid for one in objects}
            for uid in [uid for uid in self.view.pods if uid not in listed]:
                self.engine.mark(self.view.forget_pod(uid, certain=False))
        for one in objects:
            self._deliver("ADDED", one)

    def _deliver(self, type_: str, object_: Object) -> None:
        gone, view = type_ == "DELETED", self.view
        key: ObjectKey = object_.key
        match object_:
            case Pod():
                refs = view.forget_pod(object_.uid, certain=True) if gone else view.observe_pod(object_)
            case ResourceClaim():
                refs = view.forget_claim(key) if gone else view.observe_claim(object_, live=True)
            case ResourceSlice():
                refs = view.forget_slice(key.name) if gone else view.observe_slice(object_)
            case ResourceClaimTemplate():
                refs = view.forget_template(key) if gone else view.observe_template(object_)
            case Namespace():
                refs = view.forget_namespace(key.name) if gone else view.observe_namespace(object_)
            case DeviceClass():
                refs = view.forget_class(key.name) if gone else view.observe_class(object_)
            case Node():
                refs = view.forget_node(key.name) if gone else view.observe_node(object_)
            case _:
                raise TypeError(type(object_).__name__)
        self.engine.mark(refs)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self.engine.sweep()

    # --- what it does -----------------------------------------------------------------------------------------------

    async def _perform(self, action: Action) -> Outcome:
        rng, faults, trouble = self._rng, self._faults, self._cluster.trouble
        await asyncio.sleep(rng.choice((0.001, 0.005, 0.03)))
        reads = isinstance(action, ReadPod | ReadClaim)
        if not reads and rng.random() < faults.crash / 2:
            trouble["crash before a write"] += 1
            await self._crash()
        if rng.random() < faults.lost_before:
            trouble["request lost"] += 1
            return Unknown("connection reset")
        self._before(action)
        outcome = self._cluster.store.perform(action, self._cluster.now())
        self._writes[f"{type(action).__name__} {type(outcome).__name__}"] += 1
        if not reads and rng.random() < faults.crash / 2:
            trouble["crash after a write"] += 1
            await self._crash()
        await asyncio.sleep(rng.choice((0.001, 0.005, 0.03)))
        if rng.random() < faults.lost_after:
            trouble["answer lost"] += 1
            return Unknown("connection reset")
        return outcome

    async def _crash(self) -> None:
        self.crashed.set()
        await asyncio.Event().wait()  # never goes on

    def _record(self, notice: Notice) -> None:
        """Events are not part of the simulation."""

    def looked(self, ref: Ref, verdict: Verdict, seconds: float) -> None:
        """A `Watcher` that counts nothing."""

    def wrote(self, action: Action, outcome: Outcome, seconds: float) -> None:
        """A `Watcher` that counts nothing."""
