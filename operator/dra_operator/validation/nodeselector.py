"""Node selectors of slices, devices and allocations.

Upstream: `ValidateNodeSelector` in pkg/apis/core/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.validation import names
from dra_operator.validation.errors import FieldError, child, forbidden, index, invalid, required
from dra_operator.validation.metatypes import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm

_NOT_AN_OPERATOR: Final = "not a valid selector operator"
_NAME_FIELD: Final = "metadata.name"


def check_node_selector(path: str, selector: NodeSelector) -> list[FieldError]:
    terms = child(path, "nodeSelectorTerms")
    if not selector.node_selector_terms:
        return [required(terms, "must have at least one node selector term")]
    return [error for i, term in enumerate(selector.node_selector_terms) for error in _term(index(terms, i), term)]


def _term(path: str, term: NodeSelectorTerm) -> list[FieldError]:
    found: list[FieldError] = []
    for i, requirement in enumerate(term.match_expressions or ()):
        found += _expression(index(child(path, "matchExpressions"), i), requirement)
    for i, requirement in enumerate(term.match_fields or ()):
        found += _field(index(child(path, "matchFields"), i), requirement)
    return found


def _expression(path: str, requirement: NodeSelectorRequirement) -> list[FieldError]:
    found: list[FieldError] = []
    values = requirement.values or ()
    where = child(path, "values")
    match requirement.operator:
        case "In" | "NotIn":
            if not values:
                found.append(required(where, "must be specified when `operator` is 'In' or 'NotIn'"))
        case "Exists" | "DoesNotExist":
            if values:
                found.append(forbidden(where, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
        case "Gt" | "Lt":
            if len(values) != 1:
                found.append(required(where, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
        case other:
            found.append(invalid(child(path, "operator"), other, _NOT_AN_OPERATOR))
    found += names.label_key(child(path, "key"), requirement.key)
    return found + [error for i, value in enumerate(values) for error in names.label_value(index(where, i), value)]


def _field(path: str, requirement: NodeSelectorRequirement) -> list[FieldError]:
    found: list[FieldError] = []
    values = requirement.values or ()
    if requirement.operator not in ("In", "NotIn"):
        found.append(invalid(child(path, "operator"), requirement.operator, _NOT_AN_OPERATOR))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        found.append(required(child(path, "values"), detail))
    if requirement.key != _NAME_FIELD:
        return [*found, invalid(child(path, "key"), requirement.key, "not a valid field selector key")]
    where = child(path, "values")
    return found + [error for i, value in enumerate(values) for error in names.node_name(index(where, i), value)]
