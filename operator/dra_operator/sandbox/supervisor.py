"""One sandbox, from its control plane to its operator: brings it up, keeps it, takes it down.

`serve` runs in the foreground until it is told to stop; `start_in_background` runs it detached; `take_down` ends it by
its own PIDs, also when the supervisor was killed and left its children (the kernel ends those, and `take_down` makes
sure).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dra_operator.api.kinds import PODS
from dra_operator.api.names import GATE
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import connect
from dra_operator.sandbox.binaries import find_binaries
from dra_operator.sandbox.controlplane import ControlPlane, Options, wait_for_service_accounts
from dra_operator.sandbox.inventory import SimulatedNode
from dra_operator.sandbox.nodes import Nodes
from dra_operator.sandbox.processes import Process, start, tail_of, wait_until
from dra_operator.sandbox.state import ProcessId, State, read_state, remove_state, runtime_folder, write_state

Say = Callable[[str], None]

_MANIFESTS: Final = Path(__file__).resolve().parents[3] / "manifests" / "base"
_GATE_SECONDS: Final = 30.0
_UP_SECONDS: Final = 1800.0
_DOWN_SECONDS: Final = 40.0


class SandboxError(Exception):
    """The sandbox cannot be brought up or found; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sandbox is to be."""

    name: str
    nodes: tuple[SimulatedNode, ...]
    manifests: bool = True
    operator: bool = False
    operator_flags: tuple[str, ...] = ()
    kubeconfig: str = ""
    """An existing cluster to use in place of a control plane of its own."""
    options: Options = Options()


async def serve(plan: Plan, say: Say) -> None:
    """Bring it up, stay until SIGINT or SIGTERM, take it down. On failure the logs stay, and the error names them."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    binaries = await asyncio.to_thread(find_binaries, say)
    if plan.kubeconfig:
        with_cluster = _Serving(plan, say, stop, binaries, None)
        await with_cluster.run(Path(plan.kubeconfig), Path(plan.kubeconfig))
        return
    plane = ControlPlane(binaries, plan.options)
    say("starting etcd, API server, controller manager, scheduler")
    try:
        await plane.start()
        serving = _Serving(plan, say, stop, binaries, plane)
        await serving.run(plane.kubeconfig("admin"), plane.kubeconfig("operator"))
    except Exception as error:
        await plane.stop(keep=True)
        raise SandboxError(f"{error}\nlogs: {plane.logs}") from error
    await plane.stop()


class _Serving:
    """A sandbox whose control plane serves."""

    def __init__(self, plan: Plan, say: Say, stop: asyncio.Event, binaries: Path, plane: ControlPlane | None) -> None:
        self._plan = plan
        self._say = say
        self._stop = stop
        self._binaries = binaries
        self._plane = plane
        self._operator: Process | None = None

    async def run(self, admin: Path, operator: Path) -> None:
        plan = self._plan
        async with connect(admin) as client:
            self._save(admin, operator, client, ready=False)
            try:
                await self._prepare(admin, operator, client)
            finally:
                if self._operator is not None:
                    await self._operator.stop()
                remove_state(plan.name)

    async def _prepare(self, admin: Path, operator: Path, client: ApiClient) -> None:
        plan, say = self._plan, self._say
        if self._plane is not None:
            await wait_for_service_accounts(client)
        if plan.manifests:
            say("applying manifests/base")
            await apply_manifests(self._binaries, admin)
            await wait_for_gate(client)
        nodes = Nodes(client, plan.nodes)
        if plan.nodes:
            say(f"registering {len(plan.nodes)} nodes with {sum(len(node.devices) for node in plan.nodes)} devices")
            await nodes.register()
        if plan.operator:
            say("starting the operator")
            self._operator = self._start_operator(operator)
            await wait_until("the operator to be ready", self._operator_ready, 60.0, [self._operator])
        self._save(admin, operator, client, ready=True)
        say("ready")
        running = asyncio.create_task(nodes.run())
        stopping = asyncio.create_task(self._stop.wait())
        watching = asyncio.create_task(self._watch())
        done, pending = await asyncio.wait({running, stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()

    async def _watch(self) -> None:
        """Raises as soon as a program has ended that should run."""
        while True:
            await asyncio.sleep(1.0)
            for process in (self._plane.processes if self._plane is not None else {}).values():
                process.check()
            if self._operator is not None:
                self._operator.check()

    def _start_operator(self, kubeconfig: Path) -> Process:
        folder = runtime_folder(self._plan.name)
        command = [
            *(sys.executable, "-m", "dra_operator.cli.main", "run"),
            f"--kubeconfig={kubeconfig}",
            "--log-format=json",
            "--metrics-address=127.0.0.1:0",
            *self._plan.operator_flags,
        ]
        log = self._plane.logs / "operator.log" if self._plane is not None else folder / "operator.log"
        return start("operator", command, log)

    async def _operator_ready(self) -> bool:
        assert self._operator is not None
        return '"leading"' in await asyncio.to_thread(self._operator.log.read_text, errors="replace")

    def _save(self, admin: Path, operator: Path, client: ApiClient, *, ready: bool) -> None:
        processes = dict(self._plane.processes) if self._plane is not None else {}
        if self._operator is not None:
            processes["operator"] = self._operator
        write_state(
            State(
                name=self._plan.name,
                supervisor=ProcessId.of("supervisor", os.getpid()),
                children=tuple(ProcessId.of(name, process.pid) for name, process in processes.items()),
                folder=str(self._plane.data if self._plane is not None else ""),
                own_cluster=self._plane is not None,
                kubeconfig=str(admin),
                operator_kubeconfig=str(operator),
                kubectl=str(self._binaries / "kubectl"),
                server=client.server,
                nodes=tuple(node.name for node in self._plan.nodes),
                ready=ready,
            )
        )


async def apply_manifests(binaries: Path, kubeconfig: Path) -> None:
    """Apply `manifests/base` with the real kubectl, as an admin would. Safe to repeat."""
    command = [str(binaries / "kubectl"), f"--kubeconfig={kubeconfig}", "apply", "--server-side", "-k", str(_MANIFESTS)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SandboxError(f"kubectl apply of manifests/base failed:\n{output.decode(errors='replace')}")


async def wait_for_gate(client: ApiClient) -> None:
    """Wait until a dry-run Pod with a claim comes back gated: the policy takes a moment to be in force."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gate-check", "namespace": "default"},
        "spec": {
            "containers": [{"name": "none", "image": "none"}],
            "resourceClaims": [{"name": "none", "resourceClaimName": "none"}],
        },
    }

    async def gated() -> bool:
        try:
            return (await client.create(PODS, pod, namespace="default", dry_run=True)).has_gate(GATE)
        except (ApiError, NoAnswer):
            return False

    await wait_until("the gate policy to be in force", gated, _GATE_SECONDS)


# --- from outside ----------------------------------------------------------------------------------------------------


def start_in_background(name: str, arguments: Sequence[str], say: Say) -> State:
    """Run `sandbox up --foreground` detached, and wait until it is ready. Raises `SandboxError`."""
    folder = runtime_folder(name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / "supervisor.log"
    command = [sys.executable, "-m", "dra_operator.cli.main", "sandbox", "up", "--foreground", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    shown = 0
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline:
        lines = log.read_text(errors="replace").splitlines()
        for line in lines[shown:]:
            say(line)
        shown = len(lines)
        state = read_state(name)
        if state is not None and state.ready and state.supervisor.pid == process.pid:
            return state
        if process.poll() is not None:
            raise SandboxError(f"the sandbox did not come up:\n{tail_of(log)}")
        time.sleep(0.1)
    process.terminate()
    raise SandboxError(f"the sandbox was not ready after {_UP_SECONDS:g} s; log: {log}")


def take_down(name: str) -> bool:
    """End the sandbox and all its processes. Returns whether there was one."""
    state = read_state(name)
    if state is None:
        return False
    everyone = (state.supervisor, *state.children)
    state.supervisor.send(signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while any(process.alive for process in everyone) and time.monotonic() < deadline:
        if not state.supervisor.alive:
            for child in state.children:
                child.send(signal.SIGTERM)
        time.sleep(0.1)
    for process in everyone:
        process.send(signal.SIGKILL)
    if state.own_cluster and state.folder:
        shutil.rmtree(state.folder, ignore_errors=True)
    remove_state(name)
    return True
