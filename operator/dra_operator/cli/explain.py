"""`dra-operator explain` and `kubectl dra explain`: why a pod waits, and what would help."""

from __future__ import annotations

from typing import Annotated

import typer

from dra_operator.api.kinds import PODS
from dra_operator.cli.output import PROBLEM, Format, emit, note, note_refused, refuses_bad_input
from dra_operator.cli.printable import printable
from dra_operator.cli.scenes import load_scene
from dra_operator.query.documents import InputError
from dra_operator.query.explain import AlternativeReport, Explanation, find_subject
from dra_operator.query.explain import explain as explain_pod
from dra_operator.query.scene import asks_extended


@refuses_bad_input
def explain(
    what: Annotated[str, typer.Argument(metavar="[pod/|claim/|template/]NAME", help="A bare name is a pod's.")],
    files: Annotated[
        list[str] | None,
        typer.Option("--filename", "-f", help="Files or folders instead of the cluster; - for stdin."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Folders below folders, too.")] = False,
    inventory: Annotated[str | None, typer.Option(help="With -f: nodes, as for simulate.", show_default=False)] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Otherwise the context's.")] = None,
    kubeconfig: Annotated[str | None, typer.Option(help="Otherwise as kubectl finds it.", show_default=False)] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig.", show_default=False)] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="Form of the answer.")] = Format.TABLE,
) -> None:
    """Say why a pod waits for its devices, and what would help: each suggestion was tried by the operator's own core.

    Exit code 0: it has its devices; 1: it waits; 2: the input cannot be used.
    """
    loaded = load_scene(files, recursive, inventory, namespace, kubeconfig, context, needs=(PODS.plural,))
    if files:
        loaded.scene.simulation.run()
    try:
        subject = find_subject(loaded.scene.simulation, what, loaded.namespace, loaded.scene.refused)
    except InputError as error:
        if not loaded.unseen:
            raise
        raise InputError(f"{error} ({'; '.join(loaded.unseen)})") from None
    explanation = explain_pod(
        loaded.scene.simulation,
        subject.pod,
        loaded.unseen,
        refused=loaded.scene.refused,
        live=not files and not subject.stands_in,
    )
    if output is Format.TABLE:
        if files or asks_extended(subject.pod):  # a note about other pods of a cluster is none of this one's
            for text in loaded.scene.notes:
                note(text)
        note_refused(loaded.scene.refused)
        typer.echo("\n".join(map(printable, _lines(explanation, subject.remark))))
    else:
        emit(explanation, output)
    if explanation.state != "Allocated":
        raise typer.Exit(PROBLEM)


def _lines(one: Explanation, remark: str) -> list[str]:
    what = {"Allocated": "has its devices", "Waiting": "waits", "Rejected": "is rejected"}[one.state]
    lines = [f"pod {one.namespace}/{one.name} {what}: {one.reason.code}", f"  {one.reason.message}"]
    lines += [f"  (explained {remark})"] if remark else []
    for claim in one.claims:
        for result in claim.results:
            admin = ", admin access" if result.admin_access else ""
            lines.append(f'  request "{result.request}": {result.device} of {result.pool} ({result.driver}{admin})')
    lines += [f"  {hint}" for hint in one.hints]
    for request in one.requests:
        before = ": the alternatives before it, as things are now" if one.state == "Allocated" else ""
        lines += ["", f'request "{request.request}" of claim {request.claim}{before}']
        for alternative in request.alternatives:
            lines += _funnel(alternative, several=bool(before) or len(request.alternatives) > 1)
    if one.nearest_nodes:
        lines += ["", "nearest nodes"]
        lines += [f"  {node.name}: {'; '.join(node.lacks) or 'lacks nothing'}" for node in one.nearest_nodes]
    if one.suggestions:
        lines += ["", "it would get its devices (each was tried)"]
        lines += [f"  - {suggestion.message}" for suggestion in one.suggestions]
    if one.unseen:
        lines += ["", "not seen with your rights"]
        lines += [f"  - {text}" for text in one.unseen]
    return lines


def _funnel(one: AlternativeReport, *, several: bool) -> list[str]:
    funnel = one.funnel
    wanted = "all devices" if one.wanted is None else f"{one.wanted} device{'' if one.wanted == 1 else 's'}"
    title = f'alternative "{one.name}" wants' if several else "wants"
    lines = [f"  {title} {wanted} of class {one.device_class}", f"    {funnel.published:>6} published"]
    for step in one.selectors:
        owner = "class" if step.owner == "class" else "selector"
        text = " ".join(step.expression.split())
        lines.append(f"    {step.left:>6} left by {owner} {text}")
        if step.error is not None:
            first, *more = step.error.split("\n")
            lines += [f"           fails on {step.errors}: {first}", *(f"           {line}" for line in more)]
    left = funnel.matching
    for count, what in (
        (funnel.in_use, "in use"),
        (funnel.tainted, "tainted"),
        (funnel.without_capacity, "without enough capacity"),
        (funnel.without_counters, "with their shared counters used up"),
    ):
        if count:
            left -= count
            lines.append(f"    {left:>6} left without {count} {what}")
    lines.append(f"    {funnel.free:>6} free, at most {funnel.most_free_on_one_node} on one node")
    return lines
