"""`dra-operator devices`, `claims` and `audit`: what there is, who has it, and who may look into it.

All three look at the live cluster with the caller's rights, or at files; `-w` looks again and again.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from dra_operator.api.kinds import CLAIMS, SLICES, Kind
from dra_operator.cli.output import (
    PROBLEM,
    Format,
    emit,
    is_terminal,
    note,
    note_refused,
    print_table,
    refuses_bad_input,
)
from dra_operator.cli.scenes import LoadedScene, load_scene
from dra_operator.query.census import DeviceRow, User, find_accesses, find_claims, find_devices
from dra_operator.query.documents import InputError

Files = Annotated[
    list[str] | None,
    typer.Option("--filename", "-f", help="Files or folders instead of the cluster; - for stdin."),
]
Inventory = Annotated[str | None, typer.Option(help="With -f: nodes, as for simulate.", show_default=False)]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Otherwise the context's.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Otherwise as kubectl finds it.", show_default=False)]
Context = Annotated[str | None, typer.Option(help="Of the kubeconfig.", show_default=False)]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")]
Output = Annotated[Format, typer.Option("--output", "-o", help="Form of the answer.")]

_PAUSE = 2.0
_CLEAR = "\x1b[H\x1b[2J"


class By(StrEnum):
    """What a row stands for."""

    DEVICE = "device"
    NODE = "node"
    CLASS = "class"
    PRODUCT = "product"


@refuses_bad_input
def devices(
    files: Files = None,
    inventory: Inventory = None,
    by: Annotated[By, typer.Option(help="One row a device, or sums.")] = By.DEVICE,
    state: Annotated[
        str | None, typer.Option(help="Only devices that are Free, InUse, Shared or Tainted.", show_default=False)
    ] = None,
    watch: Watch = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.TABLE,
) -> None:
    """List devices across all namespaces: free, in use and by whom, tainted, looked into by admins.

    InUse: a claim holds it, whichever pods share that claim. Shared: claims have shares of it.
    """
    if state is not None and state not in ("Free", "InUse", "Shared", "Tainted"):
        raise InputError(f"--state {state}: there are Free, InUse, Shared and Tainted")

    def once(loaded: LoadedScene) -> int:
        found = find_devices(loaded.scene.simulation.view, loaded.unseen)
        rows = [row for row in found.devices if state is None or row.state == state]
        if output is not Format.TABLE:
            emit(type(found)(devices=tuple(rows), unseen=found.unseen), output)
        elif by is By.DEVICE:
            _show_devices(rows)
        else:
            _show_sums(rows, by)
        return 0

    _run(once, files, inventory, None, kubeconfig, context, watch, needs=SLICES)


@refuses_bad_input
def claims(
    files: Files = None,
    inventory: Inventory = None,
    namespace: Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    watch: Watch = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.TABLE,
) -> None:
    """List ResourceClaims: what they have been given, where, and which pods use them."""

    def once(loaded: LoadedScene) -> int:
        everywhere = all_namespaces or (bool(files) and namespace is None)
        where = None if everywhere else loaded.namespace
        found = find_claims(loaded.scene.simulation.view, where, loaded.unseen)
        if output is not Format.TABLE:
            emit(found, output)
            return 0
        headers = ["NAMESPACE", "CLAIM", "STATE", "NODE", "DEVICES", "PODS"]
        rows = [
            (
                one.namespace,
                one.name,
                one.state,
                one.node or "-",
                " ".join(name.split("/", 2)[-1] for name in one.devices) or "-",
                " ".join(one.pods) or "-",
            )
            for one in found.claims
        ]
        print_table(headers, rows, {2: _style})
        return 0

    _run(once, files, inventory, namespace, kubeconfig, context, watch, needs=CLAIMS)


@refuses_bad_input
def audit(
    files: Files = None,
    inventory: Inventory = None,
    watch: Watch = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.TABLE,
) -> None:
    """List admin accesses to devices, and whether their namespace still grants them.

    Exit code 1: an access is no longer granted.
    """

    def once(loaded: LoadedScene) -> int:
        found = find_accesses(loaded.scene.simulation.view, loaded.unseen)
        if output is not Format.TABLE:
            emit(found, output)
        elif not found.accesses:
            limits = ", as far as you may see" if loaded.unseen else ""
            typer.echo(f"nobody has admin access to a device{limits}")
        else:
            headers = ["NAMESPACE", "CLAIM", "PODS", "DEVICE", "SINCE", "GRANTED"]
            rows = [
                (
                    one.namespace,
                    one.claim,
                    " ".join(one.pods) or "-",
                    f"{one.driver}/{one.pool}/{one.device}",
                    one.since or "-",
                    "yes" if one.granted else "no: the namespace lost its label",
                )
                for one in found.accesses
            ]
            print_table(headers, rows, {5: lambda cell: "" if cell == "yes" else "red"})
        return 0 if all(one.granted for one in found.accesses) else PROBLEM

    _run(once, files, inventory, None, kubeconfig, context, watch, needs=CLAIMS)


def _run(
    once: Callable[[LoadedScene], int],
    files: list[str] | None,
    inventory: str | None,
    namespace: str | None,
    kubeconfig: str | None,
    context: str | None,
    watch: bool,
    needs: Kind[Any],
) -> None:
    """Once, or until Ctrl-C. Files are taken as they stand: nothing is allocated that they do not say."""
    while True:
        loaded = load_scene(files, False, inventory, namespace, kubeconfig, context, needs=(needs.plural,))
        if watch and is_terminal():
            sys.stdout.write(_CLEAR)
        code = once(loaded)
        for text in loaded.unseen:
            note(text)
        note_refused(loaded.scene.refused)
        sys.stdout.flush()
        if not watch:
            if code:
                raise typer.Exit(code)
            return
        del loaded
        gc.collect()
        try:
            time.sleep(_PAUSE)
        except KeyboardInterrupt:
            return


def _show_devices(rows: list[DeviceRow]) -> None:
    if not rows:
        typer.echo("no devices")
        return
    headers = ["NODE", "DEVICE", "PRODUCT", "CLASS", "STATE", "USED BY", "ADMINS", "TAINTS"]
    cells = [
        (
            row.node or "-",
            row.device if row.pool == row.node else f"{row.pool}/{row.device}",
            row.product or "-",
            ",".join(row.classes) or "-",
            row.state,
            _users(row.used_by),
            _users(row.admin_users),
            " ".join(row.taints) or "-",
        )
        for row in rows
    ]
    print_table(headers, cells, {4: _style})


def _show_sums(rows: list[DeviceRow], by: By) -> None:
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        names = {
            By.NODE: [row.node or "-"],
            By.PRODUCT: [row.product or "-"],
            By.CLASS: list(row.classes) or ["-"],
            By.DEVICE: [row.device],
        }[by]
        for name in names:
            count = sums.setdefault(name, Counter())
            count[row.state] += 1
            count["all"] += 1
            count["admins"] += bool(row.admin_users)
    headers = [by.value.upper(), "DEVICES", "FREE", "IN USE", "SHARED", "TAINTED", "WITH ADMINS"]
    order = ("all", "Free", "InUse", "Shared", "Tainted", "admins")
    print_table(headers, [(name, *(str(count[key]) for key in order)) for name, count in sorted(sums.items())], {})


def _users(users: tuple[User, ...]) -> str:
    names = [f"{one.namespace}/{pod}" for one in users for pod in one.pods or (f"claim {one.claim}",)]
    return " ".join(names) or "-"


def _style(cell: str) -> str:
    return {"Free": "green", "Allocated": "green", "Tainted": "red", "Deleting": "red"}.get(cell, "yellow")
