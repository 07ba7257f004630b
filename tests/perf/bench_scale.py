"""`make bench-scale`: the operator on a large cluster, on a real API server.

5,000 nodes with eight GPUs each, half of them held by 20,000 running pods with a claim each. Measured: start to ready,
memory, what an event costs, how long a decision takes, how late the event loop ever is, what becomes of the first pod
of an ask that fits nowhere, and whether memory grows while pods come and go. Before all of that, without a cluster:
what each kind of object takes of the controller's memory (`memory.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, CLASSES, NODES, PODS, SLICES, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.sandbox.controlplane import ControlPlane, Options, wait_for_service_accounts
from dra_operator.sandbox.processes import Process, start, wait_until
from dra_operator.sandbox.supervisor import apply_manifests, wait_for_gate
from tests.builders import DRIVER
from tests.controlplane import binaries
from tests.perf.cluster_load import count_writes, cpu_seconds, peak_megabytes
from tests.perf.large_cluster import NAMESPACE, large_cluster, put

USED: Final = 50
STALL: Final = 0.1
"""Seconds that the event loop may be late."""
CLASS: Final = "gpu.bench"


class Cluster:
    """A control plane that holds the large cluster, and the operator on it."""

    def __init__(self, plane: ControlPlane, client: ApiClient, console: Console) -> None:
        self.plane = plane
        self.client = client
        self._console = console
        self._port = _free_port()
        self._log = plane.logs / "operator.log"
        self.operator: Process | None = None

    def say(self, what: str, value: str) -> None:
        self._console.print(f"{what:58} {value}")

    async def start(self) -> Process:
        """Start the operator; print how long it takes until it leads, and what that costs."""
        command = [sys.executable, "-m", "dra_operator.cli.main", "run", "--log-format=json", "--log-level=info"]
        options = [f"--kubeconfig={self.plane.kubeconfig('operator')}", f"--metrics-address=127.0.0.1:{self._port}"]
        began = time.monotonic()
        operator = self.operator = start("dra-operator", [*command, *options, "--claims=generate"], self._log)
        await wait_until("the operator to lead", self._leads, 600.0, [operator])
        self.say("start to leading", f"{time.monotonic() - began:.1f} s ({cpu_seconds(operator):.1f} s CPU)")
        self.say("memory when it leads", f"{resident(operator):.0f} MB (peak {peak_megabytes(operator):.0f} MB)")
        return operator

    async def _leads(self) -> bool:
        return '"leading"' in self._log.read_text(errors="replace")

    async def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample, by name and labels."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self._port}/metrics") as answer:
            text = await answer.text()
        families = text_string_to_metric_families(text)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    async def stalls(self, since: Mapping[Any, float], what: str) -> None:
        """Print how late the event loop was since then."""
        now = await self.metrics()
        name = "dra_operator_loop_lag_seconds_bucket"
        counts = {
            float(dict(labels)["le"]): value - since.get((sample, labels), 0.0)
            for (sample, labels), value in now.items()
            if sample == name
        }
        total = counts[float("inf")]
        worst = min((bound for bound, count in counts.items() if count == total), default=0.0)
        late = total - counts[STALL]
        self.say(f"event loop, {what}", f"{late:.0f} of {total:.0f} probes later than 100 ms, all within {worst:g} s")

    async def template(self, name: str, expression: str, count: int = 1) -> None:
        exactly = {
            "deviceClassName": CLASS,
            "allocationMode": "ExactCount",
            "count": count,
            "selectors": [{"cel": {"expression": expression}}],
        }
        spec = {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}}
        body = {"apiVersion": TEMPLATES.api_version, "kind": TEMPLATES.kind, "metadata": {"name": name}, "spec": spec}
        await self.client.create(TEMPLATES, body, namespace=NAMESPACE)

    async def pod(self, name: str, template: str) -> Pod:
        container = {"name": "main", "image": "none", "resources": {"claims": [{"name": "gpu"}]}}
        claims = [{"name": "gpu", "resourceClaimTemplateName": template}]
        spec = {"restartPolicy": "Never", "containers": [container], "resourceClaims": claims}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        return await self.client.create(PODS, body, namespace=NAMESPACE)

    async def count_claims(self) -> int:
        return len((await self.client.list_metadata(CLAIMS))[0])

    async def lacks_claims(self, but: int) -> bool:
        return await self.count_claims() <= but

    async def told(self, name: str) -> str:
        """Wait until the pod's condition says something. Returns its reason."""
        reason = ""

        async def said() -> bool:
            nonlocal reason
            condition = (await self.client.get(PODS, ObjectKey(NAMESPACE, name))).condition(DEVICES_ALLOCATED)
            reason = condition.reason if condition is not None else ""
            return bool(reason)

        await wait_until(f"{name} to be told something", said, 120.0)
        return reason


async def events(cluster: Cluster, operator: Process, count: int) -> None:
    """What it costs to take in that pods change."""
    cpu, names = cpu_seconds(operator), [f"held-{number}" for number in range(count)]

    async def change(share: list[str]) -> None:
        for name in share:
            body = {"metadata": {"annotations": {"bench": name}}}
            await cluster.client.patch(PODS, ObjectKey(NAMESPACE, name), body, patch_type="merge")

    await asyncio.gather(*(change(names[index::8]) for index in range(8)))
    await asyncio.sleep(2)  # a process that has nothing left to do says so by nothing
    cluster.say("CPU for one pod's event", f"{1000 * (cpu_seconds(operator) - cpu) / count:.2f} ms")


async def cold_asks(cluster: Cluster) -> None:
    """The first pod of an ask that no node can serve: every node is looked at."""
    await cluster.template("none", f"'nothing' in device.attributes['{DRIVER}']")
    await cluster.template("many", f"device.attributes['{DRIVER}'].index >= 0", count=9)
    await cluster.template("exotic", f"device.attributes['{DRIVER}'].uuid.endsWith('4999-7') && 1 > 2")
    for template in ("none", "many", "exotic"):
        before = await cluster.metrics()
        began = time.monotonic()
        await cluster.pod(f"cold-{template}", template)
        reason = await cluster.told(f"cold-{template}")
        cluster.say(f'first pod of the ask "{template}"', f"{reason} after {time.monotonic() - began:.2f} s")
        await cluster.stalls(before, f'ask "{template}"')


async def churn(cluster: Cluster, operator: Process, rounds: int, pods: int) -> None:
    """Pods come, get devices and go; memory after each round."""
    await cluster.template("simple", f"device.attributes['{DRIVER}'].model == 'A100'")
    before = await cluster.metrics()
    known = await cluster.count_claims()
    sizes = [resident(operator)]
    for number in range(rounds):
        names = [f"churn-{number}-{index:03}" for index in range(pods)]
        for share in (names[index : index + 16] for index in range(0, pods, 16)):
            await asyncio.gather(*(cluster.pod(name, "simple") for name in share))
        if wrong := {reason for reason in [await cluster.told(name) for name in names] if reason != Reason.ALLOCATED}:
            raise RuntimeError(f"pods of the churn were to get devices, and were told {', '.join(sorted(wrong))}")
        for share in (names[index : index + 16] for index in range(0, pods, 16)):
            keys = [ObjectKey(NAMESPACE, name) for name in share]
            await asyncio.gather(*(cluster.client.delete(PODS, key, grace_seconds=0) for key in keys))
        await wait_until("their claims to go", lambda: cluster.lacks_claims(known), 120.0, [operator])
        sizes.append(resident(operator))
    cluster.say(f"memory over {rounds} rounds of {pods} pods", " ".join(f"{size:.0f}" for size in sizes) + " MB")
    after = await cluster.metrics()
    await cluster.stalls(before, "while pods come and go")
    key = (("kind", "pod"),)
    looks = _grown(before, after, "dra_operator_look_duration_seconds_count", key)
    seconds = _grown(before, after, "dra_operator_look_duration_seconds_sum", key)
    cluster.say("one look at a pod", f"{1000 * seconds / looks:.2f} ms ({looks:.0f} looks)")


async def idle(cluster: Cluster, operator: Process, seconds: float) -> None:
    """What the operator does when there is nothing to do."""
    but = frozenset({"leases"})
    cpu, writes = cpu_seconds(operator), await count_writes(cluster.client, but)
    await asyncio.sleep(seconds)
    share = 100 * (cpu_seconds(operator) - cpu) / seconds
    made = await count_writes(cluster.client, but) - writes
    cluster.say(f"idle for {seconds:g} s", f"{share:.1f} % of a core, {made} writes but the Lease's")


async def _taken_in(client: ApiClient) -> bool:
    """Whether the API server's caches have caught up with etcd: until then it answers lists in chunks with 504."""
    try:
        for kind in (NODES, SLICES, CLAIMS, PODS):
            await client.list_metadata(kind)
    except ApiError as error:
        if error.status != 504:
            raise
        return False
    return True


def _grown(before: Mapping[Any, float], after: Mapping[Any, float], name: str, labels: Any) -> float:
    return after.get((name, labels), 0.0) - before.get((name, labels), 0.0)


def resident(process: Process) -> float:
    """Megabytes that the process has in memory now."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def bench(console: Console, nodes: int, rounds: int, pods: int) -> None:
    random.seed(0)
    options = Options(scheduler=False, api_server_flags=("--default-watch-cache-size=1000",))
    async with ControlPlane(binaries(), options) as plane, plane.client() as client:
        await wait_for_service_accounts(client)
        await apply_manifests(plane.binaries, plane.kubeconfig())
        await wait_for_gate(client)
        plane.kill("kube-controller-manager")  # it would have a lot to say about nodes that nobody runs
        began = time.monotonic()
        count = await put(plane.etcd_server, large_cluster(nodes, USED))
        console.print(f"{count} objects in {time.monotonic() - began:.0f} s", style="dim")
        await wait_until("the API server to take them in", lambda: _taken_in(client), 300.0)
        await client.create(CLASSES, {"metadata": {"name": CLASS}, "spec": {"selectors": []}})
        cluster = Cluster(plane, client, console)
        cluster.say("cluster", f"{nodes} nodes, {8 * nodes} devices, {8 * nodes * USED // 100} pods with claims")
        operator = await cluster.start()
        try:
            await cluster.stalls({}, "while it starts")
            await events(cluster, operator, min(2_000, 4 * nodes))
            await cold_asks(cluster)
            await churn(cluster, operator, rounds, pods)
            await idle(cluster, operator, 30.0)
            cluster.say("memory at the end", f"{resident(operator):.0f} MB (peak {peak_megabytes(operator):.0f} MB)")
        finally:
            await operator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of churn")
    parser.add_argument("--pods", type=int, default=200, help="pods of a round")
    given = parser.parse_args()
    subprocess.run([sys.executable, "-m", "tests.perf.memory", f"--nodes={given.nodes}"], check=True)
    asyncio.run(bench(Console(width=160, soft_wrap=True), given.nodes, given.rounds, given.pods))


if __name__ == "__main__":
    main()
