"""Writes what repeats in manifests/: roles and bindings, the gate policy's exclusions, who the flow schemas are for.

The sources are `dra_operator.api.rights` (who needs what, and why) and `dra_operator.lifecycle.gate` (which pods are
left alone): what the program does and what an admin applies cannot drift apart.

python tools/manifests.py          writes the files
python tools/manifests.py --check  ends with 1 if one is not as it would be written
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from dra_operator.api.names import ALLOCATION_LABEL, GATE, OPERATOR_NAMESPACE
from dra_operator.api.rights import (
    AGENT,
    CONTROLLER,
    CONTROLLER_ACCOUNT,
    CONTROLLER_OWN,
    EVICT,
    GATE_POLICY,
    VIEW,
    Right,
    Role,
)
from dra_operator.lifecycle.gate import EXCLUDED_NAMESPACE_PREFIX, EXCLUDED_NAMESPACES

ROOT: Final = Path(__file__).parents[1]
_MADE: Final = "# Made by `make manifests`; edit the code instead."
_LABELS: Final = {"app.kubernetes.io/part-of": "dra-operator"}
_RBAC: Final = "rbac.authorization.k8s.io"
_WIDTH: Final = 118


def files() -> Mapping[str, str]:
    """Text by path."""
    return {
        "manifests/base/rbac-operator.yaml": _file(
            "The controller's rights, and nothing for later: operator/dra_operator/api/rights.py has them.",
            _role(CONTROLLER),
            _role(CONTROLLER_OWN),
        ),
        "manifests/base/rbac-agent.yaml": _file("The node agent's rights.", _role(AGENT)),
        "manifests/components/evict/rbac.yaml": _file("What `--repack=evict` needs.", _role(EVICT)),
        "manifests/components/controller/view-role.yaml": _file(
            "Claims and templates come with Kubernetes' own view role where the API is built in.",
            _role(
                VIEW,
                {f"{_RBAC}/aggregate-to-{name}": '"true"' for name in ("view", "edit", "admin")},
            ),
        ),
        "manifests/base/flow-schemas.yaml": _file(
            "Without these the operator shares the priority level of every other service account (workload-low): a "
            "burst of some tenant's controller would delay allocations, and could cost the operator its lease. Both "
            "levels exist in every cluster.",
            _flow_schema(
                "dra-operator-leader-election",
                "leader-election",
                200,
                f"""\
                - apiGroups: [coordination.k8s.io]
                  resources: [leases]
                  verbs: {_list(sorted({verb for right in CONTROLLER_OWN.rights for verb in right.verbs}))}
                  namespaces: [{OPERATOR_NAMESPACE}]
                """,
            ),
            _flow_schema(
                "dra-operator",
                "workload-high",
                850,
                f"""\
                - apiGroups: {_list(["", "resource.k8s.io", "events.k8s.io"])}
                  resources: ["*"]
                  verbs: ["*"]
                  clusterScope: true
                  namespaces: ["*"]
                """,
            ),
        ),
        "manifests/base/gate-policy.yaml": "".join(_gate_policy()),
    }


# --- parts -----------------------------------------------------------------------------------------------------------


def _file(why: str, *documents: str) -> str:
    return _comment(why) + f"#\n{_MADE}\n" + "---\n".join(documents)


def _comment(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    return "".join(f"{line}\n" for line in lines)


def _list(items: Iterable[str]) -> str:
    return "[" + ", ".join(item if item and item != "*" else f'"{item}"' for item in items) + "]"


def _head(group: str, kind: str, name: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> str:
    where = f"  namespace: {namespace}\n" if namespace else ""
    pairs = "".join(f"    {key}: {value}\n" for key, value in {**_LABELS, **(labels or {})}.items())
    return f"apiVersion: {group}/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{where}  labels:\n{pairs}"


def _role(role: Role, labels: Mapping[str, str] | None = None) -> str:
    """The role and, if it is somebody's, its binding."""
    kind = "Role" if role.namespace else "ClusterRole"
    text = _head(_RBAC, kind, role.name, role.namespace, labels) + "rules:\n" + "".join(_rules(role.rights))
    if not role.account:
        return text
    return (
        f"{text}---\n{_head(_RBAC, kind + 'Binding', role.name, role.namespace)}"
        f"roleRef:\n  apiGroup: {_RBAC}\n  kind: {kind}\n  name: {role.name}\n"
        f"subjects:\n  - kind: ServiceAccount\n    name: {role.account}\n    namespace: {OPERATOR_NAMESPACE}\n"
    )


def _rules(rights: Iterable[Right]) -> Iterator[str]:
    told = ""
    for right in rights:
        if right.why != told:
            yield _comment(right.why, "  ")
        told = right.why
        yield f"  - apiGroups: {_list([right.group])}\n    resources: {_list(right.resources)}\n"
        if right.names:
            yield f"    resourceNames: {_list(right.names)}\n"
        yield f"    verbs: {_list(right.verbs)}\n"


def _flow_schema(name: str, level: str, precedence: int, resource_rules: str) -> str:
    rules = textwrap.indent(textwrap.dedent(resource_rules), " " * 8)
    return (
        _head("flowcontrol.apiserver.k8s.io", "FlowSchema", name)
        + f"""\
spec:
  priorityLevelConfiguration:
    name: {level}
  matchingPrecedence: {precedence}
  distinguisherMethod:
    type: ByUser
  rules:
    - subjects:
        - kind: ServiceAccount
          serviceAccount:
            name: {CONTROLLER_ACCOUNT}
            namespace: {OPERATOR_NAMESPACE}
      resourceRules:
{rules}"""
    )


def gate_constraints() -> str:
    """Which requests a gate looks at: `matchConstraints` of a policy, the same of a webhook."""
    names = [*sorted(EXCLUDED_NAMESPACES), OPERATOR_NAMESPACE]
    return f"""\
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {_list(names)}
    - key: {ALLOCATION_LABEL}
      operator: NotIn
      values: [disabled]
"""


def gate_conditions() -> str:
    """Which pods a gate leaves alone: `matchConditions` of a policy, and of a webhook."""
    return f"""\
- name: has-claims
  expression: has(object.spec.resourceClaims) && size(object.spec.resourceClaims) > 0
- name: not-bound
  expression: "!has(object.spec.nodeName) || object.spec.nodeName == ''"
- name: not-in-a-scheduling-group
  expression: "!has(object.spec.schedulingGroup)"
- name: not-openshift
  expression: "!request.namespace.startsWith('{EXCLUDED_NAMESPACE_PREFIX}')"
- name: not-gated-yet
  expression: >-
    !has(object.spec.schedulingGates) ||
    !object.spec.schedulingGates.exists(gate, gate.name == '{GATE}')
"""


def _gate_policy() -> Iterator[str]:
    yield f"""\
# Gives each new pod with resource claims the scheduling gate {GATE}, so that the operator and not
# kube-scheduler chooses its devices. Needs Kubernetes 1.36 (admissionregistration.k8s.io/v1): older servers refuse it.
#
# Left alone: pods that already name a node (the API refuses gates there), pods of a scheduling group (all of a group
# is scheduled at once), kube-system, openshift-*, the operator's own namespace, and every namespace labelled
# {ALLOCATION_LABEL}: disabled.
#
# failurePolicy Fail: nothing remote is called, so the policy cannot be "down"; what can fail is an expression, and
# those look only at fields that they have tested for. A pod that slipped through ungated would get devices by other
# rules than its namespace expects, and nobody would be told; a refused one tells its creator. Pods without claims are
# let through by the first condition whatever happens to the rest (a false condition outweighs an error).
#
{_MADE}
"""
    yield _head("admissionregistration.k8s.io", "MutatingAdmissionPolicy", GATE_POLICY)
    yield """\
spec:
  failurePolicy: Fail
  # A later plugin may add claims to a pod that had none: look again if one changed it.
  reinvocationPolicy: IfNeeded
  matchConstraints:
"""
    yield textwrap.indent(gate_constraints(), "    ")
    yield """\
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [pods]
        scope: Namespaced
  matchConditions:
"""
    yield textwrap.indent(gate_conditions(), "    ")
    yield f"""\
  mutations:
    # "/-" appends, so gates of others (Kueue's, say) stay; without a list there is nothing to append to.
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          has(object.spec.schedulingGates)
          ? [JSONPatch{{
              op: "add",
              path: "/spec/schedulingGates/-",
              value: Object.spec.schedulingGates{{name: "{GATE}"}}
            }}]
          : [JSONPatch{{
              op: "add",
              path: "/spec/schedulingGates",
              value: [Object.spec.schedulingGates{{name: "{GATE}"}}]
            }}]
---
"""
    yield _head("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", GATE_POLICY)
    yield f"spec:\n  policyName: {GATE_POLICY}\n"


def main() -> int:
    wrong = []
    for name, text in files().items():
        file = ROOT / name
        if "--check" not in sys.argv:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            wrong.append(name)
    if wrong:
        print(f"out of date: {', '.join(wrong)}; run `make manifests`")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
