"""Node fit: kube-scheduler's hard rules, one behaviour a test."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from dra_operator.allocation.nodefit import covers, fits
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import (
    Affinity,
    Container,
    ContainerPort,
    NamedReference,
    Node,
    NodeSelector,
    Pod,
    PodAffinity,
    PodSpec,
    Taint,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)
from dra_operator.api.resource import DeviceClass
from tests.builders import classes, container, device_class, need, node, pod, selector, term

SMALL = {"cpu": "4", "memory": "16Gi", "pods": "2"}
EMPTY = NodeUsage()
NO_CLASSES: Mapping[str, DeviceClass] = {}


def used_by(*pods: Pod) -> NodeUsage:
    usage = NodeUsage()
    for each in pods:
        usage.add(each)
    return usage


def kinds(of: Pod, on: Node, usage: NodeUsage = EMPTY, classes: Mapping[str, DeviceClass] = NO_CLASSES) -> list[str]:
    return [misfit.kind for misfit in fits(of, on, usage, classes)]


# --- room ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cpu", "fit"), [("4", True), ("4001m", False), ("0", True)])
def test_requests_must_be_within_what_is_allocatable(cpu: str, fit: bool) -> None:
    assert (kinds(pod(requests={"cpu": cpu}), node(allocatable=SMALL)) == []) is fit


def test_what_other_pods_request_is_taken() -> None:
    others = used_by(pod("other", requests={"cpu": "3"}))

    assert kinds(pod(requests={"cpu": "1"}), node(allocatable=SMALL), others) == []
    assert kinds(pod(requests={"cpu": "1001m"}), node(allocatable=SMALL), others) == ["short of cpu"]


def test_the_pods_own_room_is_not_held_against_it() -> None:
    itself = pod(requests={"cpu": "3"})

    assert kinds(itself, node(allocatable=SMALL | {"pods": "1"}), used_by(itself)) == []


def test_a_resource_that_the_node_does_not_have_is_too_little() -> None:
    assert kinds(pod(requests={"example.com/nic": "1"}), node()) == ["short of example.com/nic"]


def test_the_number_of_pods_is_limited() -> None:
    assert kinds(pod(), node(allocatable=SMALL), used_by(pod("one"), pod("two"))) == ["full (no room for another pod)"]


def test_removing_a_pod_takes_off_what_adding_it_put_on() -> None:
    usage = used_by(pod("one", requests={"cpu": "3"}))
    usage.add(pod("one", requests={"cpu": "2"}))
    assert usage.requested("cpu", pod().uid) == 2_000_000_000

    usage.remove(pod("one").uid)
    usage.remove(pod("one").uid)
    assert usage.requested("cpu", pod().uid) == 0
    assert usage.pods(pod().uid) == 0


# --- what a pod requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "cpu"),
    [
        (pod(containers=[container({"cpu": "1"}), container({"cpu": "2"})]), 3),
        (pod(requests={"cpu": "1"}, init_containers=[container({"cpu": "5"})]), 5),
        (pod(requests={"cpu": "1"}, init_containers=[container({"cpu": "5"}, sidecar=True)]), 6),
        # A sidecar runs beside the init containers that come after it, not beside those before.
        (pod(init_containers=[container({"cpu": "1"}, sidecar=True), container({"cpu": "5"})]), 6),
        (pod(init_containers=[container({"cpu": "5"}), container({"cpu": "1"}, sidecar=True)]), 5),
        (pod(requests={"cpu": "1"}, overhead={"cpu": "2"}), 3),
        (pod(requests={"cpu": "9"}, pod_requests={"cpu": "4"}), 4),
        (pod(requests={"cpu": "1"}, pod_requests={"memory": "1Gi"}), 1),
    ],
)
def test_a_pod_requests_what_it_needs_at_its_peak(of: Pod, cpu: int) -> None:
    enough, too_little = node(allocatable={"cpu": str(cpu), "memory": "1Gi"}), node(allocatable={"cpu": f"{cpu - 1}"})

    assert kinds(of, enough) == []
    assert "short of cpu" in kinds(of, too_little)


# --- taints ----------------------------------------------------------------------------------------------------------

DEDICATED = Taint(key="dedicated", value="ml", effect="NoSchedule")


@pytest.mark.parametrize(
    ("taint", "toleration", "fit"),
    [
        (DEDICATED, None, False),
        (Taint(key="slow", effect="PreferNoSchedule"), None, True),
        (Taint(key="slow", effect="NoExecute"), None, False),
        (DEDICATED, Toleration(key="dedicated", operator="Exists"), True),
        (DEDICATED, Toleration(key="dedicated", value="ml"), True),
        (DEDICATED, Toleration(key="dedicated", operator="Equal", value="web"), False),
        (DEDICATED, Toleration(operator="Exists"), True),
        (DEDICATED, Toleration(key="dedicated", operator="Exists", effect="NoExecute"), False),
        (DEDICATED, Toleration(key="other", operator="Exists"), False),
    ],
)
def test_taints_keep_pods_away_unless_tolerated(taint: Taint, toleration: Toleration | None, fit: bool) -> None:
    of = pod(tolerations=[toleration] if toleration else [])

    assert (kinds(of, node(taints=[taint])) == []) is fit


def test_a_cordoned_node_takes_only_pods_that_tolerate_that() -> None:
    tolerant = pod(tolerations=[Toleration(key="node.kubernetes.io/unschedulable", operator="Exists")])

    assert kinds(pod(), node(cordoned=True)) == ["cordoned"]
    assert kinds(tolerant, node(cordoned=True)) == []


# --- labels ----------------------------------------------------------------------------------------------------------

ZONE_A = {"zone": "a", "gpus": "8"}


@pytest.mark.parametrize(
    ("required", "fit"),
    [
        (selector(term(need("zone", "In", "a", "b"))), True),
        (selector(term(need("zone", "NotIn", "a"))), False),
        (selector(term(need("rack", "NotIn", "a"))), True),
        (selector(term(need("zone", "Exists"), need("rack", "DoesNotExist"))), True),
        (selector(term(need("gpus", "Gt", "7"), need("gpus", "Lt", "9"))), True),
        (selector(term(need("zone", "Gt", "7"))), False),
        (selector(term(need("zone", "In", "b")), term(need("zone", "In", "a"))), True),
        (selector(term(fields=[need("metadata.name", "In", "node-a")])), True),
        (selector(term(fields=[need("metadata.name", "In", "node-b")])), False),
        (selector(term()), False),
        (selector(), False),
    ],
)
def test_required_node_affinity_must_match(required: NodeSelector, fit: bool) -> None:
    assert (kinds(pod(required=required), node("node-a", labels=ZONE_A)) == []) is fit


@pytest.mark.parametrize(("wanted", "fit"), [({"zone": "a"}, True), ({"zone": "b"}, False), ({"rack": "1"}, False)])
def test_the_node_selector_must_match(wanted: dict[str, str], fit: bool) -> None:
    assert (kinds(pod(node_selector=wanted), node(labels=ZONE_A)) == []) is fit


def test_every_broken_rule_is_named() -> None:
    misfits = fits(
        pod(requests={"cpu": "9"}, node_selector={"zone": "b"}), node(cordoned=True, allocatable=SMALL), EMPTY, {}
    )

    assert [misfit.message for misfit in misfits] == [
        "the pod's nodeSelector does not match it",
        "it is cordoned",
        "it has too little cpu",
    ]


# --- extended resources ----------------------------------------------------------------------------------------------

L4 = classes(device_class("l4", resource="example.com/l4"))
BY_NAME, BY_CLASS = "example.com/l4", "deviceclass.resource.kubernetes.io/l4"


@pytest.mark.parametrize("resource", [BY_NAME, BY_CLASS])
@pytest.mark.parametrize("allocatable", [SMALL, SMALL | {BY_NAME: "0", BY_CLASS: "0"}], ids=["unknown", "none"])
def test_what_a_class_stands_for_is_found_by_the_scheduler(resource: str, allocatable: dict[str, str]) -> None:
    asks = pod(requests={resource: "2"})

    assert kinds(asks, node(allocatable=allocatable), classes=L4) == []
    assert not covers(asks, L4), "where its devices are is for the scheduler to say"


def test_a_node_that_offers_the_resource_itself_has_to_have_enough_of_it() -> None:
    plugin = node(allocatable=SMALL | {BY_NAME: "2"})

    assert kinds(pod(requests={BY_NAME: "2"}), plugin, classes=L4) == []
    assert kinds(pod(requests={BY_NAME: "3"}), plugin, classes=L4) == [f"short of {BY_NAME}"]


@pytest.mark.parametrize("resource", ["example.com/other", "deviceclass.resource.kubernetes.io/other", "l4"])
def test_what_no_class_stands_for_has_to_be_on_the_node(resource: str) -> None:
    asks = pod(requests={resource: "1"})

    assert kinds(asks, node(allocatable=SMALL), classes=L4) == [f"short of {resource}"]
    assert covers(asks, L4)


# --- what is not covered ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        PodSpec(affinity=Affinity(pod_anti_affinity=PodAffinity(required=({},)))),
        PodSpec(affinity=Affinity(pod_affinity=PodAffinity(required=({},)))),
        PodSpec(topology_spread_constraints=(TopologySpreadConstraint(when_unsatisfiable="DoNotSchedule"),)),
        PodSpec(volumes=(Volume(persistent_volume_claim=NamedReference(claim_name="data")),)),
        PodSpec(volumes=(Volume(ephemeral={}),)),
        PodSpec(containers=(Container(ports=(ContainerPort(host_port=80),)),)),
    ],
)
def test_rules_about_other_pods_volumes_and_host_ports_are_not_covered(spec: PodSpec) -> None:
    assert not covers(Pod(spec=spec), {})


@pytest.mark.parametrize(
    "spec",
    [
        PodSpec(),
        PodSpec(affinity=Affinity(pod_anti_affinity=PodAffinity())),
        PodSpec(topology_spread_constraints=(TopologySpreadConstraint(when_unsatisfiable="ScheduleAnyway"),)),
        PodSpec(volumes=(Volume(name="config"),)),
        PodSpec(containers=(Container(ports=(ContainerPort(),)),)),
    ],
)
def test_preferences_are_no_hard_rules(spec: PodSpec) -> None:
    assert covers(Pod(spec=spec), {})
