"""What of the operator is installed, and whether it does its job: replicas, Lease, agents, rights, generators."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import FIELD_MANAGER, POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.rights import (
    AGENT,
    CONTROLLER,
    CONTROLLER_ACCOUNT,
    CONTROLLER_OWN,
    WEBHOOK,
    WEBHOOK_OWN,
    Right,
    Role,
)
from dra_operator.cluster.http import ApiError
from dra_operator.query.doctor.facts import COMPONENT_LABEL, FORBIDDEN, Facts, is_ours, says
from dra_operator.query.doctor.findings import Finding, NotChecked, check, problem, remark
from dra_operator.query.doctor.gating import find_gates
from dra_operator.query.doctor.objects import (
    ACCESS_REVIEWS,
    DAEMONSETS,
    SELF_REVIEWS,
    SERVICE_ACCOUNTS,
)

_GENERATED_AFTER: Final = 60.0
"""Seconds after which a pod without its claims is no longer just new."""


# --- who runs --------------------------------------------------------------------------------------------------------


@check("operator", "the operator's replicas are ready")
async def operator(facts: Facts) -> Iterable[Finding]:
    return [
        problem(
            f"Deployment {one.key}",
            f"{one.status.ready_replicas} of {one.spec.replicas} replicas are ready",
            why="the operator does nothing: gated pods wait"
            if not one.status.ready_replicas
            else "nobody takes over if the one that leads fails",
            cure=f"kubectl -n {one.metadata.namespace} describe deployment {one.metadata.name}; then its pods' logs",
        )
        for one in await facts.controllers()
        if one.status.ready_replicas < one.spec.replicas or not one.spec.replicas
    ]


@check("lease", "someone leads")
async def lease(facts: Facts) -> Iterable[Finding]:
    found = await facts.lease()
    about = f"Lease {facts.namespace}/{facts.lease_name}"
    cure = "see that a replica runs, and its log; the Lease is taken within seconds by whoever does"
    if found is None:
        if not (await find_gates(facts)).any:
            return ()
        return (
            problem(
                about, "nobody has ever had it, and pods are gated", why="they wait for an operator for ever", cure=cure
            ),
        )
    if not found.spec.holder_identity:
        what = "nobody holds it"
    elif facts.has_expired(found):
        what = f"{found.spec.holder_identity} last renewed it {says(facts.age(found.spec.renew_time))} ago"
    else:
        return ()
    return (problem(about, what, why="no operator decides: gated pods wait, devices are not released", cure=cure),)


@check("agents", "the node agents are ready")
async def agents(facts: Facts) -> Iterable[Finding]:
    return [
        problem(
            f"DaemonSet {one.key}",
            f"{one.status.number_ready} of {one.status.desired_number_scheduled} agents are ready",
            why="GPUs of the other nodes are not published, and their pods cannot start",
            cure=f"kubectl -n {one.metadata.namespace} get pods -l {COMPONENT_LABEL}=agent -o wide; then their logs",
        )
        for one in await facts.all(DAEMONSETS)
        if is_ours(one) and one.status.number_ready < one.status.desired_number_scheduled
    ]


# --- rights ----------------------------------------------------------------------------------------------------------


@check("rights", "the operator's account may do what it has to")
async def rights(facts: Facts) -> Iterable[Finding]:
    account = next(
        (one.spec.template.spec.service_account_name for one in await facts.controllers()), CONTROLLER_ACCOUNT
    )
    findings: list[Finding] = []
    if await facts.find(SERVICE_ACCOUNTS, ObjectKey(facts.namespace, account)) is not None:
        webhooks = (WEBHOOK, WEBHOOK_OWN) if (await find_gates(facts)).all_webhooks else ()
        findings += await _missing(facts, (CONTROLLER, CONTROLLER_OWN, *webhooks), account)
    if any(is_ours(one) for one in await facts.all(DAEMONSETS)):
        findings += await _missing(facts, (AGENT,), AGENT.account)
    return findings


@check("own-rights", "where no operator is deployed, you may run one yourself")
async def own_rights(facts: Facts) -> Iterable[Finding]:
    if await facts.controllers() or await facts.lease() is not None:
        return ()
    missing = await _refused(facts, (CONTROLLER, CONTROLLER_OWN), None)
    if not missing:
        return ()
    return (
        remark(
            "you",
            f"you may not {', '.join(_words(right) for right in missing)}",
            why="`dra-operator run` on your machine works with your own rights",
            cure="run it as an account that is bound to the roles of manifests/base",
        ),
    )


async def _missing(facts: Facts, roles: Iterable[Role], account: str) -> list[Finding]:
    return [
        problem(
            f"ServiceAccount {facts.namespace}/{account}",
            f"it may not {_words(right)}",
            why=right.why,
            cure="apply the roles of this version: kubectl apply -k manifests/base",
        )
        for right in await _refused(facts, roles, account)
    ]


def _words(right: Right) -> str:
    return f"{'/'.join(right.verbs)} {', '.join(right.resources)}{f' of {right.group}' if right.group else ''}"


async def _refused(facts: Facts, roles: Iterable[Role], account: str | None) -> list[Right]:
    """Rights that are not had in full. `account` None: the caller."""
    wanted = [(right, role.namespace and facts.namespace) for role in roles for right in role.rights]
    answers = await asyncio.gather(*(_has(facts, right, namespace, account) for right, namespace in wanted))
    return [right for (right, _), has in zip(wanted, answers, strict=True) if not has]


async def _has(facts: Facts, right: Right, namespace: str, account: str | None) -> bool:
    attributes = [
        {
            "group": right.group,
            "resource": resource.partition("/")[0],
            "subresource": resource.partition("/")[2],
            "verb": verb,
            "name": name,
            "namespace": namespace,
        }
        for resource in right.resources
        for verb in right.verbs
        for name in right.names or ("",)
    ]
    for one in attributes:
        if not await _allowed(facts, one, account):
            return False
    return True


async def _allowed(facts: Facts, attributes: dict[str, str], account: str | None) -> bool:
    spec: dict[str, Any] = {"resourceAttributes": attributes}
    kind = SELF_REVIEWS
    if account is not None:
        kind = ACCESS_REVIEWS
        spec |= {
            "user": f"system:serviceaccount:{facts.namespace}:{account}",
            "groups": [
                "system:serviceaccounts",
                f"system:serviceaccounts:{facts.namespace}",
                "system:authenticated",
            ],
        }
    try:
        return bool((await facts.client.create(kind, {"spec": spec})).status.allowed)
    except ApiError as error:
        if error.status == FORBIDDEN:
            raise NotChecked(f"you may not create {kind.plural}") from None
        raise


# --- claims ----------------------------------------------------------------------------------------------------------


@check("generator", "someone generates claims from templates")
async def generator(facts: Facts) -> Iterable[Finding]:
    claims, pods = await facts.claims_and_pods()
    templates = {one.key for one in await facts.all(TEMPLATES)}
    without = [pod for pod in pods if _waits_for_claims(facts, pod, templates)]
    if not without:
        return ()
    last = max(
        (one for one in claims if one.metadata.annotation(POD_CLAIM_NAME_ANNOTATION)),
        key=lambda one: one.metadata.creation_timestamp or "",
        default=None,
    )
    makers = sorted(
        {one.manager for one in (last.metadata.managed_fields or ()) if not one.subresource} if last is not None else ()
    )
    says_last = f"; the last one was made by {', '.join(makers)}" if makers else ""
    names = ", ".join(str(pod.key) for pod in without[:3]) + (" …" if len(without) > 3 else "")
    return (
        problem(
            "claims of templates",
            f"{len(without)} pods have waited for theirs for more than a minute ({names}){says_last}",
            why="a pod does not start before each of its claims exists",
            cure="start resourceclaim-controller (kube-controller-manager), or run the operator with "
            "--claims=generate; if one of them runs: its log, and the pods' events",
        ),
    )


def _waits_for_claims(facts: Facts, pod: Pod, templates: set[ObjectKey]) -> bool:
    if pod.done or pod.metadata.deletion_timestamp or facts.age(pod.metadata.creation_timestamp) < _GENERATED_AFTER:
        return False
    made = {one.name for one in pod.status.resource_claim_statuses or ()}
    return any(
        one.name not in made and ObjectKey(pod.metadata.namespace, one.resource_claim_template_name) in templates
        for one in pod.spec.resource_claims or ()
        if one.resource_claim_template_name
    )


@check("two-generators", "one program generates claims, not two")
async def two_generators(facts: Facts) -> Iterable[Finding]:
    claims = await facts.all(CLAIMS)
    by_pod: dict[tuple[str, str], set[str]] = {}
    for one in claims:
        owner, entry = one.metadata.controller, one.metadata.annotation(POD_CLAIM_NAME_ANNOTATION)
        if owner is not None and entry and not one.metadata.deletion_timestamp:
            by_pod.setdefault((owner.uid, entry), set()).add(one.metadata.name)
    twice = [names for names in by_pod.values() if len(names) > 1]
    return _twice(twice)


def _twice(twice: list[set[str]]) -> Iterator[Finding]:
    if twice:
        names = ", ".join(sorted(twice[0]))
        yield problem(
            "claims of templates",
            f"{len(twice)} pods have two claims for one entry, for example {names}",
            why=f"kube-controller-manager and {FIELD_MANAGER} both generate; the spare claim may hold devices",
            cure="run the operator with --claims=adopt where resourceclaim-controller is on; spare claims are then "
            "collected",
        )
