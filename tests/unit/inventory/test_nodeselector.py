"""Node selectors match as Kubernetes' do."""

from __future__ import annotations

import pytest

from dra_operator.api.core import NodeSelectorRequirement
from dra_operator.inventory.nodeselector import find_mistake, matches_node_selector
from tests.builders import need, node, selector, term

NODE = node("node-a", labels={"zone": "east", "memory": "80", "odd": "1_000"})


@pytest.mark.parametrize(
    ("requirement", "matches"),
    [
        (need("zone", "In", "west", "east"), True),
        (need("zone", "In", "west"), False),
        (need("region", "In", "east"), False),
        (need("zone", "NotIn", "west"), True),
        (need("zone", "NotIn", "east"), False),
        (need("region", "NotIn", "east"), True),
        (need("zone", "Exists"), True),
        (need("region", "Exists"), False),
        (need("zone", "DoesNotExist"), False),
        (need("region", "DoesNotExist"), True),
        (need("memory", "Gt", "79"), True),
        (need("memory", "Gt", "80"), False),
        (need("memory", "Lt", "81"), True),
        (need("memory", "Lt", "80"), False),
        (need("zone", "Gt", "1"), False),
        (need("region", "Lt", "1"), False),
        (need("odd", "Gt", "1"), False),
        (need("zone", "Near", "east"), False),
    ],
    ids=str,
)
def test_a_requirement_on_labels(requirement: NodeSelectorRequirement, matches: bool) -> None:
    assert matches_node_selector(selector(term(requirement)), NODE) is matches


@pytest.mark.parametrize(
    ("requirement", "matches"),
    [
        (need("metadata.name", "In", "node-a"), True),
        (need("metadata.name", "In", "node-b"), False),
        (need("metadata.name", "NotIn", "node-b"), True),
        (need("metadata.name", "NotIn", "node-a"), False),
    ],
    ids=str,
)
def test_a_requirement_on_fields(requirement: NodeSelectorRequirement, matches: bool) -> None:
    assert matches_node_selector(selector(term(fields=[requirement])), NODE) is matches


def test_requirements_of_a_term_must_all_hold() -> None:
    assert not matches_node_selector(selector(term(need("zone", "Exists"), need("region", "Exists"))), NODE)
    here = [need("metadata.name", "In", "node-b")]
    assert not matches_node_selector(selector(term(need("zone", "Exists"), fields=here)), NODE)


def test_one_term_is_enough() -> None:
    assert matches_node_selector(selector(term(need("region", "Exists")), term(need("zone", "Exists"))), NODE)


def test_nothing_asked_matches_nothing() -> None:
    assert not matches_node_selector(selector(), NODE)
    assert not matches_node_selector(selector(term()), NODE)


@pytest.mark.parametrize(
    ("requirement", "mistake"),
    [
        (need("zone", "Near", "east"), "unknown operator"),
        (need("zone", "In"), "needs values"),
        (need("zone", "Exists", "east"), "takes no values"),
        (need("memory", "Gt", "1", "2"), "needs one integer"),
        (need("memory", "Lt", "many"), "needs one integer"),
        (need("a b", "Exists"), "not a qualified name"),
        (need("Upper.Case/name", "Exists"), "not a DNS subdomain"),
        (need("zone", "In", "no spaces"), "a value cannot be a label's"),
    ],
    ids=str,
)
def test_what_cannot_be_parsed_is_a_mistake(requirement: NodeSelectorRequirement, mistake: str) -> None:
    assert mistake in (find_mistake(selector(term(need("zone", "Exists")), term(requirement))) or "")


def test_fields_know_only_one_value_at_a_time() -> None:
    two = need("metadata.name", "In", "node-a", "node-b")

    assert find_mistake(selector(term(fields=[two]))) is not None
    assert not matches_node_selector(selector(term(fields=[two])), NODE)


def test_an_ordinary_selector_has_no_mistake() -> None:
    ordinary = term(
        need("topology.kubernetes.io/zone", "In", "east", ""), fields=[need("metadata.name", "In", "node-a")]
    )

    assert find_mistake(selector(ordinary)) is None
