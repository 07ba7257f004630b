"""Users who come and go without looking at the weather: pods of all kinds, claims of their own.

Their requests reach the API server past the proxies, and are tried again until it answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, PODS, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL, RUN_FOR_ANNOTATION
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer

NAMESPACE: Final = "chaos"
SHARED: Final = ("shared-0", "shared-1")
_PAUSE: Final = (0.1, 0.6)
"""Seconds between two arrivals."""
_STAY: Final = (0.5, 6.0)
_MOST: Final = 40
"""Visitors at once, twice as many as usual: a machine that has no time for them is not asked for more and more."""
_AGAIN: Final = 0.2
_GPU: Final = "gpu.chaos"
_PARTITION: Final = "partition.chaos"
_TYPE: Final = 'device.attributes["gpu.dra-operator.io"].?type.orValue("")'


def _exactly(class_name: str = _GPU, **more: Any) -> dict[str, Any]:
    return {"requests": [{"name": "gpu", "exactly": {"deviceClassName": class_name, **more}}]}


def _partition(name: str, profile: str) -> dict[str, Any]:
    chosen = f'device.attributes["gpu.dra-operator.io"].?profile.orValue("") == "{profile}"'
    return {"name": name, "deviceClassName": _PARTITION, "selectors": [{"cel": {"expression": chosen}}]}


_TEMPLATES: Final = {
    "one": _exactly(),
    "pair": _exactly(count=2) | {"constraints": [{"matchAttribute": "resource.kubernetes.io/pcieRoot"}]},
    "part": {
        "requests": [
            {"name": "part", "firstAvailable": [_partition("large", "3g.40gb"), _partition("small", "1g.10gb")]}
        ]
    },
    "monitor": _exactly(allocationMode="All", adminAccess=True),
}
TEMPLATE_NAMES: Final = tuple(_TEMPLATES)
_CHANCES: Final = {"one": 8, "pair": 3, "part": 5, "monitor": 1, "shared": 3, "own": 2}
"""What a pod asks for: a claim from one of the templates, a claim that is always there, one made just for it."""


class Users:
    """See the module. `deletable` receives the claims that they delete themselves."""

    def __init__(self, client: ApiClient, rng: random.Random, deletable: set[ObjectKey]) -> None:
        self._client = client
        self._rng = rng
        self._deletable = deletable
        self._number = 0
        self._alive: dict[str, asyncio.Task[None] | None] = {}

    async def move_in(self) -> None:
        """Namespace, classes, templates, and the claims that stay."""
        labels = {ADMIN_ACCESS_LABEL: "true"}
        await self._client.create(NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": labels}})
        for name, chosen in ((_GPU, f'{_TYPE} == "gpu"'), (_PARTITION, f'{_TYPE} == "mig"')):
            spec = {"selectors": [{"cel": {"expression": chosen}}]}
            await self._client.create(CLASSES, {"metadata": {"name": name}, "spec": spec})
        for name in TEMPLATE_NAMES:
            await self._client.create(TEMPLATES, template_body(name), namespace=NAMESPACE)
        for name in SHARED:
            await self._create_claim(name)

    async def come_and_go(self) -> None:
        """For ever."""
        kinds, weights = list(_CHANCES), list(_CHANCES.values())
        async with asyncio.TaskGroup() as visits:
            while True:
                await asyncio.sleep(self._rng.uniform(*_PAUSE))
                if len(self._alive) >= _MOST:
                    continue
                kind = self._rng.choices(kinds, weights)[0]
                self._number += 1
                name = f"{kind}-{self._number}"
                self._alive[name] = visits.create_task(self._visit(kind, name))

    async def settle(self) -> None:
        """All pods go but two; a few come to stay. There is room for all of them."""
        stay = set(self._rng.sample(sorted(self._alive), k=min(2, len(self._alive))))
        await asyncio.gather(*(self._delete_pod(name, grace=0) for name in self._alive.keys() - stay))
        self._alive = dict.fromkeys(stay)
        for number, kind in enumerate(("one", "one", "one", "part", "part", "shared")):
            self._alive[f"settled-{kind}-{number}"] = None
            await self._create_pod(kind, f"settled-{kind}-{number}", run_for=None)

    async def move_out(self) -> None:
        """Every pod goes, and the claims that were theirs."""
        await asyncio.gather(*(self._delete_pod(name, grace=None) for name in self._alive))
        self._alive = {}
        for claim in (await self._client.list_objects(CLAIMS, namespace=NAMESPACE))[0]:
            if claim.metadata.controller is None:
                await self._delete_claim(claim.metadata.name)

    # --- one visit ---------------------------------------------------------------------------------------------------

    async def _visit(self, kind: str, name: str) -> None:
        leaves_by_itself = self._rng.random() < 0.4
        stay = self._rng.uniform(*_STAY)
        grace = self._rng.choice((0, None))
        if kind == "own":
            await self._create_claim(name)
        await self._create_pod(kind, name, run_for=stay if leaves_by_itself else None)
        await asyncio.sleep(stay * (4 if leaves_by_itself else 1))
        if kind == "own" and self._rng.random() < 0.5:
            await self._delete_claim(name)  # while it may be in use: it goes with its last pod
        await self._delete_pod(name, grace=grace)
        if kind == "own":
            await self._delete_claim(name)
        self._alive.pop(name, None)

    async def _create_pod(self, kind: str, name: str, *, run_for: float | None) -> None:
        claim = {"shared": self._rng.choice(SHARED), "own": name}.get(kind)
        entry = {"resourceClaimName": claim} if claim else {"resourceClaimTemplateName": kind}
        body = pod_body(name, entry, run_for)
        await insist(lambda: self._client.create(PODS, body, namespace=NAMESPACE), fine="AlreadyExists")

    async def _delete_pod(self, name: str, *, grace: int | None) -> None:
        key = ObjectKey(NAMESPACE, name)
        await insist(lambda: self._client.delete(PODS, key, grace_seconds=grace), fine="NotFound")

    async def _create_claim(self, name: str) -> None:
        body = {"metadata": {"name": name}, "spec": {"devices": _exactly()}}
        await insist(lambda: self._client.create(CLAIMS, body, namespace=NAMESPACE), fine="AlreadyExists")

    async def _delete_claim(self, name: str) -> None:
        key = ObjectKey(NAMESPACE, name)
        self._deletable.add(key)
        await insist(lambda: self._client.delete(CLAIMS, key), fine="NotFound")


def pod_body(name: str, entry: Mapping[str, str], run_for: float | None = None) -> dict[str, Any]:
    """A pod with one claim. It ends by itself after `run_for` seconds, if that is given."""
    return {
        "metadata": {"name": name, "annotations": {} if run_for is None else {RUN_FOR_ANNOTATION: f"{run_for:g}"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "resourceClaims": [{"name": "devices", **entry}],
            "containers": [{"name": "main", "image": "none", "resources": {"claims": [{"name": "devices"}]}}],
        },
    }


def template_body(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"spec": {"devices": _TEMPLATES[name]}}}


async def insist(request: Callable[[], Awaitable[object]], *, fine: str = "") -> None:
    """Until it was done, by this try or one whose answer was lost."""
    while True:
        try:
            await request()
            return
        except ApiError as error:
            if error.reason == fine:
                return
            if error.status < 500 and error.status not in (403, 409, 429):  # 403: policies are not loaded yet
                raise
        except NoAnswer:
            pass  # it restarts
        await asyncio.sleep(_AGAIN)
