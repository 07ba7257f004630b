"""What is said of a pod of a cluster: what it has there, not what the core would give it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.query.documents import Document
from dra_operator.query.explain import Explanation, explain, find_subject
from dra_operator.query.objects import load_objects
from dra_operator.query.scene import build_scene

NOW = 1_800_000_000.0

CLUSTER = """
- {apiVersion: v1, kind: Namespace, metadata: {name: team}}
- {apiVersion: v1, kind: Node, metadata: {name: node-a}, status: {allocatable: {pods: "10"}}}
- apiVersion: resource.k8s.io/v1
  kind: DeviceClass
  metadata: {name: gpu}
  spec: {}
- apiVersion: resource.k8s.io/v1
  kind: ResourceSlice
  metadata: {name: slice}
  spec:
    driver: gpu.example.com
    nodeName: node-a
    pool: {name: node-a, generation: 1, resourceSliceCount: 1}
    devices: [{name: gpu-0}]
- apiVersion: resource.k8s.io/v1
  kind: ResourceClaimTemplate
  metadata: {name: one, namespace: team}
  spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}}
- apiVersion: v1
  kind: Pod
  metadata: {name: train, namespace: team, uid: train}
  spec:
    schedulingGates: [{name: dra-operator.io/allocation}]
    resourceClaims: [{name: gpu, resourceClaimTemplateName: one}]
    containers: [{name: main, image: i, resources: {claims: [{name: gpu}]}}]
"""

CLAIM = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata:
  name: train-gpu
  namespace: team
  uid: claim
  annotations: {resource.kubernetes.io/pod-claim-name: gpu}
  ownerReferences: [{apiVersion: v1, kind: Pod, name: train, uid: train, controller: true}]
spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}
status:
  allocation: {devices: {results: [{request: gpu, driver: gpu.example.com, pool: node-a, device: gpu-0}]}}
  reservedFor: [{resource: pods, name: train, uid: train}]
"""


def explained(*more: str, told: tuple[str, str] | None = None, what: str = "pod/train") -> Explanation:
    objects: list[dict[str, Any]] = [*yaml.safe_load(CLUSTER), *map(yaml.safe_load, more)]
    if told is not None:
        condition = {"type": "dra-operator.io/DevicesAllocated", "status": "False", "reason": told[0]}
        pod = next(one for one in objects if one["kind"] == "Pod")
        pod["status"] = {"conditions": [{**condition, "message": told[1]}]}
    scene = build_scene(load_objects(Document("cluster", n, one) for n, one in enumerate(objects)), live=True, now=NOW)
    subject = find_subject(scene.simulation, what, "team")
    return explain(scene.simulation, subject.pod, live=not subject.stands_in)


def test_a_pod_that_no_operator_has_looked_at_has_no_devices() -> None:
    said = explained()
    assert (said.state, said.reason.code) == ("Waiting", "NotManaged")
    assert [one.results for one in said.claims] == [()]
    [hint] = said.hints
    assert "gpu-0 of node-a" in hint
    assert "doctor" in hint


def test_what_the_pod_was_told_is_why_it_has_none() -> None:
    """A quota, for example, which the core knows nothing of."""
    said = explained(told=("ClaimNotFound", "no ResourceClaim has been generated"))
    assert (said.reason.code, said.reason.message) == ("ClaimNotFound", "no ResourceClaim has been generated")


@pytest.mark.parametrize("told", [None, ("DevicesInUse", "all in use")])
def test_a_pod_whose_claims_are_allocated_has_its_devices(told: tuple[str, str] | None) -> None:
    said = explained(CLAIM, told=told)
    assert (said.state, said.hints) == ("Allocated", ())
    assert [one.device for claim in said.claims for one in claim.results] == ["gpu-0"]


def test_an_entry_for_which_no_claim_is_needed_is_not_missed() -> None:
    """kube-controller-manager publishes an entry without a name for it."""
    more = yaml.safe_load(CLUSTER)[-1]
    more["metadata"] |= {"name": "two", "uid": "two"}
    more["spec"]["resourceClaims"].append({"name": "none", "resourceClaimTemplateName": "one"})
    more["status"] = {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "two-gpu"}, {"name": "none"}]}
    said = explained(yaml.safe_dump(more), CLAIM.replace("train", "two"), what="pod/two")
    assert (said.state, said.hints) == ("Allocated", ())


def test_of_files_it_is_said_what_they_would_get() -> None:
    objects = yaml.safe_load(CLUSTER)
    scene = build_scene(load_objects(Document("file", n, one) for n, one in enumerate(objects)), now=NOW)
    scene.simulation.run()
    pod = scene.simulation.store.get(Pod, ObjectKey("team", "train"))
    assert pod is not None
    assert explain(scene.simulation, pod).state == "Allocated"


@pytest.mark.parametrize(("node_name", "notes"), [("", 1), ("node-a", 0)])
def test_what_a_bound_pod_has_of_an_extended_resource_is_not_left_out(node_name: str, notes: int) -> None:
    resources = {"limits": {"example.com/gpu": "1"}}
    asks = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "extended", "namespace": "team"},
        "spec": {"nodeName": node_name, "containers": [{"name": "main", "image": "i", "resources": resources}]},
    }
    objects = [*yaml.safe_load(CLUSTER), asks]
    scene = build_scene(load_objects(Document("cluster", n, one) for n, one in enumerate(objects)), live=True, now=NOW)
    assert len(scene.notes) == notes
