"""Which pods are ours to allocate, here and in the admission policy that gates them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dra_operator.api.codec import convert
from dra_operator.api.names import ALLOCATE_ANNOTATION, ALLOCATION_LABEL, GATE
from dra_operator.lifecycle.gate import (
    EXCLUDED_NAMESPACE_PREFIX,
    EXCLUDED_NAMESPACES,
    NewPod,
    class_names,
    excludes_namespace,
    find_gates,
    is_gated,
    leaves_to_others,
    other_gates,
)
from dra_operator.lifecycle.policy import Policy
from tests.builders import claim_spec, classes, device_class, exactly, first_available, pod, request
from tests.unit.lifecycle.scene import namespace

MANIFEST = Path(__file__).parents[3] / "manifests" / "base" / "gate-policy.yaml"


# --- gates -----------------------------------------------------------------------------------------------------------


def test_our_gate_is_ours() -> None:
    assert is_gated(pod(gates=[GATE]))
    assert not is_gated(pod())
    assert not is_gated(pod(gates=["kueue.x-k8s.io/admission"]))


def test_the_gates_of_others_are_told_apart_from_ours() -> None:
    assert other_gates(pod(gates=["kueue.x-k8s.io/admission", GATE, "b"])) == ("kueue.x-k8s.io/admission", "b")
    assert other_gates(pod(gates=[GATE])) == ()
    assert other_gates(pod()) == ()


# --- new pods, as the webhook is asked about them --------------------------------------------------------------------

OTHER = "kueue.x-k8s.io/admission"


def new_pod(**spec: Any) -> NewPod:
    return convert({"spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}], **spec}}, NewPod)


@pytest.mark.parametrize(
    ("spec", "gates"),
    [
        ({}, (GATE,)),
        ({"nodeName": ""}, (GATE,)),
        ({"schedulingGates": []}, (GATE,)),
        ({"schedulingGates": [{"name": OTHER}]}, (OTHER, GATE)),
        ({"schedulingGates": [{"name": GATE}]}, None),
        ({"schedulingGates": [{"name": OTHER}, {"name": GATE}]}, None),
        ({"resourceClaims": []}, None),
        ({"resourceClaims": None}, None),
        ({"nodeName": "node-1"}, None),
        ({"schedulingGroup": {"podGroupName": "together"}}, None),
        ({"workloadRef": {"name": "together"}}, None),
    ],
)
def test_a_new_pod_gets_our_gate_behind_those_of_others(spec: dict[str, Any], gates: tuple[str, ...] | None) -> None:
    assert find_gates(new_pod(**spec), "team", Policy()) == gates


@pytest.mark.parametrize("namespace", ["kube-system", "openshift-monitoring", "dra-operator"])
def test_a_new_pod_of_the_system_gets_none(namespace: str) -> None:
    assert find_gates(new_pod(), namespace, Policy()) is None


# --- namespaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kube-system", "openshift-monitoring", "openshift-", "dra-operator"])
def test_namespaces_of_the_system_are_excluded(name: str) -> None:
    assert excludes_namespace(name, namespace(name), Policy())


@pytest.mark.parametrize("name", ["default", "kube-public", "openshift", "my-openshift-app"])
def test_other_namespaces_are_not(name: str) -> None:
    assert not excludes_namespace(name, namespace(name), Policy())


def test_the_operators_namespace_is_the_one_it_runs_in() -> None:
    policy = Policy(operator_namespace="gpu-system")
    assert excludes_namespace("gpu-system", None, policy)
    assert not excludes_namespace("dra-operator", None, policy)


@pytest.mark.parametrize(("value", "excluded"), [("disabled", True), ("enabled", False), ("", False), ("true", False)])
def test_a_namespace_opts_out_by_its_label(value: str, excluded: bool) -> None:
    assert excludes_namespace("team", namespace("team", **{ALLOCATION_LABEL: value}), Policy()) is excluded


def test_a_namespace_that_is_not_known_yet_goes_by_its_name() -> None:
    assert not excludes_namespace("team", None, Policy())
    assert excludes_namespace("kube-system", None, Policy())


# --- classes ---------------------------------------------------------------------------------------------------------

THEIRS = device_class("theirs", annotations={ALLOCATE_ANNOTATION: "false"})
OURS = device_class("ours")


def test_the_classes_of_all_alternatives_are_named() -> None:
    spec = claim_spec(
        request(class_name="a"), first_available("b", big=exactly(class_name="c"), small=exactly(class_name="d"))
    )
    assert list(class_names(spec)) == ["a", "c", "d"]


def test_a_pod_whose_classes_are_all_anothers_is_left_to_it() -> None:
    assert leaves_to_others([claim_spec(request(class_name="theirs"))], classes(THEIRS, OURS))


def test_one_class_of_ours_makes_the_pod_ours() -> None:
    specs = [claim_spec(request(class_name="theirs")), claim_spec(request(class_name="ours"))]
    assert not leaves_to_others(specs, classes(THEIRS, OURS))


def test_a_class_that_is_missing_is_not_anothers() -> None:
    assert not leaves_to_others([claim_spec(request(class_name="missing"))], classes(THEIRS))


def test_claims_without_classes_are_not_anothers() -> None:
    assert not leaves_to_others([], classes(THEIRS))


@pytest.mark.parametrize("value", ["true", "", "False"])
def test_only_the_exact_value_leaves_a_class_to_others(value: str) -> None:
    known = classes(device_class("theirs", annotations={ALLOCATE_ANNOTATION: value}))
    assert not leaves_to_others([claim_spec(request(class_name="theirs"))], known)


# --- the policy says the same ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy() -> dict[str, Any]:
    [found] = (one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "MutatingAdmissionPolicy")
    spec: dict[str, Any] = found["spec"]
    return spec


def excluded_by_selector(policy: dict[str, Any]) -> dict[str, set[str]]:
    rules = policy["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert {rule["operator"] for rule in rules} == {"NotIn"}
    return {rule["key"]: set(rule["values"]) for rule in rules}


def test_the_policy_excludes_the_same_namespaces(policy: dict[str, Any]) -> None:
    assert excluded_by_selector(policy) == {
        "kubernetes.io/metadata.name": EXCLUDED_NAMESPACES | {Policy().operator_namespace},
        ALLOCATION_LABEL: {"disabled"},
    }


def test_the_policy_excludes_the_same_prefix(policy: dict[str, Any]) -> None:
    expressions = [one["expression"] for one in policy["matchConditions"]]
    assert f"!request.namespace.startsWith('{EXCLUDED_NAMESPACE_PREFIX}')" in expressions


def test_the_policy_sets_our_gate_and_no_other(policy: dict[str, Any]) -> None:
    [mutation] = policy["mutations"]
    expression = mutation["jsonPatch"]["expression"]
    assert expression.count('{"name": "') == 2
    assert expression.count(f'{{"name": "{GATE}"}}') == 2
