"""Whether a v1.NodeSelector matches a node.

Terms are ORed, requirements ANDed; an empty term matches nothing, and so does a selector without terms.

Upstream: `nodeaffinity` of k8s.io/component-helpers/scheduling/corev1 and labels.Requirement of apimachinery.
"""

from __future__ import annotations

from collections.abc import Mapping

from dra_operator.api.core import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm


def matches_node_selector(selector: NodeSelector, node: Node) -> bool:
    return any(matches_term(term, node) for term in selector.node_selector_terms)


def matches_term(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_matches(requirement, node.metadata.labels or {}) for requirement in term.match_expressions) and all(
        _matches(requirement, fields) for requirement in term.match_fields
    )


def _matches(requirement: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    present = requirement.key in values
    value = values.get(requirement.key, "")
    match requirement.operator:
        case "In":
            return present and value in requirement.values
        case "NotIn":
            return not present or value not in requirement.values
        case "Exists":
            return present
        case "DoesNotExist":
            return not present
        case "Gt" | "Lt":
            return present and _compares(requirement, value)
        case _:
            return False


def _compares(requirement: NodeSelectorRequirement, value: str) -> bool:
    """Both sides as integers; anything else does not match."""
    try:
        left, right = int(value), int(requirement.values[0])
    except (ValueError, IndexError):
        return False
    return left > right if requirement.operator == "Gt" else left < right
