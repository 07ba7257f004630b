"""One sandbox, from its control plane to its operator: brings it up, keeps it, takes it down.

`serve` runs in the foreground until it is told to stop; `start_in_background` runs it detached; `take_down` ends it by
its own PIDs, also when the supervisor was killed and left its children (the kernel ends those, and `take_down` makes
sure).
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dra_operator.api.kinds import PODS
from dra_operator.api.names import GATE, SANDBOX_LABEL
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import connect
from dra_operator.sandbox.controlplane import ControlPlane, Options, wait_for_service_accounts
from dra_operator.sandbox.inventory import SimulatedNode
from dra_operator.sandbox.nodes import Nodes
from dra_operator.sandbox.plugins import PluginRuntime
from dra_operator.sandbox.ports import free_port
from dra_operator.sandbox.processes import Process, start, wait_until
from dra_operator.sandbox.state import ProcessId, State, read_state, remove_state, runtime_folder, write_state
from dra_operator.sandbox.webhook import MANIFESTS, address_flag, has_policies, write_kustomization

Say = Callable[[str], None]

_GATE_SECONDS: Final = 30.0
_UP_SECONDS: Final = 180.0
_DOWN_SECONDS: Final = 40.0
_TAIL: Final = 12
ERROR_PREFIX: Final = "dra-operator sandbox up: "
"""How `up` begins what it says when it fails; in the log of a supervisor, progress ends there."""


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


async def serve(plan: Plan, binaries: Path, say: Say) -> None:
    """Bring it up, stay until SIGINT or SIGTERM, take it down; a signal ends it at any point.

    On failure the logs stay, and the error names them. Raises `SandboxError`.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _only_one(plan.name):
        sandbox = asyncio.create_task(_Sandbox(plan, binaries, say).run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({sandbox, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        sandbox.cancel()
        await asyncio.wait({sandbox})
        if not sandbox.cancelled():
            sandbox.result()


@contextmanager
def _only_one(name: str) -> Iterator[None]:
    """The kernel lets go of the lock when the supervisor dies, however that happens."""
    folder = runtime_folder(name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(f"sandbox {name!r} is up already, or coming up") from None
        yield


def _first(error: BaseException) -> BaseException:
    """What made a group of tasks end."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Sandbox:
    """What one supervisor runs. `run` ends by its cancellation, or with the first thing that fails."""

    def __init__(self, plan: Plan, binaries: Path, say: Say) -> None:
        self._plan = plan
        self._say = say
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="dra-"))
        self._plane = ControlPlane(binaries, plan.options, self._folder)
        self._operator: Process | None = None
        self._server = ""
        self._webhook_port = 0
        self._ready = False

    async def run(self) -> None:
        keep = False
        try:
            self._save()
            await self._stay_up()
        except Exception as error:
            keep = True
            raise SandboxError(f"{_first(error)}\nlogs: {self._plane.logs}") from error
        finally:
            if self._operator is not None:
                await self._operator.stop()
            if self._plan.kubeconfig:
                await asyncio.to_thread(remove_nodes, str(self._binaries / "kubectl"), self._admin, self._plan.name)
            await self._plane.stop()
            self._clear(keep_logs=keep)
            remove_state(self._plan.name)

    def _clear(self, *, keep_logs: bool) -> None:
        """Credentials and data go in any case."""
        if not keep_logs:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        for one in self._folder.iterdir():
            if one.is_dir() and one != self._plane.logs:
                shutil.rmtree(one, ignore_errors=True)
            elif not one.is_dir():
                one.unlink()

    async def _stay_up(self) -> None:
        plan, say = self._plan, self._say
        self._plane.logs.mkdir(parents=True, exist_ok=True)
        if not plan.kubeconfig:
            say("starting etcd, API server, controller manager, scheduler")
            await self._plane.start()
        async with (
            connect(self._admin) as client,
            PluginRuntime.of_own_plugins(client, plan.nodes, self._folder / "nodes") as runtime,
        ):
            self._server = client.server
            self._save()
            if not plan.kubeconfig:
                await wait_for_service_accounts(client)
            if plan.manifests:
                await self._apply(client)
            nodes = Nodes(client, plan.nodes, sandbox=plan.name, runtime=runtime)
            if plan.nodes:
                devices = sum(len(node.content.devices) for node in plan.nodes)
                say(f"registering {len(plan.nodes)} nodes with {devices} devices")
                await nodes.register()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(nodes.run())
                if plan.operator:
                    say("starting the operator")
                    self._operator = self._start_operator()
                    self._save()
                    await wait_until("the operator to be ready", self._operator_ready, 60.0, [self._operator])
                    if self._webhook_port:
                        await wait_for_gate(client)
                elif self._webhook_port:
                    say(f"pods with claims need an operator:  dra-operator run {address_flag(self._webhook_port)}")
                self._ready = True
                self._save()
                say(f"ready; use it:  export KUBECONFIG={self._admin}")
                tasks.create_task(self._watch())

    async def _apply(self, client: ApiClient) -> None:
        """As an admin would; where the API server has no policies, the webhook in their place."""
        if self._plan.kubeconfig or await has_policies(client):
            self._say("applying manifests/base")
            await apply_manifests(self._binaries, self._admin, crd=self._plan.options.crd)
            await wait_for_gate(client)
            return
        self._say("applying manifests/base with the webhook, since the API server has no MutatingAdmissionPolicy v1")
        self._webhook_port = free_port()
        folder, crd = self._folder / "manifests", self._plan.options.crd
        write_kustomization(folder, self._webhook_port, ("webhook", "selectors-crd" if crd else "selectors"))
        await apply_manifests(self._binaries, self._admin, crd=crd, without_policies=folder)

    @property
    def _admin(self) -> Path:
        return Path(self._plan.kubeconfig) if self._plan.kubeconfig else self._plane.kubeconfig("admin")

    @property
    def _operator_kubeconfig(self) -> Path:
        return Path(self._plan.kubeconfig) if self._plan.kubeconfig else self._plane.kubeconfig("operator")

    @property
    def _processes(self) -> list[Process]:
        return [*self._plane.processes.values(), *([] if self._operator is None else [self._operator])]

    async def _watch(self) -> None:
        """Raises as soon as a program has ended that should run."""
        while True:
            await asyncio.sleep(1.0)
            for process in self._processes:
                process.check()

    def _start_operator(self) -> Process:
        command = [
            *(sys.executable, "-m", "dra_operator.cli.main", "run"),
            f"--kubeconfig={self._operator_kubeconfig}",
            "--log-format=json",
            "--metrics-address=127.0.0.1:0",
            *([address_flag(self._webhook_port)] if self._webhook_port else []),
            *self._plan.operator_flags,
        ]
        return start("operator", command, self._plane.logs / "operator.log")

    async def _operator_ready(self) -> bool:
        assert self._operator is not None
        return '"leading"' in self._operator.log.read_text(errors="replace")

    def _save(self) -> None:
        write_state(
            State(
                name=self._plan.name,
                supervisor=ProcessId.of("supervisor", os.getpid()),
                children=tuple(ProcessId.of(process.name, process.pid) for process in self._processes),
                folder=str(self._folder),
                kubeconfig=str(self._admin),
                operator_kubeconfig=str(self._operator_kubeconfig),
                kubectl=str(self._binaries / "kubectl"),
                server=self._server,
                nodes=tuple(node.name for node in self._plan.nodes),
                ready=self._ready,
            )
        )


async def apply_manifests(
    binaries: Path, kubeconfig: Path, *, crd: bool = False, without_policies: Path | None = None
) -> None:
    """Apply `manifests/base` with the real kubectl, as an admin would. Safe to repeat.

    `crd`: and the policies that stand in for the API server's own rules about claims. `without_policies`: what to apply
    in place of the base where the API server has none that mutate.
    """
    await _apply(binaries, kubeconfig, "-k", without_policies or MANIFESTS / "base")
    if crd:
        await _apply(binaries, kubeconfig, "-f", MANIFESTS / "components" / "crd" / "policies.yaml")
    if crd and without_policies is None:
        await _apply(binaries, kubeconfig, "-f", MANIFESTS / "components" / "crd" / "defaults.yaml")


async def _apply(binaries: Path, kubeconfig: Path, option: str, what: Path) -> None:
    command = [str(binaries / "kubectl"), f"--kubeconfig={kubeconfig}", "apply", "--server-side", option, str(what)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SandboxError(f"kubectl apply of {what} failed:\n{output.decode(errors='replace')}")


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
    """Run `dra-operator ARGUMENTS… --foreground` detached, and wait until the sandbox is ready.

    Whatever ends the wait, Ctrl-C included, ends the sandbox, too. Raises `SandboxError`.
    """
    folder = runtime_folder(name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / "supervisor.log"
    command = [sys.executable, "-m", "dra_operator.cli.main", *arguments, "--foreground"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return _wait_for_ready(name, process, log, say)
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _wait_for_ready(name: str, process: subprocess.Popen[bytes], log: Path, say: Say) -> State:
    shown = 0
    deadline = time.monotonic() + _UP_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        lines = log.read_text(errors="replace").splitlines()
        progress = list(itertools.takewhile(lambda line: not line.startswith(ERROR_PREFIX), lines))
        if ended:
            error = "\n".join(lines[len(progress) :] or lines[-_TAIL:])
            raise SandboxError(error.removeprefix(ERROR_PREFIX) or f"the sandbox did not come up; log: {log}")
        state = read_state(name)
        if state is not None and state.ready and state.supervisor.pid == process.pid:
            return state
        for line in progress[shown:]:
            say(line)
        shown = len(progress)
        time.sleep(0.1)
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
    if not state.own_cluster:
        remove_nodes(state.kubectl, Path(state.kubeconfig), name)
    shutil.rmtree(state.folder, ignore_errors=True)
    remove_state(name)
    return True


def remove_nodes(kubectl: str, kubeconfig: Path, name: str) -> None:
    """Delete the nodes of a sandbox from a cluster that outlives it. Their Leases and slices go with them."""
    command = [kubectl, f"--kubeconfig={kubeconfig}", "delete", "nodes", "--wait=false"]
    subprocess.run(  # noqa: S603
        [*command, f"--selector={SANDBOX_LABEL}={name}"], check=False, capture_output=True, timeout=_DOWN_SECONDS
    )
