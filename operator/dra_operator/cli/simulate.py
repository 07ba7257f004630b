"""`dra-operator simulate`: who would get which devices, and who would wait and why, from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dra_operator.api.resource import DeviceTaint, ResourceSlice
from dra_operator.cli.inventory import Machines
from dra_operator.cli.output import (
    PROBLEM,
    Format,
    emit,
    note,
    note_refused,
    print_table,
    refuses_bad_input,
    style_of_state,
)
from dra_operator.query.documents import InputError, read_documents
from dra_operator.query.objects import Manifests, load_objects
from dra_operator.query.report import PodReport, SimulationReport, report_on
from dra_operator.query.scene import Scene, Taint, WhatIf, build_scene

_TAINT_FORM = "write NODE[/DEVICE]:KEY[=VALUE]:EFFECT, for example gpu-0/gpu-3:example.com/broken:NoSchedule"


@refuses_bad_input
def simulate(
    files: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", help="File or folder of manifests, - for stdin; may be repeated."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Folders below folders, too.")] = False,
    inventory: Annotated[
        Path | None, typer.Option(help="Nodes: a list of groups, or slices from a cluster.", show_default=False)
    ] = None,
    add_nodes: Annotated[
        list[str] | None, typer.Option(help="What if there were these: PROFILE:COUNT[xGPUS][@DRIVER].")
    ] = None,
    remove_node: Annotated[list[str] | None, typer.Option(help="What if this node were not there.")] = None,
    taint: Annotated[
        list[str] | None, typer.Option(help="What if devices had a taint: NODE[/DEVICE]:KEY[=VALUE]:EFFECT.")
    ] = None,
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="Start from what the cluster has; files come on top.")
    ] = False,
    kubeconfig: Annotated[str | None, typer.Option(help="Of --from-cluster.", show_default=False)] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig.", show_default=False)] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of objects that name none.")] = "default",
    strict: Annotated[
        bool,
        typer.Option("--strict", help="End with 2 if the API server would refuse anything, or a namespace is missing."),
    ] = False,
    output: Annotated[Format, typer.Option("--output", "-o", help="Form of the answer.")] = Format.TABLE,
) -> None:
    """Say what devices pods would get, without a cluster: who gets what, who waits and why.

    Exit code 0: all pods get their devices; 1: some wait, or the API server would refuse an object; 2: the input cannot
    be used.
    """
    if not files and not from_cluster:
        raise InputError("nothing to simulate: name files with -f, or --from-cluster")
    machines = Machines()
    if inventory is not None:
        machines.add_file(inventory)
    for text in add_nodes or ():
        machines.add_like(text)
    what_if = WhatIf(tuple(remove_node or ()), tuple(parse_taint(text) for text in taint or ()))
    manifests = load_objects(read_documents(files or (), recursive=recursive), namespace)
    unseen: tuple[str, ...] = ()
    if from_cluster:
        from dra_operator.query.live import load_cluster  # late: files alone do without a client

        cluster = load_cluster(kubeconfig, context, None)
        manifests, unseen = cluster.manifests.topped_by(manifests), tuple(cluster.unseen)
    scene = build_scene(
        manifests,
        nodes=machines.nodes,
        slices=machines.slices,
        taint_rules=machines.taint_rules,
        what_if=what_if,
        strict=strict,
        live=from_cluster,
    )
    scene.simulation.run()
    report = report_on(scene.simulation, scene.refused)
    # Slices are a driver's, not the user's: what is wrong with one is told, and its pool has a code of its own.
    refused = sum(one.type is not ResourceSlice for one in scene.refused)
    _remark(manifests, scene, unseen)
    if output is Format.TABLE:
        _show(report, refused)
    else:
        emit(report, output)
    if report.summary.waiting or report.summary.rejected or refused:
        raise typer.Exit(PROBLEM)


def parse_taint(text: str) -> Taint:
    """Raises `InputError`."""
    where, _, rest = text.partition(":")
    named, _, effect = rest.rpartition(":")
    key, _, value = named.partition("=")
    pool, _, device = where.partition("/")
    if not (pool and key and effect):
        raise InputError(f"--taint {text}: {_TAINT_FORM}")
    if effect not in ("NoSchedule", "NoExecute", "None"):
        raise InputError(f'--taint {text}: the effect "{effect}" is none of NoSchedule, NoExecute, None')
    return Taint(pool, device, DeviceTaint(key=key, value=value, effect=effect))


def _remark(manifests: Manifests, scene: Scene, unseen: tuple[str, ...]) -> None:
    for text in (*unseen, *scene.notes):
        note(text)
    note_refused(scene.refused)
    if manifests.skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(manifests.skipped.items()))
        note(f"skipped, as it plays no part in allocation: {kinds}")


def _show(report: SimulationReport, refused: int) -> None:
    if report.pods:
        several = len({pod.namespace for pod in report.pods}) > 1
        headers = ["POD", "STATE", "NODE", "DEVICES", "REASON"]
        rows = [
            (
                f"{pod.namespace}/{pod.name}" if several else pod.name,
                pod.state,
                pod.node or "-",
                _devices(pod) or "-",
                "" if pod.state == "Allocated" else f"{pod.reason.code}: {pod.reason.message}",
            )
            for pod in report.pods
        ]
        print_table(headers, rows, {1: style_of_state})
    summary = report.summary
    parts = [f"{summary.allocated} of {len(report.pods)} pods get their devices"]
    parts += [f"{summary.waiting} wait"] if summary.waiting else []
    parts += [f"{summary.rejected} are rejected"] if summary.rejected else []
    if not report.pods:
        parts = ["no pod asks for devices"]
    parts += [f"the API server would refuse {refused} object{'' if refused == 1 else 's'}"] if refused else []
    typer.echo("; ".join(parts))


def _devices(pod: PodReport) -> str:
    return " ".join(
        (one.device if one.pool == pod.node else f"{one.pool}/{one.device}") + ("(admin)" if one.admin_access else "")
        for claim in pod.claims
        for one in claim.results
    )
