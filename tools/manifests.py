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

from dra_operator.api.names import (
    ALLOCATION_LABEL,
    DOMAIN,
    GATE,
    GATE_CONFIGURATION,
    OPERATOR_NAMESPACE,
    SELECTORS_CONFIGURATION,
    WEBHOOK_SERVICE,
)
from dra_operator.api.rights import (
    AGENT,
    CONTROLLER,
    CONTROLLER_ACCOUNT,
    CONTROLLER_OWN,
    EVICT,
    VIEW,
    WEBHOOK,
    WEBHOOK_OWN,
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
        "manifests/components/webhook-server/rbac.yaml": _file(
            "What serving the admission webhooks needs: one Secret, and configurations of our own names.",
            _role(WEBHOOK),
            _role(WEBHOOK_OWN),
        ),
        "manifests/components/webhook/gate.yaml": "".join(_gate_webhook()),
        "manifests/components/selectors/webhook.yaml": "".join(
            _selectors_webhook(
                "MutatingWebhookConfiguration",
                "Ignore",
                "A built-in API checks expressions itself, with fewer words, and before it asks any *validating* "
                "webhook. So this is a mutating one, which changes nothing and is asked first. failurePolicy Ignore: "
                "what it lets through the API server still checks.",
            )
        ),
        "manifests/components/selectors-crd/webhook.yaml": "".join(
            _selectors_webhook(
                "ValidatingWebhookConfiguration",
                "Fail",
                "Where resource.k8s.io is served from CustomResourceDefinitions nobody else checks expressions. So "
                "failurePolicy is Fail, as the built-in API would refuse them always. While no replica answers, kube-"
                "system, openshift-* and our own namespace go on as ever: their claims and templates are not asked "
                "about, and a selector that does not compile is found when their pods want devices.",
            )
        ),
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


_NOT_IN_A_WORKLOAD: Final = """\
- name: not-in-a-workload
  expression: "!has(object.spec.workloadRef)" # what schedulingGroup was called in 1.35
"""


_NOT_OPENSHIFT: Final = f"""\
- name: not-openshift
  expression: "!request.namespace.startsWith('{EXCLUDED_NAMESPACE_PREFIX}')"
"""


def _tenants() -> str:
    """All namespaces but the cluster's and our own, which go on as ever when we are not there."""
    names = [*sorted(EXCLUDED_NAMESPACES), OPERATOR_NAMESPACE]
    return f"""\
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {_list(names)}
"""


def gate_constraints() -> str:
    """Which requests a gate looks at: `matchConstraints` of a policy, the same of a webhook."""
    return f"""\
{_tenants()}\
    - key: {ALLOCATION_LABEL}
      operator: NotIn
      values: [disabled]
"""


def gate_conditions(*, webhook: bool = False) -> str:
    """Which pods a gate leaves alone: `matchConditions` of a policy, and of a webhook, which 1.35 has, too."""
    more = _NOT_IN_A_WORKLOAD if webhook else ""
    return f"""\
- name: has-claims
  expression: has(object.spec.resourceClaims) && size(object.spec.resourceClaims) > 0
- name: not-bound
  expression: "!has(object.spec.nodeName) || object.spec.nodeName == ''"
- name: not-in-a-scheduling-group
  expression: "!has(object.spec.schedulingGroup)"
{more}{_NOT_OPENSHIFT}\
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
    yield _head("admissionregistration.k8s.io", "MutatingAdmissionPolicy", GATE_CONFIGURATION)
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
    # "/-" appends, so gates of others (Kueue's, say) stay; without a list there is nothing to append to. The values are
    # maps, not `Object.spec.schedulingGates{{…}}`: of a list of those the API server 1.36 makes a panic.
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          has(object.spec.schedulingGates)
          ? [JSONPatch{{
              op: "add",
              path: "/spec/schedulingGates/-",
              value: {{"name": "{GATE}"}}
            }}]
          : [JSONPatch{{
              op: "add",
              path: "/spec/schedulingGates",
              value: [{{"name": "{GATE}"}}]
            }}]
---
"""
    yield _head("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", GATE_CONFIGURATION)
    yield f"spec:\n  policyName: {GATE_CONFIGURATION}\n"


def _gate_webhook() -> Iterator[str]:
    yield f"""\
# Gives each new pod with resource claims the scheduling gate {GATE}, where the API server has no
# MutatingAdmissionPolicy v1 (1.34, 1.35). Who is left alone is decided by the API server, as the policy says it: see
# manifests/base/gate-policy.yaml.
#
# failurePolicy Fail: docs/decisions/gate-webhook-fails-closed.md. Pods without claims, of kube-system, openshift-*, our
# own namespace and disabled namespaces never get as far as the webhook, whether it answers or not.
#
# caBundle is not here: the operator keeps it.
#
{_MADE}
"""
    yield _head("admissionregistration.k8s.io", "MutatingWebhookConfiguration", GATE_CONFIGURATION)
    yield f"""\
webhooks:
  - name: gate.{DOMAIN}
    admissionReviewVersions: [v1]
    clientConfig:
      service:
        name: {WEBHOOK_SERVICE}
        namespace: {OPERATOR_NAMESPACE}
        port: 443
        path: /gate
    failurePolicy: Fail
    # A later plugin may add claims to a pod that had none: look again if one changed it.
    reinvocationPolicy: IfNeeded
    matchPolicy: Equivalent
    sideEffects: None
    timeoutSeconds: 10
"""
    yield textwrap.indent(gate_constraints(), "    ")
    yield """\
    rules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [pods]
        scope: Namespaced
    matchConditions:
"""
    yield textwrap.indent(gate_conditions(webhook=True), "      ")


def _selectors_webhook(kind: str, failure_policy: str, why: str) -> Iterator[str]:
    yield _comment(
        "Has the expressions of classes, claims and templates checked before they are stored; the answer names the "
        "field, shows the expression with a caret below the place, and says what to write instead."
    )
    yield f"#\n{_comment(why)}#\n# caBundle is not here: the operator keeps it.\n#\n{_MADE}\n"
    yield _head("admissionregistration.k8s.io", kind, SELECTORS_CONFIGURATION)
    ours = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{CONTROLLER_ACCOUNT}"
    yield f"""\
webhooks:
  - name: selectors.{DOMAIN}
    admissionReviewVersions: [v1]
    clientConfig:
      service:
        name: {WEBHOOK_SERVICE}
        namespace: {OPERATOR_NAMESPACE}
        port: 443
        path: /selectors
    failurePolicy: {failure_policy}
    matchPolicy: Equivalent
    sideEffects: None
    timeoutSeconds: 10
{textwrap.indent(_tenants(), "    ")}\
    rules:
      - apiGroups: [resource.k8s.io]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [resourceclaims, resourceclaimtemplates]
        scope: Namespaced
      - apiGroups: [resource.k8s.io]
        apiVersions: [v1]
        operations: [CREATE, UPDATE]
        resources: [deviceclasses]
        scope: Cluster
    matchConditions:
      # The operator's own claims are made from templates that were checked.
      - name: not-ours
        expression: request.userInfo.username != '{ours}'
      # A class that is only labelled or freed of a finalizer, by the garbage collector, say.
      - name: spec-changes
        expression: request.operation == 'CREATE' || object.?spec != oldObject.?spec
      - name: not-openshift
        expression: "!request.?namespace.orValue('').startsWith('{EXCLUDED_NAMESPACE_PREFIX}')" # a class has none
"""


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
