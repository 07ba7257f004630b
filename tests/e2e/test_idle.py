"""An operator that has nothing to do: it renews its lease, writes nothing else, and is small."""

from __future__ import annotations

from pathlib import Path

from dra_operator.api.reasons import Reason
from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.sandbox.processes import Process
from dra_operator.sandbox.state import State
from tests.e2e.operators import launch
from tests.e2e.proxy import Proxy
from tests.e2e.replicas import LEASE, Replica, leader
from tests.e2e.stage import Stage, until

FLAGS = ("--log-format=json", "--claims=generate", "--metrics-address=127.0.0.1:0", "--sweep-interval=1")
"""Sweeps come often, so that there are some while it is watched."""
RENEWALS = 5
MEGABYTES = 150


class Counting(Proxy):
    """Keeps every write of the operator, also those to the lease and of events, Kopf's included."""

    def __init__(self, state: State) -> None:
        super().__init__(find_credentials(state.operator_kubeconfig))
        self.seen: list[str] = []
        self.reads: list[str] = []

    async def arrive(self, request: str) -> None:
        (self.reads if request.startswith("GET ") else self.seen).append(request)

    def others(self, since: int = 0) -> list[str]:
        """Writes after the first so many that do not renew the lease."""
        return [write for write in self.seen[since:] if not write.endswith(LEASE)]

    async def renewals(self, count: int) -> None:
        """Wait until the lease was renewed so many times more."""
        wanted = self._renewed() + count

        async def there() -> bool:
            return self._renewed() >= wanted

        await until(lambda: f"the lease is not renewed; written: {self.seen[-20:]}", there, 120.0)

    def _renewed(self) -> int:
        return sum(write.endswith(LEASE) for write in self.seen)


async def test_an_idle_operator_renews_its_lease_writes_nothing_else_and_is_small(
    bare: State, there: Stage, tmp_path: Path
) -> None:
    await there.template()
    async with Counting(bare) as proxy:
        config = proxy.write_kubeconfig(tmp_path / "kubeconfig")
        one = Replica("one", launch(config, tmp_path / "log", FLAGS))
        try:
            await one.ready()
            await leader(there.client, [one])
            names = [f"pod-{number}" for number in range(4)]
            for name in names:
                await there.pod(name, templates=("gpu",))
            await there.running(*names, seconds=120.0)
            await there.pod("waits", templates=("gpu",))
            await there.waits("waits", Reason.DEVICES_IN_USE)
            await at_rest(proxy)
            so_far, read = len(proxy.seen), len(proxy.reads)
            await proxy.renewals(RENEWALS)
            assert proxy.others(since=so_far) == []
            assert f"GET {LEASE}" not in proxy.reads[read:], "a renewal is one request"
            assert megabytes(one.process) < MEGABYTES
        finally:
            await one.process.stop()


async def at_rest(proxy: Counting) -> None:
    """What the pods called for is written, and the Events about them are sent."""

    async def quiet() -> bool:
        before = len(proxy.others())
        await proxy.renewals(2)
        return len(proxy.others()) == before

    await until(lambda: f"it goes on writing: {proxy.others()[-20:]}", quiet, 120.0)


def megabytes(process: Process) -> float:
    """What of the process is in memory."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{process.name} has no memory: has it ended?")
