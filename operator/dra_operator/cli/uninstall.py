"""`dra-operator uninstall`: take the operator out of a cluster, and leave every pod as well off as it can be."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated

import typer

from dra_operator.api.names import LEASE_NAME, OPERATOR_NAMESPACE
from dra_operator.cli.output import PROBLEM, note, refuses_bad_input
from dra_operator.cluster.http import ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import KubeconfigError, connect
from dra_operator.query.documents import InputError
from dra_operator.removal.steps import Agents, Removal, RemovalRefused
from dra_operator.removal.uninstall import find_plan
from dra_operator.removal.uninstall import uninstall as remove

_SHOWN = 5


@refuses_bad_input
def uninstall(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    agents: Annotated[
        Agents,
        typer.Option(help="Node agents and their slices; auto: they stay while pods use or wait for their devices."),
    ] = Agents.AUTO,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the operator.")
    ] = OPERATOR_NAMESPACE,
    lease_name: Annotated[str, typer.Option(help="Name of its Lease.")] = LEASE_NAME,
    kubeconfig: Annotated[str | None, typer.Option(help="Otherwise as kubectl finds it.", show_default=False)] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig.", show_default=False)] = None,
) -> None:
    """Take the operator out of a cluster: running pods keep their devices, waiting ones go to kube-scheduler.

    What was interrupted goes on when it is started again. Exit code 0: done; 1: it could not go on, and says why.
    """
    if not dry_run and not yes and not sys.stdin.isatty():
        raise InputError("nobody can be asked here: give --yes, or --dry-run to see what would be done")
    try:
        asyncio.run(_uninstall(kubeconfig, context, namespace, lease_name, agents, dry_run, yes))
    except KubeconfigError as error:
        raise InputError(str(error)) from None
    except (RemovalRefused, ApiError, NoAnswer) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(PROBLEM) from None


async def _uninstall(
    kubeconfig: str | None,
    context: str | None,
    namespace: str,
    lease_name: str,
    agents: Agents,
    dry_run: bool,
    yes: bool,
) -> None:
    async with connect(kubeconfig, context) as client:
        removal = Removal(client, namespace, lease_name, agents, time.time)
        steps = await find_plan(removal)
        if not steps:
            typer.echo(f"nothing of the operator is left in {client.server}")
        if steps and not (yes and not dry_run):
            _print(client.server, steps)
        if not dry_run and steps:
            if not yes and not await asyncio.to_thread(typer.confirm, "Go on?"):
                raise typer.Exit(PROBLEM)
            removal.remarks.clear()
            await remove(removal, typer.echo)
            typer.echo("done")
        for text in removal.remarks:
            note(text)


def _print(server: str, steps: list[tuple[str, list[str]]]) -> None:
    typer.echo(f"in {server}:")
    for title, tasks in steps:
        typer.echo(f"  {title}")
        for what in tasks[:_SHOWN]:
            typer.echo(f"    {what}")
        if len(tasks) > _SHOWN:
            typer.echo(f"    and {len(tasks) - _SHOWN} more")
