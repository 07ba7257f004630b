"""Whether a v1.NodeSelector matches a node.

Terms are ORed, requirements ANDed; an empty term matches nothing, and so does a selector without terms. A term that
cannot be parsed matches nothing; for slices it is an error (`find_mistake`), for pods the API server has refused it.

Upstream: `nodeaffinity` of k8s.io/component-helpers/scheduling/corev1 and labels.NewRequirement of apimachinery.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from dra_operator.api.core import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NAME: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PREFIX: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NAME: Final = 63
_MAX_PREFIX: Final = 253
_INT64: Final = 1 << 63


def matches_node_selector(selector: NodeSelector, node: Node) -> bool:
    return any(matches_term(term, node) for term in selector.node_selector_terms)


def matches_term(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    labels = node.metadata.labels or {}
    return all(_matches_label(requirement, labels) for requirement in term.match_expressions) and all(
        _matches_field(requirement, node.metadata.name) for requirement in term.match_fields
    )


def find_mistake(selector: NodeSelector) -> str | None:
    """Why the selector cannot be parsed, or None."""
    for term in selector.node_selector_terms:
        for requirement in term.match_expressions:
            if mistake := _mistake(requirement):
                return f"{requirement.key} {requirement.operator} {list(requirement.values)}: {mistake}"
        for requirement in term.match_fields:
            if requirement.operator not in ("In", "NotIn") or len(requirement.values) != 1:
                return f"field {requirement.key}: must be In or NotIn one value"
    return None


def _matches_field(requirement: NodeSelectorRequirement, name: str) -> bool:
    if len(requirement.values) != 1:
        return False
    value = name if requirement.key == "metadata.name" else ""
    match requirement.operator:
        case "In":
            return value == requirement.values[0]
        case "NotIn":
            return value != requirement.values[0]
        case _:
            return False


def _matches_label(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return bool(requirement.values) and value not in requirement.values
        case "Exists":
            return value is not None and not requirement.values
        case "DoesNotExist":
            return value is None and not requirement.values
        case "Gt" | "Lt":
            bound = _integer(requirement.values[0]) if len(requirement.values) == 1 else None
            number = None if value is None else _integer(value)
            if bound is None or number is None:
                return False
            return number > bound if requirement.operator == "Gt" else number < bound
        case _:
            return False


def _integer(text: str) -> int | None:
    """As strconv.ParseInt reads it, or None."""
    if _INTEGER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None


def _mistake(requirement: NodeSelectorRequirement) -> str | None:
    prefix, slash, name = requirement.key.rpartition("/")
    if slash and (len(prefix) > _MAX_PREFIX or _PREFIX.fullmatch(prefix) is None):
        return "the key's prefix is not a DNS subdomain"
    if len(name) > _MAX_NAME or _NAME.fullmatch(name) is None:
        return "the key is not a qualified name"
    values = requirement.values
    match requirement.operator:
        case "In" | "NotIn":
            if not values:
                return "needs values"
        case "Exists" | "DoesNotExist":
            if values:
                return "takes no values"
        case "Gt" | "Lt":
            if len(values) != 1 or _integer(values[0]) is None:
                return "needs one integer"
        case _:
            return "unknown operator"
    if any(value and (len(value) > _MAX_NAME or _NAME.fullmatch(value) is None) for value in values):
        return "a value cannot be a label's"
    return None
