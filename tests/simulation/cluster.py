"""Who is at work beside the operator: kube-scheduler, kubelets, garbage collector, pod GC, another claim generator.

Each acts on the store from knowledge that is a little old, and writes by the store's own rules. kube-scheduler binds
ungated pods whose claims are allocated; for pods that were never gated it allocates itself, from a list of free devices
that may be out of date: a foreign allocator.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, POD_CLAIM_NAME_ANNOTATION
from tests.simulation.model.fields import Json
from tests.simulation.model.store import Change, Key, ModelStore, Preconditions, StatusError
from tests.simulation.objects import DRIVER

USER: Final = "user"
SCHEDULER: Final = "kube-scheduler"
KUBELET: Final = "kubelet"
COLLECTOR: Final = "garbage-collector"
GENERATOR: Final = "kube-controller-manager"
LASTING: Final = "service"
"""Pods whose name begins so run until they are deleted."""


@dataclass(slots=True)
class Cluster:
    """See the module."""

    store: ModelStore
    rng: random.Random
    note: Callable[[str], None]
    calm: bool = False
    """Nobody makes trouble any more."""
    generation: dict[str, int] = field(default_factory=dict)
    _news: dict[str, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store.observers.append(self._wake)

    def _wake(self, change: Change) -> None:
        if change.resource != "leases":
            for event in self._news.values():
                event.set()

    async def _turn(self, who: str, low: float, high: float) -> None:
        """Until something has changed since the last turn, and a while longer."""
        news = self._news.setdefault(who, asyncio.Event())
        await news.wait()
        await asyncio.sleep(self.rng.uniform(low, high))
        news.clear()

    # --- what is known of pods and claims ----------------------------------------------------------------------------

    def claims_of(self, pod: Json) -> dict[str, Json | None]:
        """The claims that the pod runs with, as its spec and status name them."""
        statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
        published = {one["name"]: one.get("resourceClaimName") for one in statuses}
        namespace = pod["metadata"]["namespace"]
        named = {}
        for entry in pod["spec"].get("resourceClaims") or ():
            name = entry.get("resourceClaimName") or published.get(entry["name"])
            named[entry["name"]] = self.store.get("resourceclaims", (namespace, name)) if name else None
        return named

    # --- kube-scheduler ----------------------------------------------------------------------------------------------

    async def scheduler(self) -> None:
        while True:
            free = self._free_devices()
            await self._turn(SCHEDULER, 0.05, 0.35)
            for pod in list(self.store.all("pods")):
                spec = pod["spec"]
                if not spec.get("schedulingGates") and not spec.get("nodeName") and not is_done(pod):
                    self._schedule(pod, free)

    def _schedule(self, pod: Json, free: list[tuple[str, str]]) -> None:
        where = pinned_node(pod)
        claims = self.claims_of(pod)
        uid = pod["metadata"]["uid"]
        for claim in claims.values():
            if claim is None or claim["metadata"].get("deletionTimestamp"):
                return
            allocation = claim["status"].get("allocation")
            if allocation is None:
                if len(claims) > 1 or where is not None:
                    return
                self._allocate(claim, pod, free)
                return
            users = [user["uid"] for user in claim["status"].get("reservedFor") or ()]
            if uid not in users:
                self._write_status(claim, allocation, [*(claim["status"].get("reservedFor") or ()), consumer(pod)])
                return
            where = where or allocated_node(allocation)
        node = self.store.get("nodes", ("", where or ""))
        if node is not None and not node["spec"].get("unschedulable"):
            self._bind(pod, where or "")

    def _bind(self, pod: Json, node: str) -> None:
        def change(new: Json) -> None:
            new["spec"]["nodeName"] = node
            conditions = [one for one in new["status"].get("conditions") or () if one["type"] != "PodScheduled"]
            new["status"]["conditions"] = [*conditions, {"type": "PodScheduled", "status": "True"}]

        self.note(f"kube-scheduler binds {name_of(pod)} to {node}")
        self.store.put("pods", key_of(pod), change, actor=SCHEDULER)

    def _allocate(self, claim: Json, pod: Json, free: list[tuple[str, str]]) -> None:
        """For a pod that nobody gated: one plain device, free as far as this scheduler knows."""
        if not free or claim["spec"]["devices"]["requests"][0].get("exactly", {}).get("count") != 1:
            return
        pool, device = free.pop(self.rng.randrange(len(free)))
        if not (claim["metadata"].get("finalizers")):
            self._quietly(
                lambda: self.store.patch(
                    "resourceclaims",
                    key_of(claim),
                    {"metadata": {"finalizers": [DELETE_PROTECTION_FINALIZER]}},
                    "merge",
                    manager=SCHEDULER,
                    actor=SCHEDULER,
                )
            )
            return
        here = {"key": "metadata.name", "operator": "In", "values": [pool]}
        allocation = {
            "devices": {"results": [{"request": "gpu", "driver": DRIVER, "pool": pool, "device": device}]},
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [here]}]},
        }
        self.note(f"kube-scheduler gives {name_of(claim)} {pool}/{device}")
        self._write_status(claim, allocation, [consumer(pod)])

    def _write_status(self, claim: Json, allocation: Json, users: list[Json]) -> None:
        meta = {name: claim["metadata"][name] for name in ("uid", "resourceVersion")}
        status = {"allocation": allocation, "reservedFor": users or None}
        self._quietly(
            lambda: self.store.patch(
                "resourceclaims",
                key_of(claim),
                {"metadata": meta, "status": status},
                "merge",
                subresource="status",
                manager=SCHEDULER,
                actor=SCHEDULER,
            )
        )

    def _free_devices(self) -> list[tuple[str, str]]:
        taken = {
            (result["pool"], result["device"])
            for claim in self.store.all("resourceclaims")
            for result in results_of(claim)
            if not result.get("adminAccess")
        }
        return [
            (slice_["spec"]["pool"]["name"], device["name"])
            for slice_ in self.store.all("resourceslices")
            for device in slice_["spec"].get("devices") or ()
            if device["attributes"]["kind"]["string"] == "plain"
            and not device.get("taints")
            and (slice_["spec"]["pool"]["name"], device["name"]) not in taken
        ]

    # --- kubelets, collectors ----------------------------------------------------------------------------------------

    async def kubelets(self) -> None:
        """Run bound pods, end them after a while, and finish deletions after a grace period."""
        busy = False
        while True:
            if busy:
                await asyncio.sleep(self.rng.uniform(0.1, 0.5))
            else:
                await self._turn(KUBELET, 0.1, 0.5)
            busy = False
            for pod in list(self.store.all("pods")):
                spec, meta = pod["spec"], pod["metadata"]
                if not spec.get("nodeName"):
                    continue
                phase = pod["status"].get("phase")
                lasts = meta["name"].startswith(LASTING)
                busy |= bool(meta.get("deletionTimestamp")) or phase == "Pending" or (phase == "Running" and not lasts)
                if meta.get("deletionTimestamp"):
                    if self.rng.random() < 0.2:
                        self.store.delete("pods", key_of(pod), grace_seconds=0, actor=KUBELET)
                elif phase == "Pending":
                    self._set_phase(pod, "Running")
                elif phase == "Running" and not lasts and self.rng.random() < 0.06:
                    self._set_phase(pod, self.rng.choice(("Succeeded", "Succeeded", "Failed")))

    def _set_phase(self, pod: Json, phase: str) -> None:
        self.store.put("pods", key_of(pod), lambda new: new["status"].update(phase=phase), actor=KUBELET)

    async def collector(self) -> None:
        """Garbage collector and pod GC: what has lost its owner, and pods whose node is gone."""
        while True:
            await self._turn(COLLECTOR, 0.3, 1.5)
            pods = {pod["metadata"]["uid"] for pod in self.store.all("pods")}
            for claim in list(self.store.all("resourceclaims")):
                owners = claim["metadata"].get("ownerReferences") or ()
                if owners and all(owner["uid"] not in pods for owner in owners):
                    self._quietly(
                        lambda claim=claim: self.store.delete(  # type: ignore[misc]
                            "resourceclaims",
                            key_of(claim),
                            preconditions=Preconditions(claim["metadata"]["uid"]),
                            actor=COLLECTOR,
                        )
                    )
            for pod in list(self.store.all("pods")):
                node = pod["spec"].get("nodeName")
                if node and self.store.get("nodes", ("", node)) is None:
                    self.store.delete("pods", key_of(pod), grace_seconds=0, actor=COLLECTOR)

    async def generator(self) -> None:
        """kube-controller-manager's resourceclaim-controller: generates, publishes, releases, deletes."""
        while True:
            pods = list(self.store.all("pods"))
            claims = list(self.store.all("resourceclaims"))
            await self._turn(GENERATOR, 0.02, 0.4)
            for pod in pods:
                if not is_done(pod) and self._lives(pod):
                    self._generate(pod, claims)
            for claim in claims:
                self._release(claim)

    def _lives(self, pod: Json) -> bool:
        known = self.store.get("pods", key_of(pod))
        return known is not None and known["metadata"]["uid"] == pod["metadata"]["uid"]

    def _generate(self, pod: Json, claims: list[Json]) -> None:
        meta = pod["metadata"]
        names: dict[str, str] = {}
        for entry in pod["spec"].get("resourceClaims") or ():
            if not entry.get("resourceClaimTemplateName"):
                continue
            mine = [claim for claim in claims if generated_for(claim, pod, entry["name"])]
            published = (self.store.get("pods", key_of(pod)) or pod)["status"].get("resourceClaimStatuses") or ()
            stated = next((one for one in published if one["name"] == entry["name"]), None)
            known = None if stated is None else stated.get("resourceClaimName")
            if stated is not None and known is None:
                continue  # it says that no claim is needed
            if known is not None and self.store.get("resourceclaims", (meta["namespace"], known)) is not None:
                continue  # ours or an imposter, which upstream leaves alone
            if mine:
                names[entry["name"]] = mine[0]["metadata"]["name"]
                continue
            made = self.generate(pod, entry)
            if made is not None:
                names[entry["name"]] = made["metadata"]["name"]
        if names:
            stated = [{"name": entry, "resourceClaimName": name} for entry, name in sorted(names.items())]
            body = {"metadata": {"uid": meta["uid"]}, "status": {"resourceClaimStatuses": stated}}
            self._quietly(
                lambda: self.store.apply(
                    "pods", key_of(pod), body, subresource="status", manager=GENERATOR, force=True, actor=GENERATOR
                )
            )

    def generate(self, pod: Json, entry: Json) -> Json | None:
        """A claim for an entry of the pod's, as kube-controller-manager generates it."""
        meta = pod["metadata"]
        found = self.store.get("resourceclaimtemplates", (meta["namespace"], entry["resourceClaimTemplateName"]))
        if found is None:
            return None
        owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"], "controller": True}
        new = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {
                "generateName": f"{meta['name']}-{entry['name']}-",
                "namespace": meta["namespace"],
                "annotations": {POD_CLAIM_NAME_ANNOTATION: entry["name"]},
                "ownerReferences": [owner],
            },
            "spec": found["spec"]["spec"],
        }
        made = self._quietly(
            lambda: self.store.create("resourceclaims", new, manager=GENERATOR, actor=GENERATOR).object
        )
        if made is not None:
            self.note(f"another generator creates {name_of(made)}")
        return made

    def _release(self, claim: Json) -> None:
        users = claim["status"].get("reservedFor") or []
        alive = []
        for user in users:
            pod = self.store.get("pods", (claim["metadata"]["namespace"], user["name"]))
            if pod is not None and pod["metadata"]["uid"] == user["uid"] and not is_done(pod):
                alive.append(user)
        if len(alive) < len(users):
            allocation = claim["status"].get("allocation") if alive else None
            self._write_status(claim, allocation, alive)

    def _quietly(self, write: Callable[[], Json]) -> Json:
        """Somebody was faster: it is looked at again soon."""
        try:
            return write()
        except StatusError:
            return None


def key_of(object_: Json) -> Key:
    meta = object_["metadata"]
    return meta.get("namespace", ""), meta["name"]


def name_of(object_: Json) -> str:
    return "/".join(part for part in key_of(object_) if part)


def consumer(pod: Json) -> Json:
    return {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def is_done(pod: Json) -> bool:
    """As upstream means it: it ended, or it will never start."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return ended or bool(pod["metadata"].get("deletionTimestamp") and not pod["spec"].get("nodeName"))


def results_of(claim: Json) -> list[Json]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or []


def generated_for(claim: Json, pod: Json, entry: str) -> bool:
    meta = claim["metadata"]
    owners = [owner["uid"] for owner in meta.get("ownerReferences") or () if owner.get("controller")]
    return (
        owners == [pod["metadata"]["uid"]] and (meta.get("annotations") or {}).get(POD_CLAIM_NAME_ANNOTATION) == entry
    )


def _named(terms: list[Json]) -> Iterator[str]:
    for term in terms:
        for need in term.get("matchFields") or ():
            if need["key"] == "metadata.name":
                yield from need["values"]


def allocated_node(allocation: Json) -> str | None:
    return next(_named((allocation.get("nodeSelector") or {}).get("nodeSelectorTerms") or []), None)


def pinned_node(pod: Json) -> str | None:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return next(_named(required.get("nodeSelectorTerms") or []), None)
