"""`dra-operator sandbox up|status|down|kubectl`: a real Kubernetes control plane with simulated GPU nodes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TimeElapsedColumn

from dra_operator.cli.logs import configure_logging
from dra_operator.cluster.flavour import Api
from dra_operator.lifecycle.policy import ClaimsMode
from dra_operator.sandbox.binaries import BinariesError, find_binaries
from dra_operator.sandbox.controlplane import Options
from dra_operator.sandbox.demo import NODES, Demo, DemoError
from dra_operator.sandbox.inventory import InventoryError, NodeGroup, expand, read_inventory
from dra_operator.sandbox.kubectl import Kubectl, KubectlError
from dra_operator.sandbox.state import State, read_state
from dra_operator.sandbox.supervisor import ERROR_PREFIX, Plan, SandboxError, serve, start_in_background, take_down

app = typer.Typer(no_args_is_help=True, help="A real Kubernetes control plane on loopback, with simulated GPU nodes.")

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

_NAME = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?")


def _name(value: str) -> str:
    """The name is that of a folder, and a label's value on the nodes."""
    if _NAME.fullmatch(value) is None:
        raise typer.BadParameter(f"{value!r}: up to 63 letters, digits, -, _ and ., a letter or digit at both ends")
    return value


Name = Annotated[str, typer.Option("--name", callback=_name, help="Which sandbox; several may run side by side.")]


@app.command()
def up(
    name: Name = "default",
    nodes: Annotated[int, typer.Option(min=0, help="How many GPU nodes.")] = 3,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs a node; otherwise as the profile.")] = None,
    profile: Annotated[str, typer.Option(help="Kind of the nodes.")] = "h100-sxm-80gb",
    inventory: Annotated[Path | None, typer.Option(help="YAML file of nodes, instead of the three above.")] = None,
    operator: Annotated[bool, typer.Option("--operator", help="Run the operator, too.")] = False,
    operator_flag: Annotated[list[str] | None, typer.Option(help="Flag for the operator, as --claims=adopt.")] = None,
    kubeconfig: Annotated[str, typer.Option(help="Use this cluster, not a control plane of our own.")] = "",
    manifests: Annotated[bool, typer.Option(help="Apply manifests/base.")] = True,
    api: Annotated[
        Api, typer.Option(help="Who serves resource.k8s.io/v1: the API server, or custom resources.")
    ] = Api.NATIVE,
    resourceclaim_controller: Annotated[
        bool, typer.Option(help="Leave upstream's generator of claims in kube-controller-manager.")
    ] = False,
    client_qps: Annotated[
        int, typer.Option(help="Client limits of controller manager and scheduler; 0: upstream's own.")
    ] = 200,
    foreground: Annotated[bool, typer.Option(help="Stay here until Ctrl-C.")] = False,
) -> None:
    """Bring a sandbox up, in the background unless --foreground."""
    try:
        groups = read_inventory(inventory) if inventory else _group(nodes, gpus, profile)
        simulated = expand(groups)
    except InventoryError as error:
        typer.echo(f"{ERROR_PREFIX}{error}", err=True)
        raise typer.Exit(2) from error
    running = read_state(name)
    if running is not None and running.supervisor.alive:
        typer.echo(f"sandbox {name!r} is up already; `dra-operator sandbox down --name {name}` ends it", err=True)
        raise typer.Exit(1)
    if api is Api.CRD and (kubeconfig or resourceclaim_controller):
        why = (
            "only in a control plane of our own, and without upstream's generator, which cannot write custom resources"
        )
        typer.echo(f"{ERROR_PREFIX}--api={api.value}: {why}", err=True)
        raise typer.Exit(2)
    # In our own control plane it is known whether kube-controller-manager generates claims; elsewhere it is learned.
    claims = ClaimsMode.AUTO if resourceclaim_controller or kubeconfig else ClaimsMode.GENERATE
    plan = Plan(
        name=name,
        nodes=tuple(simulated),
        manifests=manifests,
        operator=operator,
        operator_flags=(f"--claims={claims.value}", *(operator_flag or ())),
        kubeconfig=kubeconfig,
        options=Options(crd=api is Api.CRD, resourceclaim_controller=resourceclaim_controller, client_qps=client_qps),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends a build, too, and what was started
    try:
        with _progress(foreground) as say:
            binaries = find_binaries(say)
            take_down(name)  # what a killed supervisor left
            if foreground:
                configure_logging("auto", "warning")
                asyncio.run(serve(plan, binaries, say))
            else:
                state = start_in_background(name, sys.argv[1:], say)
        if not foreground:
            _show(state)
    except (SandboxError, BinariesError, OSError, TimeoutError) as error:
        typer.echo(f"{ERROR_PREFIX}{error}", err=True)
        raise typer.Exit(1) from error


def _group(nodes: int, gpus: int | None, profile: str) -> list[NodeGroup]:
    if nodes == 0:
        return []
    if nodes == 1:
        return [NodeGroup(name="gpu-0", profile=profile, gpus=gpus)]
    return [NodeGroup(name="gpu", count=nodes, profile=profile, gpus=gpus)]


@app.command()
def status(name: Name = "default") -> None:
    """Say whether a sandbox is up, and how to use it. Exit code 1 if it is not."""
    state = read_state(name)
    if state is None or not state.supervisor.alive:
        typer.echo(f"sandbox {name!r} is not up")
        raise typer.Exit(1)
    _show(state)


@app.command()
def down(name: Name = "default") -> None:
    """End a sandbox and all its processes."""
    if take_down(name):
        typer.echo(f"sandbox {name!r} is down")
    else:
        typer.echo(f"sandbox {name!r} was not up")


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the sandbox running afterwards.")] = False,
    name: Name = "demo",
) -> None:
    """Bring a sandbox up with the operator, and show and check the main job on it."""
    started = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    state: State | None = None
    done = False
    try:
        find_binaries(_say)
        take_down(name)
        # The nodes come from a file, as a user's would.
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"nodes": [msgspec.to_builtins(group) for group in NODES]}, file)
            file.flush()
            arguments = ["sandbox", "up", "--name", name, "--inventory", file.name, "--operator"]
            state = start_in_background(name, arguments, lambda line: console.print(f"[dim]{line}[/]"))
        Demo(
            Kubectl(state.kubectl, state.kubeconfig),
            EXAMPLES,
            say=lambda line: console.print(f"\n[bold]{line}[/]"),
            show=lambda line: console.print(f"  [green]✓[/] {escape(line)}"),
        ).run()
        done = True
    except (BinariesError, DemoError, KubectlError, SandboxError, KeyError) as error:
        console.print(f"\n[red]the demo failed:[/] {escape(str(error))}")
        if state is not None:
            logs = Path(tempfile.mkdtemp(prefix="dra-demo-logs-"))
            shutil.copytree(Path(state.folder) / "log", logs, dirs_exist_ok=True)
            console.print(f"logs: {logs}")
    finally:
        if not (keep and done):
            take_down(name)
    if not done:
        raise typer.Exit(1)
    console.print(f"\nall as it should be, in {time.monotonic() - started:.0f} s")
    if keep and state is not None:
        console.print(f"it goes on running:  export KUBECONFIG={state.kubeconfig}")
        console.print(f"                     {state.kubectl} get pods,resourceclaims --all-namespaces")
        console.print(f"end it with:         dra-operator sandbox down --name {name}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def kubectl(context: typer.Context, name: Name = "default") -> None:
    """Run the real kubectl against a sandbox: `dra-operator sandbox kubectl -- get pods`."""
    state = read_state(name)
    if state is None:
        typer.echo(f"sandbox {name!r} is not up", err=True)
        raise typer.Exit(1)
    # By the environment: before the name of a plugin kubectl takes no flags. Ours is beside this program.
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"
    environment = {**os.environ, "KUBECONFIG": state.kubeconfig, "PATH": path}
    os.execve(state.kubectl, [state.kubectl, *context.args], environment)  # noqa: S606 - kubectl # nosec B606


def _show(state: State) -> None:
    typer.echo(f"sandbox {state.name!r} is {'ready' if state.ready else 'starting'} at {state.server}")
    typer.echo(f"  nodes:      {len(state.nodes)}")
    typer.echo(f"  kubeconfig: {state.kubeconfig}")
    for process in state.children:
        typer.echo(f"  {process.name + ':':<26}{'running' if process.alive else 'ended'}, pid {process.pid}")
    typer.echo(f"use it:  export KUBECONFIG={state.kubeconfig}")


@contextmanager
def _progress(plain: bool) -> Iterator[Callable[[str], None]]:
    """Where lines of progress go: on a terminal each stays with its seconds, the last one turns; else plain lines."""
    console = Console(highlight=False, soft_wrap=True)
    if plain or not console.is_terminal:
        yield _say
        return
    with Progress(SpinnerColumn(finished_text="[green]✓[/]"), "{task.description}", TimeElapsedColumn()) as progress:
        current: list[TaskID] = []

        def finish() -> None:
            for task in current:
                progress.update(task, total=1, completed=1)
            current.clear()

        def say(line: str) -> None:
            finish()
            current.append(progress.add_task(escape(line), total=None))

        yield say
        finish()


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()
