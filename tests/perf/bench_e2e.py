"""`make bench-e2e`: pods with claims a second, end to end, beside the stock programs on the same API server.

In turns, on the same nodes: (stock) kube-controller-manager generates the claims and kube-scheduler allocates; (ours)
the operator does both and kube-scheduler only binds. Client limits of the stock programs are raised in both. The last
line is the worst row's ratio, ours to stock: above 1 the operator is faster.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from dra_operator.api.kinds import CLASSES
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.controlplane import ControlPlane, Options, wait_for_service_accounts
from dra_operator.sandbox.inventory import NodeGroup, expand
from dra_operator.sandbox.nodes import Nodes
from dra_operator.sandbox.processes import Process, start, wait_until
from dra_operator.sandbox.supervisor import apply_manifests, wait_for_gate
from tests.controlplane import binaries
from tests.perf.cluster_load import Load, Measured, measure

CLASS: Final = "gpu.bench"
DRIVER: Final = "gpu.dra-operator.io"
QPS: Final = 2000
STOCK: Final = "stock"
OURS: Final = "ours"


def request(count: int = 1) -> dict[str, Any]:
    expression = (
        f"device.attributes['{DRIVER}'].productName.startsWith('NVIDIA') && "
        f"device.capacity['{DRIVER}'].memory.compareTo(quantity('16Gi')) >= 0"
    )
    return {
        "deviceClassName": CLASS,
        "allocationMode": "ExactCount",
        "count": count,
        "selectors": [{"cel": {"expression": expression}}],
    }


def loads(nodes: int, pods: int) -> list[Load]:
    """The rows for a cluster of so many nodes of eight devices."""
    one = {"requests": [{"name": "gpu", "exactly": request()}]}
    none = {**request(), "selectors": [{"cel": {"expression": f"'none' in device.attributes['{DRIVER}']"}}]}
    either = [{"name": "missing", **none}, {"name": "there", **request()}]
    pair = {
        "requests": [{"name": "gpu", "exactly": request(2)}],
        "constraints": [{"matchAttribute": "resource.kubernetes.io/numaNode"}],
    }
    full = nodes * 9 // 10
    return [
        Load("template, two selectors", pods, one),
        Load("claims shared by four", pods, one, sharing=4),
        Load("firstAvailable", pods, {"requests": [{"name": "gpu", "firstAvailable": either}]}),
        Load("two on one NUMA node", pods // 2, pair),
        Load("90 % full", min(pods // 2, (nodes - full) * 8), one, fill=full),
        Load("churn", pods, one, window=64),
    ]


class Bench:
    """One control plane, and whose turn it is."""

    def __init__(self, plane: ControlPlane, client: ApiClient, operator_log: Path) -> None:
        self.plane = plane
        self.client = client
        self._log = operator_log

    @asynccontextmanager
    async def turn(self, whose: str) -> AsyncIterator[list[Process]]:
        """The programs of one side run for the length of the block."""
        self.plane.options = dataclasses.replace(self.plane.options, resourceclaim_controller=whose == STOCK)
        await self.plane.restart("kube-controller-manager")
        await self.plane.restart("kube-scheduler")
        programs = [self.plane.processes[name] for name in ("kube-controller-manager", "kube-scheduler")]
        operator = self._operator() if whose == OURS else None
        try:
            if operator is not None:
                await wait_until("the operator to lead", lambda: self._leads(operator), 120.0, [operator])
                programs.append(operator)
            yield [self.plane.processes["kube-apiserver"], self.plane.processes["etcd"], *programs]
        finally:
            if operator is not None:
                await operator.stop()

    def _operator(self) -> Process:
        self._log.write_bytes(b"")
        command = [sys.executable, "-m", "dra_operator.cli.main", "run", "--log-format=json", "--log-level=info"]
        kubeconfig = f"--kubeconfig={self.plane.kubeconfig('operator')}"
        # Nothing is prepared here, and the stock programs give out at once what was released.
        limits = (f"--kube-api-qps={QPS}", f"--kube-api-burst={2 * QPS}")
        options = ("--claims=generate", "--release-hold=0", *limits)
        return start("dra-operator", [*command, kubeconfig, *options], self._log)

    async def _leads(self, operator: Process) -> bool:
        return '"leading"' in operator.log.read_text(errors="replace")

    async def run(self, load: Load, whose: str) -> Measured:
        labels = {"dra-operator.io/allocation": "disabled"} if whose == STOCK else {}
        async with self.turn(whose) as programs:
            await measure(self.client, dataclasses.replace(load, pods=4, sharing=0, fill=0), labels, programs)  # warm
            return await measure(self.client, load, labels, programs)


async def bench(console: Console, sizes: list[int], pods: int, rounds: int, rows: list[str]) -> float:
    """The worst ratio."""
    worst = float("inf")
    started = time.monotonic()
    done, all_ = 0, 2 * rounds * sum(len(_chosen(loads(size, pods), rows)) for size in sizes)
    flags = ("--controllers=-node-lifecycle-controller",)  # nobody sends heartbeats here
    options = Options(client_qps=QPS, controller_manager_flags=flags)
    for size in sizes:
        table = Table(title=f"{size} nodes x 8 devices, {rounds} rounds in turns, medians")
        for heading in ("load", "pods", "stock/s", "ours/s", "ratio", "p50 p99 stock", "p50 p99 ours"):
            table.add_column(heading, justify="left" if heading == "load" else "right")
        for heading in ("CPU ms a pod, stock", "CPU ms a pod, ours", "writes a pod"):
            table.add_column(heading)
        everything: dict[str, list[Measured]] = {STOCK: [], OURS: []}
        async with ControlPlane(binaries(), options) as plane, plane.client() as client:
            await wait_for_service_accounts(client)
            await apply_manifests(plane.binaries, plane.kubeconfig())
            await wait_for_gate(client)
            await Nodes(client, expand([NodeGroup(name="gpu", count=size, profile="h100-sxm-80gb", gpus=8)])).register()
            selector = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
            await client.create(CLASSES, {"metadata": {"name": CLASS}, "spec": {"selectors": [selector]}})
            side = Bench(plane, client, plane.logs / "operator.log")
            for load in _chosen(loads(size, pods), rows):
                runs: dict[str, list[Measured]] = {STOCK: [], OURS: []}
                for number in range(rounds):
                    for whose in (STOCK, OURS) if number % 2 == 0 else (OURS, STOCK):
                        run = await side.run(load, whose)
                        runs[whose].append(run)
                        done += 1
                        spent = f"{done} of {all_} runs, {time.monotonic() - started:.0f} s"
                        console.print(f"  {spent}: {size} nodes, {load.name}: {whose} {run.rate:.1f}/s", style="dim")
                stock, ours = (statistics.median(run.rate for run in runs[whose]) for whose in (STOCK, OURS))
                worst = min(worst, ours / stock)
                for whose, some in runs.items():
                    everything[whose] += some
                table.add_row(
                    load.name,
                    str(load.pods),
                    f"{stock:.1f}",
                    f"{ours:.1f}",
                    f"{ours / stock:.2f}",
                    _waits(runs[STOCK]),
                    _waits(runs[OURS]),
                    _cpu(runs[STOCK]),
                    _cpu(runs[OURS]),
                    f"{_writes(runs[STOCK]):.1f} / {_writes(runs[OURS]):.1f}",
                )
            console.print(table)
            for whose, some in everything.items():
                console.print(f"memory in MB at the end of a run, at most, {whose}: {_memory(some)}")
    return worst


def _chosen(every: list[Load], rows: list[str]) -> list[Load]:
    """Those whose names begin with one of the words; all, if there are none."""
    return [load for load in every if not rows or load.name.startswith(tuple(rows))]


def _waits(runs: list[Measured]) -> str:
    return " ".join(f"{statistics.median(run.percentile(share) for run in runs):.2f} s" for share in (0.5, 0.99))


def _cpu(runs: list[Measured]) -> str:
    names = runs[0].cpu
    each = {name: statistics.median(1000 * run.cpu[name] / run.pods for run in runs) for name in names}
    return ", ".join(f"{name.removeprefix('kube-')} {spent:.1f}" for name, spent in each.items())


def _memory(runs: list[Measured]) -> str:
    most = {name: max(run.memory[name] for run in runs) for name in runs[0].memory}
    return ", ".join(f"{name.removeprefix('kube-')} {megabytes:.0f}" for name, megabytes in most.items())


def _writes(runs: list[Measured]) -> float:
    return statistics.median(run.writes / run.pods for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="100,500", help="sizes of the cluster, with commas between")
    parser.add_argument("--pods", type=int, default=400, help="pods of a row")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--rows", default="", help="beginnings of the names of the loads to run, with commas between")
    given = parser.parse_args()
    rows = [row for row in given.rows.split(",") if row]
    if not all(_chosen(loads(1, 1), [row]) for row in rows):
        parser.error(f"no load begins with {given.rows!r}; there are: {', '.join(load.name for load in loads(1, 1))}")
    console = Console(width=220, soft_wrap=True)
    sizes = [int(size) for size in given.nodes.split(",")]
    worst = asyncio.run(bench(console, sizes, given.pods, given.rounds, rows))
    console.print(f"pods/s ratio {worst:.2f}")


if __name__ == "__main__":
    main()
