"""Load on a real control plane: pods with claims are created, bound, deleted, and timed as a client sees it.

A pod's time runs from the answer to its creation until the watch shows `spec.nodeName`. What the programs cost is read
from the kernel (CPU seconds, peak memory) and from the API server's own counters (writes).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, NAMESPACES, PODS, TEMPLATES
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.reflector import Reflector
from dra_operator.sandbox.processes import Process

_CREATORS: Final = 16
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE"})
"""As the API server's metrics name them: a server-side apply is no PATCH there."""
_BOOKKEEPING: Final = frozenset({"leases", "events"})


@dataclass(slots=True)
class Watched:
    """Sink of a reflector of pods: when each was seen bound, and which are there."""

    bound_at: dict[Uid, float] = field(default_factory=dict)
    there: set[Uid] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def replace(self, objects: Sequence[Pod], resource_version: str) -> None:
        self.there = {pod.uid for pod in objects}
        for pod in objects:
            self._see(pod)

    def apply(self, type_: str, object_: Pod) -> None:
        if type_ == "DELETED":
            self.there.discard(object_.uid)
            self.changed.set()
        else:
            self.there.add(object_.uid)
            self._see(object_)

    def _see(self, pod: Pod) -> None:
        if pod.spec.node_name and pod.uid not in self.bound_at:
            self.bound_at[pod.uid] = time.monotonic()
        self.changed.set()

    async def until(self, what: Callable[[], bool], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not what():
                self.changed.clear()
                await self.changed.wait()


@dataclass(frozen=True, slots=True)
class Load:
    """What one row of the benchmark creates. `devices`: the spec of its claims' devices."""

    name: str
    pods: int
    devices: dict[str, Any]
    sharing: int = 0
    """So many pods share one claim; 0: each has a claim from the template."""
    fill: int = 0
    """Pods of eight devices each that are there before."""
    window: int = 0
    """At most so many pods at a time, each deleted as soon as it is bound; 0: all at once, all stay."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a load."""

    pods: int
    seconds: float
    waits: tuple[float, ...]
    cpu: dict[str, float]
    memory: dict[str, float]
    """Megabytes resident at the end, by program."""
    writes: int

    @property
    def rate(self) -> float:
        return self.pods / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure(client: ApiClient, load: Load, labels: dict[str, str], programs: Sequence[Process]) -> Measured:
    """Create the load in a namespace of its own, wait until all of it is bound, and take it away again."""
    async with _namespace(client, labels) as namespace, _watching(client) as seen:
        run = _Run(client, load, namespace, seen)
        await run.prepare()
        cpu, writes = {one.name: cpu_seconds(one) for one in programs}, await count_writes(client)
        started = time.monotonic()
        await run.create()
        seconds = max(run.ends) - started
        spent = {one.name: cpu_seconds(one) - cpu[one.name] for one in programs}
        memory = {one.name: resident_megabytes(one) for one in programs}
        made = await count_writes(client) - writes - run.own_writes
        await run.clear()
        return Measured(load.pods, seconds, tuple(run.waits), spent, memory, made)


class _Run:
    def __init__(self, client: ApiClient, load: Load, namespace: str, seen: Watched) -> None:
        self._client = client
        self._load = load
        self._namespace = namespace
        self._seen = seen
        self.waits: list[float] = []
        self.ends: list[float] = []
        self.own_writes = 0

    async def prepare(self) -> None:
        """Templates, claims, and the pods that are there before."""
        load = self._load
        await self._template("load", load.devices)
        for index in range(-(-load.pods // load.sharing) if load.sharing else 0):
            body = {"metadata": {"name": f"shared-{index}"}, "spec": {"devices": load.devices}}
            await self._client.create(CLAIMS, {**_typed("ResourceClaim"), **body}, namespace=self._namespace)
        if load.fill:
            exactly = {"deviceClassName": self._class_name, "allocationMode": "ExactCount", "count": 8}
            await self._template("fill", {"requests": [{"name": "gpus", "exactly": exactly}]})
            uids = [
                await self._pod(f"fill-{index}", {"resourceClaimTemplateName": "fill"}) for index in range(load.fill)
            ]
            await self._seen.until(lambda: all(uid in self._seen.bound_at for uid in uids), 300)

    async def create(self) -> None:
        """Everything that is timed."""
        numbers: Iterator[int] = iter(range(self._load.pods))
        window = self._load.window or _CREATORS
        await asyncio.gather(*(self._creator(numbers) for _ in range(window)))

    async def clear(self) -> None:
        await self._client.request("DELETE", f"/api/v1/namespaces/{self._namespace}/pods?gracePeriodSeconds=0")
        async with asyncio.timeout(300):
            while (await self._client.list_metadata(CLAIMS, namespace=self._namespace))[0]:
                with suppress(ApiError):
                    for index in range(self._load.pods if self._load.sharing else 0):
                        await self._client.delete(CLAIMS, ObjectKey(self._namespace, f"shared-{index}"))
                await asyncio.sleep(0.2)

    async def _creator(self, numbers: Iterator[int]) -> None:
        created: list[tuple[Uid, float]] = []
        for number in numbers:
            uid = await self._pod(f"pod-{number:04}", self._claim_of(number))
            created.append((uid, time.monotonic()))
            self.own_writes += 1
            if self._load.window:
                await self._bound(*created.pop())
                await self._client.delete(PODS, ObjectKey(self._namespace, f"pod-{number:04}"), grace_seconds=0)
                self.own_writes += 1
        for uid, at in created:
            await self._bound(uid, at)

    async def _bound(self, uid: Uid, created: float) -> None:
        await self._seen.until(lambda: uid in self._seen.bound_at, 300)
        self.waits.append(max(0.0, self._seen.bound_at[uid] - created))
        self.ends.append(self._seen.bound_at[uid])

    @property
    def _class_name(self) -> str:
        request = self._load.devices["requests"][0]
        return str((request.get("exactly") or request["firstAvailable"][0])["deviceClassName"])

    def _claim_of(self, number: int) -> dict[str, str]:
        if self._load.sharing:
            return {"resourceClaimName": f"shared-{number // self._load.sharing}"}
        return {"resourceClaimTemplateName": "load"}

    async def _template(self, name: str, devices: dict[str, Any]) -> None:
        body = {"metadata": {"name": name}, "spec": {"spec": {"devices": devices}}}
        await self._client.create(TEMPLATES, {**_typed("ResourceClaimTemplate"), **body}, namespace=self._namespace)

    async def _pod(self, name: str, claim: dict[str, str]) -> Uid:
        container = {"name": "main", "image": "none", "resources": {"claims": [{"name": "gpu"}]}}
        spec = {"restartPolicy": "Never", "containers": [container], "resourceClaims": [{"name": "gpu", **claim}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        return (await self._client.create(PODS, body, namespace=self._namespace)).uid


def _typed(kind: str) -> dict[str, str]:
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind}


@asynccontextmanager
async def _namespace(client: ApiClient, labels: dict[str, str]) -> AsyncIterator[str]:
    name = f"load-{random.randbytes(4).hex()}"
    await client.create(NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    try:
        yield name
    finally:
        await client.delete(NAMESPACES, ObjectKey("", name))


@asynccontextmanager
async def _watching(client: ApiClient) -> AsyncIterator[Watched]:
    seen = Watched()
    reflector = Reflector(client, PODS, seen, rng=random.Random(0))
    task = asyncio.create_task(reflector.run())
    try:
        await reflector.synced.wait()
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def count_writes(client: ApiClient, but: frozenset[str] = _BOOKKEEPING) -> int:
    """Writes that the API server has answered, but for those of some resources."""
    text = (await client.request("GET", "/metrics", timeout=60.0)).body.decode()
    wanted = "\n".join(line for line in text.splitlines() if "apiserver_request_total" in line)
    return int(
        sum(
            sample.value
            for family in text_string_to_metric_families(wanted + "\n")
            for sample in family.samples
            if sample.labels.get("verb") in _WRITES and sample.labels.get("resource") not in but
        )
    )


def cpu_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(process: Process) -> float:
    """The most memory that the process has had resident."""
    return _megabytes(process, "VmHWM:")


def resident_megabytes(process: Process) -> float:
    """The memory that the process has resident now."""
    return _megabytes(process, "VmRSS:")


def _megabytes(process: Process, field_: str) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field_):
            return int(line.split()[1]) / 1024
    return 0.0
