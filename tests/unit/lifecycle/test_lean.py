"""What mirrors keep: nothing that no rule reads, and what many say alike only once."""

from __future__ import annotations

from typing import Any

from dra_operator.allocation.nodefit import covers
from dra_operator.allocation.podrequests import pod_requests
from dra_operator.api.codec import convert, encode
from dra_operator.api.core import Node, Pod
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from dra_operator.lifecycle.lean import REMEMBERED, Lean
from tests.perf.large_cluster import large_cluster

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "training", "uid": "uid-set", "controller": True}


def bodies(kind: str) -> list[dict[str, Any]]:
    """Objects as a real cluster has them."""
    return [body for key, body in large_cluster(2, 50) if key.split("/")[2] == kind]


def a_pod(**spec: Any) -> Pod:
    body = bodies("pods")[0]
    body["metadata"] |= {"ownerReferences": [OWNER], "annotations": {"large": "x" * 1000}, "resourceVersion": "7"}
    told = {"type": DEVICES_ALLOCATED, "status": "False", "reason": "DevicesInUse", "message": "none is free"}
    body["status"]["conditions"].append(told)
    body["spec"] |= spec
    return convert(body, Pod)


def test_a_pod_says_the_same_to_every_rule() -> None:
    pod = a_pod(priority=7, nodeSelector={"zone": "a"}, overhead={"cpu": "100m"})
    kept = Lean().pod(pod)
    for read in ("key", "uid", "done", "terminal"):
        assert getattr(kept, read) == getattr(pod, read)
    for read in ("resource_version", "creation_timestamp", "deletion_timestamp", "owner_references", "controller"):
        assert getattr(kept.metadata, read) == getattr(pod.metadata, read)
    for read in (name for name in pod.spec.__struct_fields__ if name != "volumes"):
        assert getattr(kept.spec, read) == getattr(pod.spec, read)
    for type_ in (DEVICES_ALLOCATED, "PodScheduled"):
        assert kept.condition(type_) == pod.condition(type_) is not None
    assert kept.status.resource_claim_statuses == pod.status.resource_claim_statuses
    assert pod_requests(kept) == pod_requests(pod)
    assert covers(kept, {})
    assert covers(pod, {})


def test_volumes_that_may_tie_a_pod_to_a_node_stay() -> None:
    claimed = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    own = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}
    for volume in (claimed, own, {"name": "odd", "ephemeral": {}}):
        pod = a_pod(volumes=[{"name": "config", "configMap": {"name": "x"}}, volume])
        assert covers(Lean().pod(pod), {}) == covers(pod, {}) is False


def test_what_nobody_reads_of_a_pod_is_not_kept() -> None:
    kept = encode(Lean().pod(a_pod())).decode()
    assert "managedFields" not in kept
    assert "large" not in kept
    assert "ContainersReady" not in kept
    assert "volume-0" not in kept


def test_pods_of_one_workload_hold_its_parts_once() -> None:
    lean = Lean()
    one, other = (lean.pod(a_pod()).spec for _ in range(2))
    assert one.containers is other.containers
    assert one.tolerations is other.tolerations
    assert one.resource_claims is other.resource_claims


def test_a_node_keeps_what_pods_may_ask_of_it() -> None:
    node = convert(bodies("minions")[0], Node)
    kept = Lean().node(node)
    assert (kept.key, kept.metadata.labels, kept.spec) == (node.key, node.metadata.labels, node.spec)
    assert kept.status.allocatable == node.status.allocatable
    assert kept.status.conditions is None


def test_claims_and_slices_say_exactly_what_they_said() -> None:
    lean = Lean()
    for body in bodies("resourceclaims"):
        claim = convert(body, ResourceClaim)
        lean.claim(claim)
        assert claim == convert(body, ResourceClaim)
    for body in bodies("resourceslices"):
        slice_ = convert(body, ResourceSlice)
        lean.slice(slice_)
        assert encode(slice_) == encode(convert(body, ResourceSlice))


def test_claims_of_one_template_and_devices_of_one_model_hold_their_parts_once() -> None:
    lean = Lean()
    claims = [convert(body, ResourceClaim) for body in bodies("resourceclaims")]
    for claim in claims:
        lean.claim(claim)
    assert claims[0].spec is claims[1].spec
    slice_ = convert(bodies("resourceslices")[0], ResourceSlice)
    lean.slice(slice_)
    first, second = (slice_.spec.devices or ())[:2]
    assert first.capacity is second.capacity
    assert (first.attributes or {})["model"] is (second.attributes or {})["model"]


def test_amounts_that_are_equal_but_were_written_differently_stay_two() -> None:
    lean = Lean()
    amounts = [Quantity.parse(text) for text in ("1", "1000m", "1.0", "1")]
    kept = [lean._part("amounts", {"memory": amount})["memory"] for amount in amounts]
    assert all(one.is_identical(other) for one, other in zip(kept, amounts, strict=True))
    assert kept[0] is kept[3]


def test_what_is_remembered_to_be_shared_is_bounded() -> None:
    lean = Lean()
    for number in range(REMEMBERED + 10):
        lean._part("name", f"gpu-{number}")
        assert len(lean._parts) <= REMEMBERED
    large = "x" * 3_000
    assert lean._part("name", large) is large
    assert all(len(said) < 3_000 for _, said in lean._parts)
