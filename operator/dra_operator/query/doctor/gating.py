"""The gate: that there is one and no second one, that it is reachable, and that it does what it should.

What it does is tried with pods that are created as a dry run, in a namespace that it should look at and in kube-system.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from dra_operator.api.core import Namespace
from dra_operator.api.kinds import NAMESPACES, PODS
from dra_operator.api.meta import LabelSelector, ObjectKey
from dra_operator.api.names import GATE, GATE_CONFIGURATION
from dra_operator.cluster.http import ApiError
from dra_operator.lifecycle.gate import excludes_namespace
from dra_operator.lifecycle.policy import Policy as LifecyclePolicy
from dra_operator.query.doctor.facts import FORBIDDEN, Facts, is_ours
from dra_operator.query.doctor.findings import Finding, NotChecked, check, problem, remark
from dra_operator.query.doctor.objects import (
    ENDPOINT_SLICES,
    MUTATING_BINDINGS,
    MUTATING_POLICIES,
    MUTATING_WEBHOOKS,
    SERVICES,
    ServiceReference,
    Webhook,
)

_APPLY: Final = "kubectl apply -k manifests/overlays/native (webhook on 1.34 and 1.35)"
_SERVICE_LABEL: Final = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Gates:
    policies: tuple[str, ...]
    bound: frozenset[str]
    webhooks: tuple[tuple[str, Webhook], ...]
    """Those that look at pods, each with the name of its configuration."""
    all_webhooks: tuple[tuple[str, Webhook], ...]
    """Every one of ours that changes something."""
    selector: LabelSelector | None

    @property
    def any(self) -> bool:
        return bool(self.webhooks) or any(one in self.bound for one in self.policies)


async def find_gates(facts: Facts) -> Gates:
    policies, bindings, webhooks = await asyncio.gather(
        facts.all(MUTATING_POLICIES), facts.all(MUTATING_BINDINGS), facts.all(MUTATING_WEBHOOKS)
    )
    ours = [
        one for one in policies if one.metadata.name == GATE_CONFIGURATION or GATE.encode() in bytes(one.spec.mutations)
    ]
    names = {one.metadata.name for one in ours}
    hooks = [(one.metadata.name, hook) for one in webhooks if is_ours(one) for hook in one.webhooks or ()]
    selectors = [one.spec.match_constraints.namespace_selector for one in ours if one.spec.match_constraints]
    gating = [(name, hook) for name, hook in hooks if any("pods" in rule.resources for rule in hook.rules or ())]
    selectors += [hook.namespace_selector for _, hook in gating]
    return Gates(
        policies=tuple(sorted(names)),
        bound=frozenset(one.spec.policy_name for one in bindings) & names,
        webhooks=tuple(gating),
        all_webhooks=tuple(hooks),
        selector=next((one for one in selectors if one is not None), None),
    )


@check("gate", "new pods with claims are gated, in one way")
async def gate(facts: Facts) -> Iterable[Finding]:
    gates = await find_gates(facts)
    findings = [
        problem(
            f"MutatingAdmissionPolicy {name}",
            "no MutatingAdmissionPolicyBinding names it",
            why="a policy without a binding does nothing: pods are not gated, and kube-scheduler gives out their "
            "devices by its own rules",
            cure=f"apply the binding, too: {_APPLY}",
        )
        for name in gates.policies
        if name not in gates.bound
    ]
    ways = [*sorted(gates.bound), *sorted({name for name, _ in gates.webhooks})]
    if len(ways) > 1:
        findings.append(
            problem(
                "gate",
                f"{', '.join(ways)} all gate pods",
                why="one is enough; a second one that fails closed can only keep pods from being created",
                cure="keep the policy where the API server has MutatingAdmissionPolicy v1 (1.36 and later) and delete "
                "the others",
            )
        )
    for name, hook in gates.all_webhooks:
        findings += await _webhook(facts, name, hook)
    if not ways and not gates.policies and await facts.is_installed():
        findings.append(
            problem(
                "gate",
                "neither a policy nor a webhook gates pods",
                why="kube-scheduler gives out devices by its own rules, and the operator decides nothing",
                cure=f"{_APPLY}; or run the operator with --gate=off if that is meant",
            )
        )
    return findings


async def _webhook(facts: Facts, name: str, hook: Webhook) -> list[Finding]:
    about = f"MutatingWebhookConfiguration {name}"
    asked = ", ".join(sorted({one for rule in hook.rules or () for one in rule.resources}))
    follows = f"{asked} that it is asked about cannot be created"
    if hook.failure_policy == "Ignore":
        follows = f"{asked} are taken as they come, ungated"
    findings = []
    if not hook.client_config.ca_bundle:
        findings.append(
            problem(
                about,
                f"webhook {hook.name} has no caBundle",
                why=f"the API server trusts nobody there, so {follows}",
                cure="the operator writes it once a replica runs with --webhook-address: see that one does",
            )
        )
    service = hook.client_config.service
    if service is not None and (wrong := await _unreachable(facts, service)):
        findings.append(
            problem(
                about,
                f"webhook {hook.name} is at Service {service.namespace}/{service.name}, {wrong}",
                why=f"the API server reaches nobody, so {follows}",
                cure="see that the operator's pods are ready, and that the Service's selector is theirs",
            )
        )
    return findings


async def _unreachable(facts: Facts, service: ServiceReference) -> str:
    if await facts.find(SERVICES, ObjectKey(service.namespace, service.name)) is None:
        return "which does not exist"
    slices = [
        one
        for one in await facts.all(ENDPOINT_SLICES)
        if one.metadata.namespace == service.namespace and one.metadata.label(_SERVICE_LABEL) == service.name
    ]
    ready = any(point.conditions.ready is not False for one in slices for point in one.endpoints or ())
    return "" if ready else "which has no ready endpoint"


@check("gate-works", "a new pod with a claim is gated, and one of kube-system is not")
async def gate_works(facts: Facts) -> Iterable[Finding]:
    gates = await find_gates(facts)
    if not gates.any:
        return ()
    wanted = (gates.selector.match_labels or {}) if gates.selector is not None else {}
    namespaces = sorted(
        await facts.all(NAMESPACES), key=lambda one: (one.metadata.name != "default", one.metadata.name)
    )
    policy = LifecyclePolicy(operator_namespace=facts.namespace)
    fits = (one.metadata.name for one in namespaces if _takes(one, wanted, policy))
    where = next(fits, None)
    findings = []
    if where is None:
        findings.append(
            remark(
                "gate",
                "no namespace is one that it looks at",
                why="no pod is gated, so kube-scheduler gives out all devices",
                cure=f"label a namespace: {', '.join(f'{name}={value}' for name, value in wanted.items())}",
            )
        )
    elif not await is_gated_in(facts, where):
        findings.append(
            problem(
                f"Namespace {where}",
                "a pod with a claim that is created there (as a dry run) is not gated",
                why="kube-scheduler gives out its devices by its own rules",
                cure=f"apply the gate as this version brings it: {_APPLY}",
            )
        )
    if await is_gated_in(facts, "kube-system"):
        findings.append(
            problem(
                "Namespace kube-system",
                "pods with claims are gated there",
                why="what the cluster itself needs would wait for the operator, which may wait for it",
                cure=f"apply the gate as this version brings it: {_APPLY}",
            )
        )
    return findings


def _takes(one: Namespace, wanted: dict[str, str], policy: LifecyclePolicy) -> bool:
    labels = one.metadata.labels or {}
    return (
        one.status.phase == "Active"
        and not one.metadata.name.startswith("kube-")
        and not excludes_namespace(one.metadata.name, one, policy)
        and all(labels.get(name) == value for name, value in wanted.items())
    )


async def is_gated_in(facts: Facts, namespace: str) -> bool:
    """Whether a pod with a claim would be, tried as a dry run. Raises `NotChecked`."""
    pod: dict[str, Any] = {
        "metadata": {"name": "dra-operator-doctor"},
        "spec": {
            "containers": [
                {
                    "name": "none",
                    "image": "none",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "resourceClaims": [{"name": "none", "resourceClaimName": "none"}],
        },
    }
    try:
        return (await facts.client.create(PODS, pod, namespace=namespace, dry_run=True)).has_gate(GATE)
    except ApiError as error:
        if error.status == FORBIDDEN and "cannot create" in error.message:
            raise NotChecked(f"you may not create pods in {namespace}, also not as a dry run") from None
        raise NotChecked(f"a pod that tries it in {namespace} is refused: {error.message}") from None
