"""What an agent costs its node: `python -m tests.perf.bench_agent` prints a line for each number, with its goal.

The agent runs as a program under its own account against a real API server, on sockets of its own, and is called as a
kubelet calls it. The API server is on the same machine, and so are its costs: they are in the times, not in the memory.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from dra_operator.agent.protos import dra_v1_pb2 as v1
from dra_operator.agent.registration import Sockets
from dra_operator.agent.services import PREPARE_V1, UNPREPARE_V1
from dra_operator.api.kinds import CLAIMS, NODES, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.api.resource import ResourceSlice
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.processes import Process, start
from tests.controlplane import new_namespace, running_control_plane

START_SECONDS = 1.0
MEMORY_MB = 64.0
PREPARE_MS = 10.0
IDLE_PERCENT = 0.5
_CALLS = 300
_IDLE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Number:
    """One measured value; `goal` is what it should stay below."""

    what: str
    value: float
    unit: str
    goal: float | None = None

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"   goal < {self.goal:g}{' ' if self.unit else ''}{self.unit}"
        verdict = "" if self.goal is None else "   ok" if self.value < self.goal else "   MISSED"
        return f"{self.what:48}{self.value:10.2f} {self.unit:3}{goal}{verdict}"


class Bench:
    """One node, and the agents on it one after another."""

    def __init__(self, plane: ControlPlane, client: ApiClient, node: str, folder: Path) -> None:
        self.plane = plane
        self.client = client
        self.node = node
        self.folder = folder

    @asynccontextmanager
    async def agent(self, *flags: str) -> AsyncIterator[tuple[Process, float]]:
        """An agent whose slices are there, and the seconds that took."""
        (self.folder / "plugins_registry").mkdir(exist_ok=True)
        for old in await self.slices():
            await self.client.delete(SLICES, old.key)
        command = [
            *(sys.executable, "-m", "dra_operator.cli.main", "agent", "--plugin=on", "--log-format=json"),
            f"--node-name={self.node}",
            f"--kubeconfig={self.plane.agent_kubeconfig(self.node)}",
            f"--kubelet-dir={self.folder}",
            f"--cdi-dir={self.folder / 'cdi'}",
            *flags,
        ]
        begin = time.monotonic()
        process = start("agent", command, self.folder / "agent.log")
        try:
            while not await self.slices():
                process.check()
                await asyncio.sleep(0.01)
            yield process, time.monotonic() - begin
        finally:
            await process.stop()

    async def slices(self) -> list[ResourceSlice]:
        selector = f"spec.driver={DEFAULT_DRIVER},spec.nodeName={self.node}"
        return (await self.client.list_objects(SLICES, field_selector=selector))[0]

    async def claims(self, namespace: str, devices: Sequence[str]) -> list[v1.Claim]:
        """An allocated claim for each device."""
        made = []
        for device in devices:
            name = f"of-{device}"
            spec = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
            claim = await self.client.create(CLAIMS, {"metadata": {"name": name}, "spec": spec}, namespace=namespace)
            result = {"request": "gpu", "driver": DEFAULT_DRIVER, "pool": self.node, "device": device}
            status = {"allocation": {"devices": {"results": [result]}}}
            await self.client.patch(
                CLAIMS, ObjectKey(namespace, name), {"status": status}, patch_type="merge", subresource="status"
            )
            made.append(v1.Claim(namespace=namespace, name=name, uid=claim.uid))
        return made

    async def idle(self, process: Process) -> list[Number]:
        """Load of an agent that has nothing to do, and whether it wrote anything."""
        before = {one.metadata.name: one.metadata.resource_version for one in await self.slices()}
        begin, cpu = time.monotonic(), _cpu_seconds(process.pid)
        await asyncio.sleep(_IDLE_SECONDS)
        used = (_cpu_seconds(process.pid) - cpu) / (time.monotonic() - begin) * 100
        after = {one.metadata.name: one.metadata.resource_version for one in await self.slices()}
        writes = sum(before.get(name) != version for name, version in after.items())
        return [Number("idle CPU", used, "%", IDLE_PERCENT), Number("slices written while idle", writes, "", 1)]

    async def calls(self, claims: Sequence[v1.Claim]) -> list[Number]:
        """Prepare and unprepare, one claim a call, as the kubelet does it for pods of one claim."""
        prepared: list[float] = []
        unprepared: list[float] = []
        gc.collect()
        gc.freeze()  # a collection of this process is not the agent's
        options = [("grpc.use_local_subchannel_pool", 1)]
        socket = Sockets(self.folder, DEFAULT_DRIVER).plugin
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
            for number in range(_CALLS):
                claim = claims[number % len(claims)]
                begin = time.perf_counter()
                answer = await PREPARE_V1.call(channel, v1.NodePrepareResourcesRequest(claims=[claim]), timeout=30)
                prepared.append(time.perf_counter() - begin)
                assert not answer.claims[claim.uid].error, answer.claims[claim.uid].error
                begin = time.perf_counter()
                undone = await UNPREPARE_V1.call(channel, v1.NodeUnprepareResourcesRequest(claims=[claim]), timeout=30)
                unprepared.append(time.perf_counter() - begin)
                assert not undone.claims[claim.uid].error
        flushes = [_flush_seconds(self.folder / "flushed") for _ in range(100)]
        return [
            Number("(two flushes of this disk, 99th percentile)", _percentile(flushes, 99) * 2000, "ms"),
            Number("prepare, median", _percentile(prepared, 50) * 1000, "ms"),
            Number("prepare, 99th percentile", _percentile(prepared, 99) * 1000, "ms", PREPARE_MS),
            Number("unprepare, median", _percentile(unprepared, 50) * 1000, "ms"),
            Number("unprepare, 99th percentile", _percentile(unprepared, 99) * 1000, "ms", PREPARE_MS),
        ]


async def measure(bench: Bench, namespace: str) -> AsyncIterator[Number]:
    starts = []
    for _ in range(3):
        async with bench.agent("--profile=h100-sxm-80gb") as (process, seconds):
            starts.append(seconds)
    yield Number("start to first slice, best of 3", min(starts), "s", START_SECONDS)
    async with bench.agent("--profile=h100-sxm-80gb") as (process, _):
        claims = await bench.claims(namespace, [f"gpu-{index}" for index in range(8)])
        for number in await bench.calls(claims):
            yield number
        yield Number("memory (RSS), 8 GPUs, after all that", _memory_mb(process.pid), "MB", MEMORY_MB)
        for number in await bench.idle(process):
            yield number
    async with bench.agent("--profile=a100-sxm-80gb-mig", "--gpus=8") as (process, _):
        await asyncio.sleep(2.0)  # the first slice holds only counters
        devices = sum(len(one.spec.devices or ()) for one in await bench.slices())
        yield Number(f"memory (RSS), 8 GPUs in MIG mode, {devices} devices", _memory_mb(process.pid), "MB", MEMORY_MB)


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def _flush_seconds(path: Path) -> float:
    """What prepare and unprepare pay for a checkpoint that survives: they flush a file and its folder."""
    with path.open("wb") as file:
        file.write(b"x" * 1000)
        file.flush()
        begin = time.perf_counter()
        os.fsync(file.fileno())
        return time.perf_counter() - begin


def _memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"process {pid} has no VmRSS")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dra-"))
    try:
        async with running_control_plane() as plane, plane.client() as client, new_namespace(client, "bench") as space:
            name = f"bench-{uuid.uuid4().hex[:8]}"
            await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
            async for number in measure(Bench(plane, client, name, folder), space):
                print(number, flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
