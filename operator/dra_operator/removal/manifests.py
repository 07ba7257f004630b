"""What `manifests/` brought: everything that carries its label, the namespace last.

CustomResourceDefinitions stay: with them would go every claim, class and slice of every tenant. With them stay the
policies that are rules of that API where it is built in: who may ask for admin access, what `count` is by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dra_operator.api.kinds import NAMESPACES, Kind
from dra_operator.api.meta import Object
from dra_operator.api.rights import AGENT_ACCOUNT
from dra_operator.cluster.http import ApiError
from dra_operator.query.doctor.facts import PART_OF, PART_OF_LABEL, Facts, is_ours
from dra_operator.query.doctor.objects import (
    DAEMONSETS,
    DEPLOYMENTS,
    LEASES,
    MUTATING_BINDINGS,
    MUTATING_POLICIES,
    SERVICE_ACCOUNTS,
    SERVICES,
    Anything,
)
from dra_operator.removal.agents import agents_stay
from dra_operator.removal.controller import deletion, exists
from dra_operator.removal.steps import Removal, RemovalRefused, Step, Task, wait_for

CRD_RULES: Final = "dra-operator-crd-"
"""How the names of policies in manifests/components/crd begin."""
_NOT_FOUND: Final = 404
_FORBIDDEN: Final = 403
_ADMISSION: Final = "admissionregistration.k8s.io"
_RBAC: Final = "rbac.authorization.k8s.io"


def _kind(group: str, plural: str, kind: str, namespaced: bool) -> Kind[Anything]:
    return Kind(group, "v1", plural, kind, namespaced, Anything)


_INSIDE: Final[tuple[Kind[Any], ...]] = (
    DEPLOYMENTS,
    DAEMONSETS,
    SERVICES,
    _kind("policy", "poddisruptionbudgets", "PodDisruptionBudget", True),
    _kind("networking.k8s.io", "networkpolicies", "NetworkPolicy", True),
    _kind("monitoring.coreos.com", "servicemonitors", "ServiceMonitor", True),
    _kind("", "secrets", "Secret", True),
    _kind("", "configmaps", "ConfigMap", True),
    _kind(_RBAC, "rolebindings", "RoleBinding", True),
    _kind(_RBAC, "roles", "Role", True),
    SERVICE_ACCOUNTS,
)
"""In the operator's namespace."""
_EVERYWHERE: Final[tuple[Kind[Any], ...]] = (
    MUTATING_BINDINGS,
    MUTATING_POLICIES,
    _kind(_ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False),
    _kind(_ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False),
    _kind("flowcontrol.apiserver.k8s.io", "flowschemas", "FlowSchema", False),
    _kind(_RBAC, "clusterrolebindings", "ClusterRoleBinding", False),
    _kind(_RBAC, "clusterroles", "ClusterRole", False),
)


async def _objects(removal: Removal, facts: Facts) -> Sequence[Task]:
    staying = (AGENT_ACCOUNT,) if await agents_stay(removal, facts) else ()
    if await facts.is_crd_flavour():
        staying = (*staying, CRD_RULES)
    tasks = [
        deletion(removal, kind, one)
        for kind in (*_INSIDE, *_EVERYWHERE)
        for one in await _labelled(removal, kind)
        if not one.metadata.name.startswith(staying)
    ]
    lease = await facts.lease()
    if lease is not None:
        tasks.append(deletion(removal, LEASES, lease))
    return tasks


async def _labelled(removal: Removal, kind: Kind[Any]) -> list[Object]:
    """Only metadata is asked for: some are Secrets."""
    try:
        found, _ = await removal.client.list_metadata(
            kind,
            namespace=removal.namespace if kind.namespaced else "",
            label_selector=f"{PART_OF_LABEL}={PART_OF}",
        )
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return []
        if error.status == _FORBIDDEN:
            raise RemovalRefused(f"you may not list {kind.plural}; uninstall needs the rights of an admin") from None
        raise
    return [Anything(metadata=one) for one in found if not one.deletion_timestamp]


async def _namespace(removal: Removal, facts: Facts) -> Sequence[Task]:
    if await agents_stay(removal, facts):
        return ()
    return [
        deletion(removal, NAMESPACES, one)
        for one in await facts.all(NAMESPACES)
        if one.metadata.name == removal.namespace and is_ours(one) and not one.metadata.deletion_timestamp
    ]


async def _gone(removal: Removal) -> None:
    facts = removal.look()
    ours = [one for one in await facts.all(NAMESPACES) if one.metadata.name == removal.namespace and is_ours(one)]
    for one in ours:
        if one.metadata.deletion_timestamp is not None:

            async def gone(_: Facts, one: Object = one) -> bool:
                return not await exists(removal, NAMESPACES, one)

            await wait_for(
                removal, gone, f"namespace {one.metadata.name} is being deleted and not gone yet: see what is in it"
            )
    if await facts.is_crd_flavour():
        removal.remark(
            "the CustomResourceDefinitions of resource.k8s.io stay, and the policies that hold their rules: with the "
            "definitions would go all claims, classes and slices; when nothing needs them, kubectl delete -k crds/ and "
            "run uninstall again"
        )


DELETE_OBJECTS: Final = Step("delete what manifests/ brought", _objects)
DELETE_NAMESPACE: Final = Step("delete the namespace", _namespace, _gone)
