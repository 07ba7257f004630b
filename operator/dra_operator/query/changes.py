"""Changes that could help a waiting pod, as data: they can be printed, tried on a simulation, and applied by others.

A change of a template counts for the pod as if it were created anew: the claims that were generated for it follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

from msgspec import structs

from dra_operator.api.codec import convert, to_plain
from dra_operator.api.core import Namespace, Node, Pod
from dra_operator.api.meta import Object, ObjectKey, ObjectMeta, Uid
from dra_operator.api.names import POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.resource import ResourceClaim, ResourceClaimTemplate, ResourceSlice
from dra_operator.query.report import Struct
from dra_operator.world.simulation import Simulation

Step: TypeAlias = str | int

_TYPES: Final[dict[str, type[Object]]] = {
    "Pod": Pod,
    "Node": Node,
    "Namespace": Namespace,
    "ResourceClaim": ResourceClaim,
    "ResourceClaimTemplate": ResourceClaimTemplate,
}


class Change(Struct, frozen=True, kw_only=True):
    """`set`: the field at `path` gets `value`. `delete`: the object goes. `addNode`: one more node like `name`."""

    action: Literal["set", "delete", "addNode"]
    kind: str
    namespace: str = ""
    name: str
    path: tuple[Step, ...] = ()
    value: Any = None

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.namespace, self.name)


def apply(simulation: Simulation, change: Change, pod: Pod) -> None:
    """Make the change in the simulated cluster."""
    if change.action == "addNode":
        _add_node(simulation, change.name)
    elif change.action == "delete":
        simulation.delete(_TYPES[change.kind], change.key)
    else:
        _set(simulation, change, pod.uid)


def _set(simulation: Simulation, change: Change, uid: Uid) -> None:
    object_ = simulation.store.get(_TYPES[change.kind], change.key)
    if object_ is None:
        return
    changed = with_value(object_, change.path, change.value)
    simulation.put(changed)
    if isinstance(changed, ResourceClaimTemplate):
        for claim in _generated_from(simulation, changed, uid):
            simulation.put(structs.replace(claim, spec=changed.spec.spec))


def with_value(object_: Object, path: Sequence[Step], value: Any) -> Object:
    """The object with another value at the path."""
    plain = to_plain(object_)
    inner = plain
    for step, following in pairwise(path):
        if isinstance(inner, dict) and step not in inner:
            inner[step] = [] if isinstance(following, int) else {}
        inner = inner[step]
    inner[path[-1]] = value
    changed: Object = convert(plain, type(object_))
    return changed


def _generated_from(simulation: Simulation, template: ResourceClaimTemplate, uid: Uid) -> list[ResourceClaim]:
    pod = simulation.view.pod(uid)
    entries = {
        entry.name
        for entry in (() if pod is None else pod.spec.resource_claims or ())
        if entry.resource_claim_template_name == template.metadata.name
    }
    return [
        claim
        for claim in simulation.view.claims_owned_by(uid)
        if claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION) in entries
    ]


def _add_node(simulation: Simulation, like: str) -> None:
    model = simulation.view.nodes[like]
    name = next(name for n in range(1, 1000) if (name := f"{like}-more-{n}") not in simulation.view.nodes)
    labels = {key: name if value == like else value for key, value in (model.metadata.labels or {}).items()}
    simulation.create(structs.replace(model, metadata=ObjectMeta(name=name, labels=labels)))
    for slice_ in list(simulation.view.inventory.slices()):
        if slice_.spec.node_name == like:
            simulation.create(_copied(slice_, name))


def _copied(slice_: ResourceSlice, node: str) -> ResourceSlice:
    """The slice as a new node like this one would publish it: healthy."""
    devices = tuple(structs.replace(device, taints=None) for device in slice_.spec.devices or ())
    spec = structs.replace(
        slice_.spec, node_name=node, pool=structs.replace(slice_.spec.pool, name=node), devices=devices or None
    )
    return ResourceSlice(metadata=ObjectMeta(name=f"{slice_.metadata.name}-{node}"), spec=spec)
