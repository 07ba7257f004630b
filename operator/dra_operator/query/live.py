"""The objects of a cluster, listed with the caller's own rights.

What the caller may not list is left out and said: other namespaces' pods and claims, nodes, namespaces. What cannot do
without is the resource API itself, and what a question is about: "no devices" is no answer to who may not see any.

Not here: what the objects mean (`scene.py`), and whether there is a cluster (`reach.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, NODES, PODS, SLICES, TAINT_RULES, TEMPLATES, Kind
from dra_operator.api.meta import Object
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.kubeconfig import Credentials
from dra_operator.query.documents import InputError
from dra_operator.query.objects import Loaded, Manifests
from dra_operator.query.reach import ask_cluster

O = TypeVar("O", bound=Object)  # noqa: E741

_ALL: Final[tuple[Kind[Any], ...]] = (NODES, NAMESPACES, CLASSES, SLICES, TAINT_RULES, CLAIMS, TEMPLATES, PODS)
_CHUNK: Final = 2_000
_WITHOUT: Final = {
    "nodes": "their room, labels and taints are not known",
    "namespaces": "their labels are not known",
    "deviceclasses": "what they select is not known",
    "resourceslices": "no device is known",
    "devicetaintrules": "devices that they taint look healthy",
}
"""What follows from not seeing a resource."""
_ELSEWHERE: Final = {
    "pods": "the room that they take on nodes is not known",
    "resourceclaims": "devices that they hold look free",
    "resourceclaimtemplates": "",
}
_VIEW: Final = 'an admin can give you the ClusterRole "view"'
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404


@dataclass(slots=True)
class Cluster:
    """What the caller may see."""

    server: str
    namespace: str
    """Where the caller is unless they say otherwise."""
    manifests: Manifests = field(default_factory=Manifests)
    unseen: list[str] = field(default_factory=list)
    """What the caller's rights hid, a sentence each."""


def load_cluster(
    kubeconfig: str | None, context: str | None, namespace: str | None, *, needs: Collection[str] = ()
) -> Cluster:
    """`needs`: resources that have to be seen.

    Raises `InputError` for a kubeconfig, a server or rights that do not do.
    """

    async def load(client: ApiClient, credentials: Credentials) -> Cluster:
        cluster = Cluster(credentials.server, namespace or credentials.namespace)
        for objects in await asyncio.gather(*(_list(client, kind, cluster, needs) for kind in _ALL)):
            cluster.manifests.objects += [Loaded(one, "the cluster") for one in objects]
        return cluster

    return ask_cluster(kubeconfig, context, load)


async def _list(client: ApiClient, kind: Kind[O], cluster: Cluster, needs: Collection[str]) -> list[O]:
    try:
        return (await client.list_objects(kind, limit=_CHUNK))[0]
    except ApiError as error:
        if error.status == _NOT_FOUND and kind is TAINT_RULES:
            return []  # before Kubernetes 1.37
        if error.status == _NOT_FOUND and kind.group:
            raise InputError(
                f"{cluster.server} does not serve {kind.api_version} {kind.plural}: Kubernetes 1.34 and later do, "
                "unless it is switched off; `dra-operator doctor` says what would help"
            ) from None
        if error.status != _FORBIDDEN:
            raise
    if not kind.namespaced:
        if kind.plural in needs:
            raise InputError(f"you may not list {kind.plural}; {_VIEW} in all of the cluster")
        cluster.unseen.append(f"you may not list {kind.plural}: {_WITHOUT[kind.plural]}")
        return []
    try:
        objects, _ = await client.list_objects(kind, namespace=cluster.namespace, limit=_CHUNK)
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        hidden = f'you may not list {kind.plural} in namespace "{cluster.namespace}"'
        if kind.plural in needs:
            raise InputError(f"{hidden}; {_VIEW} there") from None
        cluster.unseen.append(hidden)
        return []
    follows = _ELSEWHERE[kind.plural]
    cluster.unseen.append(
        f'you may list {kind.plural} in namespace "{cluster.namespace}" only{": " if follows else ""}{follows}'
    )
    return objects
