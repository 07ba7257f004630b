"""What there is and who has it: devices, claims, and admin accesses, from one scene.

States of a device: Free; InUse (held by a claim); Shared (claims have shares of it); Tainted (free, and a taint keeps
those away that do not tolerate it). Admin access takes nothing, so it is listed beside and changes no state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from dra_operator.access.admin import grants_admin_access
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.inventory.devices import Device, DeviceId
from dra_operator.lifecycle.pin import allocated_node
from dra_operator.lifecycle.view import View
from dra_operator.query.expressions import says
from dra_operator.query.report import Struct

DeviceState: TypeAlias = Literal["Free", "InUse", "Shared", "Tainted"]
_PRODUCT: Final = ("productName", "product", "model", "profile", "type")
"""Attributes that say what a device is, the first that it has."""
API_VERSION: Final = "dra-operator.io/v1"


class User(Struct, frozen=True, kw_only=True):
    """A claim, and the pods that it is reserved for."""

    namespace: str
    claim: str
    pods: tuple[str, ...]
    since: str | None


class DeviceRow(Struct, frozen=True, kw_only=True):
    node: str | None
    driver: str
    pool: str
    device: str
    product: str | None
    classes: tuple[str, ...]
    state: DeviceState
    taints: tuple[str, ...]
    used_by: tuple[User, ...]
    admin_users: tuple[User, ...]


class Devices(Struct, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "DeviceList"
    devices: tuple[DeviceRow, ...]
    unseen: tuple[str, ...]


class ClaimRow(Struct, frozen=True, kw_only=True):
    namespace: str
    name: str
    state: Literal["Allocated", "Pending", "Deleting"]
    node: str | None
    devices: tuple[str, ...]
    pods: tuple[str, ...]
    owner: str | None
    """The pod that it was generated for."""
    created: str | None


class Claims(Struct, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "ClaimList"
    claims: tuple[ClaimRow, ...]
    unseen: tuple[str, ...]


class AccessRow(Struct, frozen=True, kw_only=True):
    """One device that a claim may look into."""

    namespace: str
    claim: str
    pods: tuple[str, ...]
    driver: str
    pool: str
    device: str
    since: str | None
    granted: bool
    """Whether the namespace still has the label."""


class Audit(Struct, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "AdminAccessList"
    accesses: tuple[AccessRow, ...]
    unseen: tuple[str, ...]


def find_devices(view: View, unseen: tuple[str, ...] = ()) -> Devices:
    """Every device of the newest generation of its pool, by node and name."""
    holders: defaultdict[DeviceId, list[User]] = defaultdict(list)
    admins: defaultdict[DeviceId, list[User]] = defaultdict(list)
    for claim in view.claims.values():
        for id_, admin in _results(claim):
            (admins if admin else holders)[id_].append(_user(claim))
    rows = [_device(view, device, holders, admins) for device in _published(view)]
    rows.sort(key=lambda row: (row.node or "", row.pool, _natural(row.device)))
    return Devices(devices=tuple(rows), unseen=unseen)


def find_claims(view: View, namespace: str | None, unseen: tuple[str, ...] = ()) -> Claims:
    """All claims of a namespace, or of all."""
    rows = [
        ClaimRow(
            namespace=claim.metadata.namespace,
            name=claim.metadata.name,
            state=_claim_state(claim),
            node=None if claim.status.allocation is None else allocated_node(claim.status.allocation),
            devices=tuple(str(id_) + (" (admin)" if admin else "") for id_, admin in _results(claim)),
            pods=_user(claim).pods,
            owner=owner.name if (owner := claim.metadata.controller) is not None and owner.kind == "Pod" else None,
            created=claim.metadata.creation_timestamp,
        )
        for key, claim in sorted(view.claims.items())
        if namespace is None or key.namespace == namespace
    ]
    return Claims(claims=tuple(rows), unseen=unseen)


def find_accesses(view: View, unseen: tuple[str, ...] = ()) -> Audit:
    """Every device that someone has admin access to now."""
    rows = []
    for _, claim in sorted(view.claims.items()):
        user = _user(claim)
        granted = grants_admin_access(view.namespaces.get(claim.metadata.namespace))
        rows += [
            AccessRow(
                namespace=user.namespace,
                claim=user.claim,
                pods=user.pods,
                driver=id_.driver,
                pool=id_.pool,
                device=id_.device,
                since=user.since,
                granted=granted,
            )
            for id_, admin in _results(claim)
            if admin
        ]
    return Audit(accesses=tuple(rows), unseen=unseen)


def _published(view: View) -> Iterable[Device]:
    newest: dict[DeviceId, Device] = {}
    for device in view.inventory.devices():
        known = newest.get(device.id)
        if known is None or device.slice.spec.pool.generation > known.slice.spec.pool.generation:
            newest[device.id] = device
    return newest.values()


def _device(
    view: View,
    device: Device,
    holders: defaultdict[DeviceId, list[User]],
    admins: defaultdict[DeviceId, list[User]],
) -> DeviceRow:
    id_ = device.id
    used_by = tuple(holders.get(id_, ()))
    taints = tuple(f"{one.key}{'=' + one.value if one.value else ''}:{one.effect}" for one in device.taints)
    blocked = any(one.effect in ("NoSchedule", "NoExecute") for one in device.taints)
    state: DeviceState = "Tainted" if blocked else "Free"
    if used_by:
        state = "Shared" if view.ledger.is_shared(id_) else "InUse"
    return DeviceRow(
        node=device.basic.node_name or device.slice.spec.node_name,
        driver=id_.driver,
        pool=id_.pool,
        device=id_.device,
        product=_product(device),
        classes=tuple(_classes(view, device)),
        state=state,
        taints=taints,
        used_by=used_by,
        admin_users=tuple(admins.get(id_, ())),
    )


def _product(device: Device) -> str | None:
    for name in _PRODUCT:
        attribute = device.attribute(f"{device.driver}/{name}")
        if attribute is not None and attribute.string_value:
            return attribute.string_value
    return None


def _classes(view: View, device: Device) -> Iterator[str]:
    for name, class_ in sorted(view.classes.items()):
        selectors = [one.cel.expression for one in class_.spec.selectors or () if one.cel is not None]
        if all(says(text, device) for text in selectors):
            yield name


def _results(claim: ResourceClaim) -> Iterator[tuple[DeviceId, bool]]:
    allocation = claim.status.allocation
    for one in () if allocation is None else allocation.devices.results or ():
        yield DeviceId(one.driver, one.pool, one.device), one.admin_access is True


def _user(claim: ResourceClaim) -> User:
    key: ObjectKey = claim.key
    allocation = claim.status.allocation
    return User(
        namespace=key.namespace,
        claim=key.name,
        pods=tuple(one.name for one in claim.status.reserved_for or () if one.resource == "pods"),
        since=None if allocation is None else allocation.allocation_timestamp,
    )


def _claim_state(claim: ResourceClaim) -> Literal["Allocated", "Pending", "Deleting"]:
    if claim.metadata.deletion_timestamp is not None:
        return "Deleting"
    return "Pending" if claim.status.allocation is None else "Allocated"


def _natural(name: str) -> tuple[str, int, str]:
    """gpu-2 before gpu-10."""
    base = name.rstrip("0123456789")
    digits = name[len(base) :]
    return base, int(digits) if digits else -1, name
