"""What the checks look at: each list and each object is asked for once, when the first check wants it.

Claims are listed before pods, so that a pod which a claim is reserved for is in the list unless it is gone.
What the caller may not read raises `NotChecked`; what the server does not serve is empty.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from dra_operator.api.codec import decode
from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, PODS, Kind
from dra_operator.api.meta import Object, ObjectKey
from dra_operator.api.names import LEASE_NAME, OPERATOR_NAMESPACE
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.query.doctor.findings import NotChecked
from dra_operator.query.doctor.objects import (
    DEFINITIONS,
    DEPLOYMENTS,
    LEASES,
    GroupList,
    Lease,
    Workload,
)

O = TypeVar("O", bound=Object)  # noqa: E741
T = TypeVar("T")

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
_CHUNK: Final = 2_000
PART_OF_LABEL: Final = "app.kubernetes.io/part-of"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
PART_OF: Final = "dra-operator"
_LEASE_SECONDS: Final = 15
_CLOCK_SKEW: Final = 10.0


class Facts:
    """See the module. `now` is seconds since the epoch."""

    def __init__(
        self,
        client: ApiClient,
        *,
        now: Callable[[], float],
        namespace: str = OPERATOR_NAMESPACE,
        lease_name: str = LEASE_NAME,
        known: Mapping[str, list[Any]] | None = None,
    ) -> None:
        """`known`: lists by plural that are not asked for."""
        self.client = client
        self.namespace = namespace
        self.lease_name = lease_name
        self._now = now
        self._asked: dict[object, asyncio.Task[Any]] = {}
        self._known = known or {}

    # --- what there is -----------------------------------------------------------------------------------------------

    async def all(self, kind: Kind[O]) -> list[O]:
        """Every object of a kind. Raises `NotChecked`."""
        if kind.plural in self._known:
            return self._known[kind.plural]
        return await self._once(kind.plural, lambda: self._list(kind))

    async def claims_and_pods(self) -> tuple[list[ResourceClaim], list[Pod]]:
        return await self.all(CLAIMS), await self.all(PODS)

    async def find(self, kind: Kind[O], key: ObjectKey) -> O | None:
        """One object, or None. Raises `NotChecked`."""
        return await self._once((kind.plural, key), lambda: self._get(kind, key))

    async def read(self, path: str, type_: type[T]) -> T | None:
        """A path of discovery; None where the server has none. Raises `NotChecked`."""
        return await self._once(path, lambda: self._read(path, type_))

    async def groups(self) -> frozenset[str]:
        """API groups that are served."""
        found = await self.read("/apis", GroupList)
        return frozenset(one.name for one in found.groups) if found is not None else frozenset()

    # --- what several checks ask -------------------------------------------------------------------------------------

    async def controllers(self) -> list[Workload]:
        """Deployments of the operator."""
        found = await self.all(DEPLOYMENTS)
        return [one for one in found if is_ours(one) and one.metadata.label(COMPONENT_LABEL) == "controller"]

    async def lease(self) -> Lease | None:
        return await self.find(LEASES, ObjectKey(self.namespace, self.lease_name))

    async def operator_lives(self) -> bool:
        """Whether someone holds the Lease now, or a replica is ready."""
        lease = await self.lease()
        if lease is not None and lease.spec.holder_identity and not self.has_expired(lease):
            return True
        return any(one.status.ready_replicas for one in await self.controllers())

    async def is_installed(self) -> bool:
        """Whether a controller is meant to run here: it is deployed, or has ever had the Lease."""
        return bool(await self.controllers()) or await self.lease() is not None

    async def is_crd_flavour(self) -> bool:
        """Whether resource.k8s.io is served from custom resources."""
        return await self.find(DEFINITIONS, ObjectKey("", "resourceclaims.resource.k8s.io")) is not None

    def has_expired(self, lease: Lease) -> bool:
        spec = lease.spec
        return self.age(spec.renew_time) > (spec.lease_duration_seconds or _LEASE_SECONDS) + _CLOCK_SKEW

    def age(self, time: str | None) -> float:
        """Seconds since a time as the API writes it; endless for none."""
        return self._now() - seconds(time) if time else float("inf")

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _once(self, key: object, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if key not in self._asked:
            self._asked[key] = asyncio.ensure_future(ask())
        found: T = await self._asked[key]
        return found

    async def _list(self, kind: Kind[O]) -> list[O]:
        if kind is PODS:
            await asyncio.wait({asyncio.ensure_future(self._quietly(CLAIMS))})
        try:
            return (await self.client.list_objects(kind, limit=_CHUNK))[0]
        except ApiError as error:
            if error.status == NOT_FOUND:
                return []
            if error.status == FORBIDDEN:
                raise NotChecked(f"you may not list {kind.plural}") from None
            raise

    async def _quietly(self, kind: Kind[Any]) -> None:
        """Before another list; whoever wants this one hears what came of it."""
        try:
            await self.all(kind)
        except (NotChecked, ApiError):
            return

    async def _get(self, kind: Kind[O], key: ObjectKey) -> O | None:
        try:
            return await self.client.get(kind, key)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            if error.status == FORBIDDEN:
                raise NotChecked(f"you may not get {kind.plural} {key}") from None
            raise

    async def _read(self, path: str, type_: type[T]) -> T | None:
        try:
            return decode((await self.client.request("GET", path)).body, type_)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            if error.status == FORBIDDEN:
                raise NotChecked(f"you may not read {path}") from None
            raise


def seconds(time: str) -> float:
    """Since the epoch."""
    return datetime.datetime.fromisoformat(time).timestamp()


def is_ours(one: Object) -> bool:
    return one.metadata.label(PART_OF_LABEL) == PART_OF


def says(seconds_: float) -> str:
    """How long, for people."""
    if seconds_ < 120:
        return f"{seconds_:.0f} s"
    return f"{seconds_ / 60:.0f} min" if seconds_ < 7200 else f"{seconds_ / 3600:.0f} h"
