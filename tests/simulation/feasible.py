"""Must a pod wait? Answered by trying every device of every node, by rules of its own.

It shares no code with the allocator: nodes are gone through, requests in turn, every device, and what would be given
is put to the books (`books.py`) and to `tests/conformance/allocation_rules.py` (selectors, pools, taints).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from dra_operator.api.names import ALLOCATION_LABEL
from tests.conformance.allocation_rules import Gates, matches_all, pools_of
from tests.simulation.books import Books
from tests.simulation.cluster import Cluster, allocated_node, generated_for
from tests.simulation.model.fields import Json
from tests.simulation.model.rules import asks_admin_access
from tests.simulation.objects import SLOT

GATES = Gates({"partitionableDevices": True, "consumableCapacity": True, "deviceTaints": True})


def find_place(cluster: Cluster, pod: Json, *, adopts: bool) -> str | None:
    """Where the pod could go, with which devices; None if it has to wait. `adopts`: only others generate claims."""
    wanted = _specs(cluster, pod, adopts=adopts)
    if wanted is None:
        return None
    for node in cluster.store.all("nodes"):
        if node["spec"].get("unschedulable"):
            continue
        found = next(_allocations(cluster, node, wanted), None)
        if found is not None:
            given = [f"{one['pool']}/{one['device']}" for one in found]
            return f"{node['metadata']['name']} has {', '.join(given) or 'what it needs'}"
    return None


def _specs(cluster: Cluster, pod: Json, *, adopts: bool) -> list[Json] | None:
    """The claims of the pod as they stand or would be generated; None if one is missing or may not be used."""
    store, namespace = cluster.store, pod["metadata"]["namespace"]
    if (store.get("namespaces", ("", namespace)) or {})["metadata"].get("labels", {}).get(
        ALLOCATION_LABEL
    ) == "disabled":
        return []
    if len(pod["spec"]["schedulingGates"]) > 1:
        return None
    claims = []
    for entry in pod["spec"]["resourceClaims"]:
        if "resourceClaimName" in entry:
            claim = store.get("resourceclaims", (namespace, entry["resourceClaimName"]))
        else:
            claim = next((one for one in store.all("resourceclaims") if generated_for(one, pod, entry["name"])), None)
            template = store.get("resourceclaimtemplates", (namespace, entry["resourceClaimTemplateName"]))
            if claim is None and adopts and cluster.claims_of(pod)[entry["name"]] is not None:
                return None  # somebody's claim has the name that was published, and its generator leaves it at that
            if claim is None and template is not None:
                claim = {
                    "metadata": {"name": "", "uid": f"new-{entry['name']}"},
                    "spec": template["spec"]["spec"],
                    "status": {},
                }
        if claim is None or claim["metadata"].get("deletionTimestamp"):
            return None
        if asks_admin_access(claim["spec"]) and not store.grants_admin(namespace):
            return None
        claims.append(claim)
    return list({claim["metadata"]["uid"]: claim for claim in claims}.values())


def _allocations(cluster: Cluster, node: Json, claims: list[Json]) -> Iterator[list[Json]]:
    """All ways to serve the claims on the node: results of those that are not allocated yet."""
    open_: list[Json] = []
    for claim in claims:
        allocation = claim["status"].get("allocation")
        if allocation is None:
            open_.append(claim)
        elif allocated_node(allocation) not in (None, node["metadata"]["name"]):
            return
    pools = pools_of(list(cluster.store.all("resourceslices")), node, GATES)
    devices = [
        (dev, device) for pool in pools if not pool.incomplete and not pool.invalid for dev, _, device in pool.devices
    ]
    ways = [list(_ways(cluster, claim["spec"], devices)) for claim in open_]
    for chosen in itertools.product(*ways):
        if _fits(cluster, open_, chosen):
            yield [result for results in chosen for result in results]


def _ways(cluster: Cluster, spec: Json, devices: list[tuple[Json, Json]]) -> Iterator[list[Json]]:
    request = spec["devices"]["requests"][0]
    asks = [(request["name"], request["exactly"])] if "exactly" in request else []
    asks += [(f"{request['name']}/{sub['name']}", sub) for sub in request.get("firstAvailable") or ()]
    for name, ask in asks:
        class_ = cluster.store.get("deviceclasses", ("", ask["deviceClassName"]))
        if class_ is None:
            return
        selectors = [*class_["spec"]["selectors"], *ask.get("selectors", ())]
        fitting = [
            (dev, device)
            for dev, device in devices
            if matches_all(selectors, dev.driver, device) and not device.get("taints")
        ]
        for chosen in itertools.combinations(fitting, ask["count"]):
            yield [_result(name, ask, dev, device) for dev, device in chosen]


def _result(name: str, ask: Json, dev: Json, device: Json) -> Json:
    result = {"request": name, "driver": dev.driver, "pool": dev.pool, "device": dev.device}
    if ask.get("adminAccess"):
        result["adminAccess"] = True
    if device.get("allowMultipleAllocations"):
        result |= {"shareID": "new", "consumedCapacity": {"memory": f"{SLOT}Gi"}}
    return result


def _fits(cluster: Cluster, claims: list[Json], chosen: tuple[list[Json], ...]) -> bool:
    books = Books()
    for slice_ in cluster.store.all("resourceslices"):
        books.note_slice(slice_)
    for version, claim in enumerate(cluster.store.all("resourceclaims"), start=1):
        books.note_claim(claim, claim["metadata"]["uid"], version, "")
    for number, (claim, results) in enumerate(zip(claims, chosen, strict=True)):
        uid = claim["metadata"]["uid"]
        given = {**claim, "status": {"allocation": {"devices": {"results": results}}}}
        books.note_claim(given, uid, 1_000_000 + number, "")
        if books.find_wrong(uid) is not None:
            return False
    return True
