"""Ungate and pin: the pod may go to the node of its devices, and nowhere else.

Without the pin, when the node turns out not to fit, kube-scheduler's DRA plugin clears our allocation and allocates
elsewhere by itself; a pinned pod keeps its allocation and waits (tried on 1.37.2).

The API server lets a gated pod's node affinity only be tightened: a requirement may be added to a term that is not
empty; an empty term (it matches nothing) may not gain any, and no term may be added beside existing ones. So the pin
goes into every non-empty required term, or into a first one where there is none.

Upstream: `validatePodAffinity...OnUpdate` in k8s.io/kubernetes/pkg/apis/core/validation (mutable scheduling
directives, KEP-3838). `matchFields metadata.name` is how the DaemonSet controller pins, too.
"""

from __future__ import annotations

from dra_operator.api.core import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod
from dra_operator.api.resource import AllocationResult
from dra_operator.lifecycle.actions import Ungate

NODE_NAME_FIELD = "metadata.name"


def node_of(selector: NodeSelector | None) -> str | None:
    """The one node that a selector means, where it names one by `matchFields metadata.name In [node]`."""
    if selector is None or len(selector.node_selector_terms) != 1:
        return None
    return _node_of_term(selector.node_selector_terms[0])


def allocated_node(allocation: AllocationResult) -> str | None:
    """The node that an allocation ties its consumers to, or None where it leaves a choice."""
    return node_of(allocation.node_selector)


def required_affinity(pod: Pod) -> NodeSelector | None:
    affinity = pod.spec.affinity
    return affinity.node_affinity.required if affinity is not None and affinity.node_affinity is not None else None


def pinned_node(pod: Pod) -> str | None:
    """The node that the pod's required node affinity leaves, if every term names the same one."""
    required = required_affinity(pod)
    if required is None or not required.node_selector_terms:
        return None
    nodes = {_node_of_term(term) for term in required.node_selector_terms if not _is_empty(term)}
    return nodes.pop() if len(nodes) == 1 else None


def pin(pod: Pod, node: str) -> NodeSelector:
    """The pod's required node affinity, narrowed to `node`."""
    here = NodeSelectorRequirement(key=NODE_NAME_FIELD, operator="In", values=(node,))
    required = required_affinity(pod)
    if required is None or not required.node_selector_terms:
        return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(here,)),))
    return NodeSelector(
        node_selector_terms=tuple(
            term
            if _is_empty(term) or here in term.match_fields
            else NodeSelectorTerm(match_expressions=term.match_expressions, match_fields=(*term.match_fields, here))
            for term in required.node_selector_terms
        )
    )


def ungate(pod: Pod, required: NodeSelector | None = None) -> Ungate:
    """Lift our gate; `required`: with this node affinity."""
    return Ungate(pod.key, pod.uid, pod.metadata.resource_version, required)


def _is_empty(term: NodeSelectorTerm) -> bool:
    return not term.match_expressions and not term.match_fields


def _node_of_term(term: NodeSelectorTerm) -> str | None:
    for requirement in term.match_fields:
        if requirement.key == NODE_NAME_FIELD and requirement.operator == "In" and len(requirement.values) == 1:
            return requirement.values[0]
    return None
