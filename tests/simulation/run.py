"""One seed: a busy while with faults, then calm until the cluster is at rest.

Everything random is drawn from generators that the scenario seeds, one for each part, so that leaving something out
disturbs the rest as little as may be.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from dra_operator.api.names import ALLOCATION_LABEL, GATE
from dra_operator.controller.settings import Gate, Settings
from dra_operator.lifecycle.policy import ClaimsMode
from dra_operator.lifecycle.publish import timestamp
from dra_operator.lifecycle.turns import KNOWN_PATIENCE
from tests.simulation.cluster import Cluster, name_of, results_of
from tests.simulation.invariants import OPERATOR, Invariants
from tests.simulation.model.fields import Json
from tests.simulation.model.store import Change, ModelStore
from tests.simulation.people import People
from tests.simulation.process import START, Process, ProcessLoop
from tests.simulation.replica import Replica, simulated_surroundings
from tests.simulation.scenario import Op, Scenario
from tests.simulation.wire import Network, Rates

QUIET_SECONDS = 25.0
"""Nothing written for so long means at rest; longer than a sweep and a lease."""
PATIENT_SECONDS = KNOWN_PATIENCE + 5.0
"""The same, where the operator believes in another generator that is not at work any more."""
CALM_SECONDS = 600.0
TRACE_LINES = 200

Bug = Callable[[], AbstractContextManager[None]]


class Report(NamedTuple):
    """What happened in a seed."""

    seed: int
    violation: str | None
    trouble: Counter[str]
    writes: Counter[str]
    pods: int
    bound: int
    seconds: float
    trace: tuple[str, ...] = ()
    cpu_seconds: float = 0.0


def run_scenario(scenario: Scenario, bug: Bug | None = None, *, trace: bool = False) -> Report:
    """Play a scenario; `bug` plants a defect for its duration."""
    with (
        bug() if bug is not None else nullcontext(),
        simulated_surroundings(),
        asyncio.Runner(loop_factory=ProcessLoop) as runner,
    ):
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        return runner.run(_Run(scenario, keep=trace).play())


@dataclass(slots=True)
class _Run:
    scenario: Scenario
    keep: bool
    trouble: Counter[str] = field(default_factory=Counter)
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=TRACE_LINES))
    replicas: dict[int, Replica] = field(default_factory=dict)
    starts: dict[int, float] = field(default_factory=dict)
    """When a slot that has no replica gets one."""
    lives: int = 0
    store: ModelStore = field(init=False)
    network: Network = field(init=False)
    cluster: Cluster = field(init=False)
    people: People = field(init=False)
    invariants: Invariants = field(init=False)
    ending: list[Replica] = field(default_factory=list)

    def rng(self, part: str) -> random.Random:
        return random.Random(f"{self.scenario.seed}/{part}")

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def note(self, text: str) -> None:
        if self.keep:
            self.trace.append(f"{self.now():8.3f}s {text}")

    async def play(self) -> Report:
        scenario = self.scenario
        self.store = ModelStore(
            lambda: timestamp(START + self.now()),
            gate=GATE,
            gate_skips=self._not_gated,
            checks_admin=scenario.server_checks_admin,
        )
        self.network = Network(
            self.store,
            self.rng("network"),
            scenario.rates,
            self.trouble,
            lambda process, method, path: self.invariants.sent(process.name, method, path),
            self._crash,
            self.note,
        )
        self.cluster = Cluster(self.store, self.rng("cluster"), self.note)
        self.people = People(self.cluster, scenario)
        self.invariants = Invariants(self.cluster, self.now, scenario.leader_elect, scenario.generator)
        self.store.observers.append(self.invariants.observe)
        if self.keep:
            self.store.observers.append(self._tell)
        self.people.populate()
        others = [self.cluster.scheduler(), self.cluster.kubelets(), self.cluster.collector()]
        if scenario.generator:
            others.append(self.cluster.generator())
        tasks = [asyncio.create_task(work) for work in others]
        for slot in range(scenario.replicas):
            self.starts[slot] = 0.01 * slot
        await self._busy()
        if self.invariants.violation is None:
            await self._calm()
        for replica in self.replicas.values():
            replica.process.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in (*self.ending, *self.replicas.values()):
            await replica.ended()
        return self._report()

    async def _busy(self) -> None:
        for op in (*self.scenario.ops, Op(self.scenario.ops[-1].at + 3.0 if self.scenario.ops else 1.0, "end")):
            while self.now() < op.at:
                await self._step(min(0.3, op.at - self.now() + 1e-4))
                if self.invariants.violation is not None:
                    return
            self._perform(op)

    async def _step(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for slot in [slot for slot, at in self.starts.items() if at <= self.now()]:
            del self.starts[slot]
            self._start(slot)
        self.people.quota()

    async def _calm(self) -> None:
        """No more faults and meddling; it has to come to rest by itself."""
        self.note("calm from here on")
        self.network.rates = Rates()
        self.network.down.clear()
        self.network.outage = False
        self.network.blind_until = 0.0
        self.network.late_until.clear()
        for replica in self.replicas.values():
            replica.process.resume()
        self.cluster.calm = True
        end, quiet_since, writes = self.now() + CALM_SECONDS, self.now(), -1
        deceived = self.scenario.claims_mode == ClaimsMode.AUTO and "second-claim" in self.trouble
        rest = PATIENT_SECONDS if deceived else QUIET_SECONDS
        while self.now() - quiet_since < rest:
            await self._step(1.0)
            self.people.give_up()
            count = sum(len(of) for resource, of in self.store.by_resource.items() if resource != "leases")
            if count != writes:
                writes, quiet_since = count, self.now()
            if self.invariants.violation is not None:
                return
            if self.now() > end:
                self.invariants.violation = "the cluster does not come to rest"
                return
        self.invariants.at_rest()

    # --- processes ---------------------------------------------------------------------------------------------------

    def _start(self, slot: int) -> None:
        self.lives += 1
        name = f"{OPERATOR}{slot}-{self.lives}"
        settings = Settings(
            claims=ClaimsMode(self.scenario.claims_mode),
            leader_elect=self.scenario.leader_elect,
            release_hold=self.scenario.release_hold,
            sweep_interval=10.0,
            gate=Gate.POLICY,  # which the model is
        )
        self.note(f"{name} starts")
        self.replicas[slot] = Replica(self.network, Process(name), settings, self.rng(name))

    def _crash(self, process: Process) -> None:
        for slot, replica in list(self.replicas.items()):
            if replica.process is process:
                self.note(f"{process.name} dies")
                process.kill()
                self.ending.append(self.replicas.pop(slot))
                self.starts[slot] = self.now() + self.network.rng.uniform(0.0, 1.5)

    def _perform(self, op: Op) -> None:
        if op.what == "end":
            return
        self.note(f"-- {op.what} {' '.join(op.arguments)}".rstrip())
        self.trouble[op.what] += 1
        if op.what not in _PROCESS_OPS:
            self.people.perform(op)
            return
        replica = self.replicas.get(int(op.arguments[0]))
        if replica is not None:
            _PROCESS_OPS[op.what](self, replica, float(op.arguments[1]))

    def _do_crash(self, replica: Replica, seconds: float) -> None:
        self._crash(replica.process)

    def _do_restart(self, replica: Replica, seconds: float) -> None:
        """In order: SIGTERM."""
        slot = next(slot for slot, one in self.replicas.items() if one is replica)
        if replica.process.paused:
            return
        del self.replicas[slot]
        self.ending.append(replica)
        task = asyncio.create_task(replica.stop())

        def again(_: asyncio.Task[None]) -> None:
            self.starts[slot] = self.now() + 0.5

        task.add_done_callback(again)

    def _do_pause(self, replica: Replica, seconds: float) -> None:
        replica.process.paused = True
        asyncio.get_running_loop().call_later(seconds, replica.process.resume)

    def _do_clock_jumps(self, replica: Replica, seconds: float) -> None:
        replica.process.skew += seconds * (120.0 if int(seconds * 10) % 2 else -120.0)

    def _do_cut_off(self, replica: Replica, seconds: float) -> None:
        self.network.down.add(replica.process.name)
        asyncio.get_running_loop().call_later(seconds, self.network.down.discard, replica.process.name)

    def _do_outage(self, replica: Replica, seconds: float) -> None:
        self.network.outage = True

        def over() -> None:
            self.network.outage = False

        asyncio.get_running_loop().call_later(min(seconds, 8.0), over)

    def _do_blind(self, replica: Replica, seconds: float) -> None:
        """All watches stand still for a while, and what happens meanwhile can't be caught up with: they list anew."""
        self.network.blind_until = self.now() + min(seconds, 8.0)

        def over() -> None:
            for resource in self.store.by_resource:
                self.store.compact(resource)

        asyncio.get_running_loop().call_at(self.network.blind_until, over)

    def _do_pods_late(self, replica: Replica, seconds: float) -> None:
        self._hand_over("pods", seconds)

    def _do_claims_late(self, replica: Replica, seconds: float) -> None:
        self._hand_over("resourceclaims", seconds)

    def _do_claims_relisted(self, replica: Replica, seconds: float) -> None:
        """A replica sees no claim change for a while, and can't catch up with it: it lists all claims anew."""
        over = self.now() + seconds
        self.network.late_until[replica.process.name, "resourceclaims"] = over
        asyncio.get_running_loop().call_at(over, self.store.compact, "resourceclaims")

    def _hand_over(self, late: str, seconds: float) -> None:
        """The leader ends in order, and who leads next has seen nothing of one resource for longer than it lives."""
        holders = {lease["spec"].get("holderIdentity") for lease in self.store.all("leases")}
        leader = next((one for one in self.replicas.values() if one.process.name in holders), None)
        if leader is None:
            return
        for one in self.replicas.values():
            if one is not leader:
                self.network.late_until[one.process.name, late] = self.now() + seconds

        def end() -> None:
            if leader in self.replicas.values():
                self._do_restart(leader, 0.0)

        asyncio.get_running_loop().call_later(seconds / 2, end)

    def _do_expire(self, replica: Replica, seconds: float) -> None:
        """Every watch that is behind is told 410."""
        for resource in self.store.by_resource:
            self.store.compact(resource)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _not_gated(self, pod: Json) -> bool:
        found = self.store.get("namespaces", ("", pod["metadata"]["namespace"]))
        return ((found or {}).get("metadata", {}).get("labels") or {}).get(ALLOCATION_LABEL) == "disabled"

    def _tell(self, change: Change) -> None:
        if change.resource == "leases":
            before = (change.before or {}).get("spec", {}).get("holderIdentity")
            if before != change.object["spec"].get("holderIdentity"):
                self.note(f"the lease is {change.object['spec'].get('holderIdentity') or 'nobody'}'s")
            return
        self.note(
            f"{change.actor}: {change.type.lower()} {change.resource} {name_of(change.object)}{_described(change)}"
        )

    def _report(self) -> Report:
        pods = [change for change in self.store.by_resource.get("pods", ()) if change.type == "ADDED"]
        bound = {
            change.object["metadata"]["uid"]
            for change in self.store.by_resource.get("pods", ())
            if change.object["spec"].get("nodeName")
        }
        return Report(
            self.scenario.seed,
            self.invariants.violation,
            self.trouble,
            self.network.writes,
            len(pods),
            len(bound),
            self.now(),
            tuple(self.trace),
        )


_PROCESS_OPS: dict[str, Callable[[_Run, Replica, float], None]] = {
    "crash": _Run._do_crash,
    "restart": _Run._do_restart,
    "pause": _Run._do_pause,
    "clock-jumps": _Run._do_clock_jumps,
    "cut-off": _Run._do_cut_off,
    "outage": _Run._do_outage,
    "expire": _Run._do_expire,
    "blind": _Run._do_blind,
    "pods-late": _Run._do_pods_late,
    "claims-late": _Run._do_claims_late,
    "claims-relisted": _Run._do_claims_relisted,
}


def _described(change: Change) -> str:
    object_, meta = change.object, change.object["metadata"]
    parts = [f"v{change.version}"]
    if meta.get("deletionTimestamp"):
        parts.append("deleting")
    if change.resource == "resourceclaims":
        devices = [f"{one['pool']}/{one['device']}" for one in results_of(object_)]
        users = [user["name"] for user in object_["status"].get("reservedFor") or ()]
        parts.append(f"devices {','.join(devices) or '-'} for {','.join(users) or '-'}")
        if not meta.get("finalizers"):
            parts.append("unprotected")
    if change.resource == "pods":
        gates = [gate["name"].partition("/")[2] for gate in object_["spec"].get("schedulingGates") or ()]
        node = object_["spec"].get("nodeName") or "-"
        parts.append(f"{object_['status'].get('phase')} on {node}, gates {','.join(gates) or '-'}")
        told = next(
            (c["reason"] for c in object_["status"].get("conditions") or () if c["type"].endswith("DevicesAllocated")),
            None,
        )
        if told:
            parts.append(told)
    return f" ({'; '.join(parts)})"
