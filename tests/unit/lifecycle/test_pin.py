"""Pinning: the pod's required node affinity is narrowed to one node in the only ways that the API server allows."""

from __future__ import annotations

from dra_operator.api.core import NodeSelector, Pod
from dra_operator.inventory.nodeselector import matches_node_selector
from dra_operator.lifecycle.pin import allocated_node, node_of, pin, pinned_node
from tests.builders import allocation, need, node, pod, selector, term

HERE = need("metadata.name", "In", "node-a")
GPU = need("gpu", "Exists")
ZONE = need("zone", "In", "a", "b")


def pinned(to: Pod) -> NodeSelector:
    return pin(to, "node-a")


def test_without_affinity_the_pin_is_the_only_term() -> None:
    assert pinned(pod()) == selector(term(fields=[HERE]))


def test_an_affinity_without_terms_gets_a_first_one() -> None:
    assert pinned(pod(required=selector())) == selector(term(fields=[HERE]))


def test_every_term_is_narrowed_and_keeps_what_it_asked() -> None:
    before = selector(term(GPU), term(ZONE, fields=[need("metadata.name", "NotIn", "node-b")]))
    assert pinned(pod(required=before)) == selector(
        term(GPU, fields=[HERE]), term(ZONE, fields=[need("metadata.name", "NotIn", "node-b"), HERE])
    )


def test_an_empty_term_is_left_as_it_is() -> None:
    # It matches no node, and the API server lets it gain nothing.
    assert pinned(pod(required=selector(term(), term(GPU)))) == selector(term(), term(GPU, fields=[HERE]))


def test_a_pod_with_only_empty_terms_stays_as_it_is() -> None:
    assert pinned(pod(required=selector(term()))) == selector(term())


def test_pinning_twice_changes_nothing() -> None:
    once = pinned(pod(required=selector(term(GPU))))
    assert pinned(pod(required=once)) == once


def test_a_pinned_pod_fits_its_node_and_no_other() -> None:
    required = pinned(pod(required=selector(term(GPU), term(ZONE))))
    assert matches_node_selector(required, node("node-a", labels={"gpu": "yes"}))
    assert not matches_node_selector(required, node("node-a"))
    assert not matches_node_selector(required, node("node-b", labels={"gpu": "yes", "zone": "a"}))


# --- reading a pin ---------------------------------------------------------------------------------------------------


def test_what_was_pinned_is_read_back() -> None:
    for required in (None, selector(term(GPU), term(ZONE)), selector(term(), term(GPU))):
        assert pinned_node(pod(required=pin(pod(required=required), "node-a"))) == "node-a"


def test_a_pod_without_a_pin_has_no_node() -> None:
    assert pinned_node(pod()) is None
    assert pinned_node(pod(required=selector())) is None
    assert pinned_node(pod(required=selector(term(GPU)))) is None
    assert pinned_node(pod(required=selector(term()))) is None


def test_terms_that_name_different_nodes_are_no_pin() -> None:
    other = need("metadata.name", "In", "node-b")
    assert pinned_node(pod(required=selector(term(fields=[HERE]), term(fields=[other])))) is None


def test_one_term_without_the_pin_leaves_a_choice() -> None:
    assert pinned_node(pod(required=selector(term(fields=[HERE]), term(GPU)))) is None


def test_an_allocation_ties_to_the_one_node_that_it_names() -> None:
    assert allocated_node(allocation("node-a/gpu-0", on="node-a")) == "node-a"


def test_an_allocation_for_many_nodes_ties_to_none() -> None:
    assert allocated_node(allocation("net/nic-0")) is None
    assert node_of(selector(term(ZONE))) is None
    assert node_of(selector(term(fields=[HERE]), term(fields=[HERE]))) is None
    assert node_of(selector(term(fields=[need("metadata.name", "In", "node-a", "node-b")]))) is None
    assert node_of(selector(term(fields=[need("metadata.name", "NotIn", "node-a")]))) is None
