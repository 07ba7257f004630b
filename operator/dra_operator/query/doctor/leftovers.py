"""What should have gone and has not: gates, finalizers, reservations; and admin access that is no longer granted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dra_operator.access.admin import admin_results, grants_admin_access
from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, NAMESPACES, PODS
from dra_operator.api.names import ADMIN_ACCESS_LABEL, DELETE_PROTECTION_FINALIZER, DEVICES_ALLOCATED, GATE
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.gate import other_gates
from dra_operator.query.doctor.facts import Facts, says
from dra_operator.query.doctor.findings import Finding, check, problem, remark

STUCK_AFTER: Final = 300.0
"""Seconds after which what should happen at once counts as stuck."""
_SHOWN: Final = 3


@check("stuck-gates", "no pod waits for an operator that is not there")
async def stuck_gates(facts: Facts) -> Iterable[Finding]:
    gated = [
        pod
        for pod in await facts.all(PODS)
        if pod.has_gate(GATE)
        and not other_gates(pod)
        and not pod.metadata.deletion_timestamp
        and facts.age(pod.metadata.creation_timestamp) > STUCK_AFTER
    ]
    unseen = [pod for pod in gated if pod.condition(DEVICES_ALLOCATED) is None]
    lives = await facts.operator_lives()
    stuck = unseen if lives else gated
    if not stuck:
        return ()
    oldest = max(facts.age(pod.metadata.creation_timestamp) for pod in stuck)
    what = f"{len(stuck)} wait with the gate {GATE} for up to {says(oldest)}: {_names(stuck)}"
    if lives:
        return (
            problem(
                "gated pods",
                f"{what}; the operator runs and has said nothing about them",
                why="nobody else removes this gate",
                cure="see the operator's log, and whether it watches this cluster",
            ),
        )
    return (
        problem(
            "gated pods",
            f"{what}; no operator is alive",
            why="nobody else removes this gate",
            cure="start the operator; or give up on it: dra-operator uninstall hands these pods to kube-scheduler",
        ),
    )


@check("stuck-claims", "no claim stays that nobody uses")
async def stuck_claims(facts: Facts) -> Iterable[Finding]:
    held = [
        one
        for one in await facts.all(CLAIMS)
        if one.metadata.deletion_timestamp
        and facts.age(one.metadata.deletion_timestamp) > STUCK_AFTER
        and DELETE_PROTECTION_FINALIZER in (one.metadata.finalizers or ())
        and one.status.allocation is None
    ]
    if not held:
        return ()
    return (
        problem(
            "claims",
            f"{len(held)} are deleted, hold no device, and stay for the finalizer {DELETE_PROTECTION_FINALIZER}: "
            f"{_names(held)}",
            why="their namespace cannot be deleted, and a new claim cannot have their name",
            cure="the operator (or resourceclaim-controller) removes it within a minute: see that one runs",
        ),
    )


@check("reservations", "claims are reserved for pods that exist")
async def reservations(facts: Facts) -> Iterable[Finding]:
    claims, pods = await facts.claims_and_pods()
    uids = {pod.uid for pod in pods}
    stale = [
        one
        for one in claims
        if any(user.resource == "pods" and user.uid not in uids for user in one.status.reserved_for or ())
    ]
    if not stale:
        return ()
    return (
        problem(
            "claims",
            f"{len(stale)} are reserved for pods that are gone: {_names(stale)}",
            why="their devices are given to nobody else",
            cure="the operator (or resourceclaim-controller) frees them within a minute: see that one runs, and look "
            "again",
        ),
    )


@check("admin-grants", "admin access is still granted to whoever has it")
async def admin_grants(facts: Facts) -> Iterable[Finding]:
    namespaces = {one.metadata.name: one for one in await facts.all(NAMESPACES)}
    live = [one for one in await facts.all(CLAIMS) if admin_results(one)]
    findings = []
    for name in sorted({one.metadata.namespace for one in live}):
        here = [one for one in live if one.metadata.namespace == name]
        if grants_admin_access(namespaces.get(name)):
            findings.append(
                remark(
                    f"Namespace {name}",
                    f"{len(here)} claims look into devices that others may use: {_names(here)}",
                    why="its label grants that; `dra-operator audit` lists the devices",
                    cure="nothing to do where that is meant",
                )
            )
        else:
            findings.append(
                problem(
                    f"Namespace {name}",
                    f"it has lost the label {ADMIN_ACCESS_LABEL}, and "
                    f"{len(here)} claim{'s keep their' if len(here) > 1 else ' keeps its'} admin access: "
                    f"{_names(here)}",
                    why="they look into devices that others may use, and are no longer allowed to",
                    cure="end the pods that use these claims, or label the namespace again",
                )
            )
    return findings


def _names(some: Iterable[Pod] | Iterable[ResourceClaim]) -> str:
    names = sorted(str(one.key) for one in some)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
