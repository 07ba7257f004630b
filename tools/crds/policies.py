"""What a schema cannot say, as admission policies: what needs the namespace or the request, and the keys of maps.

CEL in an admission policy is bounded by what it costs when it runs, not by what it might cost; so what is too dear for
a schema is here, too. Nothing remote is called: failurePolicy Fail locks nobody out. What did not change is not looked
at again, as in the built-in API.

Upstream: pkg/registry/resource (`AuthorizedForAdmin`), pkg/apis/resource/validation, defaults.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tools.crds.patterns import DRIVER, LABEL, Schema

from dra_operator.api import content
from dra_operator.api.kinds import CLAIMS, CLASSES, SLICES, TAINT_RULES, TEMPLATES
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.validation import metadata, names

_API: Final = "admissionregistration.k8s.io/v1"
_LABELS: Final = {"app.kubernetes.io/part-of": "dra-operator"}
PREFIX: Final = "dra-operator-crd"
CHANGED: Final = ("changed", "request.operation == 'CREATE' || object.?spec != oldObject.?spec")
_PARTS: Final = 4
"""A slice is looked at in so many rules: each may cost a million, and 128 devices of 32 attributes can cost more."""


@dataclass(frozen=True)
class Policy:
    """A ValidatingAdmissionPolicy and its binding. Pairs are (name, expression) and (expression, message)."""

    name: str
    resources: Sequence[str]
    operations: Sequence[str]
    validations: Sequence[tuple[str, str]]
    conditions: Sequence[tuple[str, str]] = ()
    variables: Sequence[tuple[str, str]] = ()

    def manifests(self) -> Iterator[Schema]:
        yield {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": self.name, "labels": _LABELS},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": _match(self.resources, self.operations),
                **({"matchConditions": _named(self.conditions)} if self.conditions else {}),
                **({"variables": _named(self.variables)} if self.variables else {}),
                "validations": [{"expression": rule, "message": message} for rule, message in self.validations],
            },
        }
        yield {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": self.name, "labels": _LABELS},
            "spec": {"policyName": self.name, "validationActions": ["Deny"]},
        }


def _match(resources: Sequence[str], operations: Sequence[str]) -> Schema:
    rule = {
        "apiGroups": [CLAIMS.group],
        "apiVersions": [CLAIMS.version],
        "operations": list(operations),
        "resources": list(resources),
        "scope": "*",
    }
    return {"matchPolicy": "Exact", "resourceRules": [rule]}


def _named(pairs: Sequence[tuple[str, str]]) -> list[Schema]:
    return [{"name": name, "expression": expression} for name, expression in pairs]


# --- admin access ----------------------------------------------------------------------------------------------------

_LABELLED: Final = f"namespaceObject.metadata.?labels[?'{ADMIN_ACCESS_LABEL}'].orValue('') == 'true'"
_DENIED: Final = f"admin access to devices requires the `{ADMIN_ACCESS_LABEL}: true` label on the containing namespace"
_SPEC: Final = f"request.kind.kind == '{TEMPLATES.kind}' ? object.?spec.?spec : object.?spec"
_HAS_ADMIN: Final = "exists(r, r.?exactly.?adminAccess.orValue(false))"

ADMIN: Final = Policy(
    name=f"{PREFIX}-admin-access",
    resources=(CLAIMS.plural, TEMPLATES.plural),
    operations=("CREATE",),
    variables=(("requests", f"({_SPEC}).?devices.?requests.orValue([])"),),
    validations=((f"!variables.requests.{_HAS_ADMIN} || {_LABELLED}", _DENIED),),
)

# --- the status of claims --------------------------------------------------------------------------------------------


def _admin_results(of: str) -> str:
    results = f"{of}.?status.?allocation.?devices.?results.orValue([])"
    return f"{results}.exists(r, r.?adminAccess.orValue(false))"


def _same_device(a: str, b: str) -> str:
    fields = " && ".join(f"{a}.{name} == {b}.{name}" for name in ("driver", "pool", "device"))
    return f"{fields} && {a}.?shareID.orValue('') == {b}.?shareID.orValue('')"


STATUS: Final = Policy(
    name=f"{PREFIX}-claim-status",
    resources=(f"{CLAIMS.plural}/status",),
    operations=("UPDATE",),
    validations=(
        (f"!({_admin_results('object')}) || {_admin_results('oldObject')} || {_LABELLED}", _DENIED),
        (
            "!has(object.metadata.deletionTimestamp) || object.?status.?reservedFor.orValue([]).all(c, "
            "oldObject.?status.?reservedFor.orValue([]).exists(o, o == c))",
            "status.reservedFor: new entries may not be added while the claim is being deleted",
        ),
        (
            "object.?status.?devices.orValue([]).all(d, "
            "object.?status.?allocation.?devices.?results.orValue([])"
            f".exists(r, {_same_device('r', 'd')}) || "
            f"oldObject.?status.?devices.orValue([]).exists(o, {_same_device('o', 'd')}) && "
            "oldObject.?status.?allocation.?devices.?results.orValue([])"
            f".exists(r, {_same_device('r', 'd')}))",
            "status.devices: must be an allocated device in the claim",
        ),
    ),
)

# --- slices ----------------------------------------------------------------------------------------------------------

_QUALIFIED: Final = (
    f"^({DRIVER['pattern'].strip('^$')}/)?{content.IDENTIFIER.replace('*', f'{{0,{names.IDENTIFIER_MAX - 1}}}')}$"
)
_GOOD_KEY: Final = f"k.matches(r'{_QUALIFIED}') && k.indexOf('/') <= {names.DRIVER_MAX} || k.matches('^[^/]*/[^/]*/')"
_BAD_KEY: Final = (
    f"must be a C identifier of at most {names.IDENTIFIER_MAX} characters, or a domain of at most {names.DRIVER_MAX} "
    "characters, a slash and such an identifier"
)
_GOOD_COUNTER: Final = f"k.size() <= {content.LABEL_MAX} && k.matches(r'{LABEL['pattern']}')"
_BAD_COUNTER: Final = f"names of counters must be lowercase RFC 1123 labels of at most {content.LABEL_MAX} characters"


def _keys(field: str, part: int) -> tuple[str, str]:
    return (
        f"object.spec.?devices.orValue([]).all(i, d, i % {_PARTS} != {part} || "
        f"d.?{field}.orValue({{}}).all(k, {_GOOD_KEY}))",
        f"spec.devices[].{field}: {_BAD_KEY}",
    )


SLICE: Final = Policy(
    name=f"{PREFIX}-slices",
    resources=(SLICES.plural,),
    operations=("CREATE", "UPDATE"),
    conditions=(CHANGED,),
    validations=(
        *(_keys("attributes", part) for part in range(_PARTS)),
        *(_keys("capacity", part) for part in range(_PARTS)),
        (
            f"object.spec.?sharedCounters.orValue([]).all(s, s.?counters.orValue({{}}).all(k, {_GOOD_COUNTER}))",
            f"spec.sharedCounters[].counters: {_BAD_COUNTER}",
        ),
        (
            "object.spec.?devices.orValue([]).all(d, d.?consumesCounters.orValue([])"
            f".all(s, s.?counters.orValue({{}}).all(k, {_GOOD_COUNTER})))",
            f"spec.devices[].consumesCounters[].counters: {_BAD_COUNTER}",
        ),
    ),
)

# --- metadata --------------------------------------------------------------------------------------------------------

_STANDARD: Final = ", ".join(f"'{name}'" for name in sorted(metadata.STANDARD_FINALIZERS))

FINALIZERS: Final = Policy(
    name=f"{PREFIX}-finalizers",
    resources=tuple(kind.plural for kind in (CLASSES, TAINT_RULES, CLAIMS, TEMPLATES, SLICES)),
    operations=("CREATE", "UPDATE"),
    conditions=(("has-finalizers", "has(object.metadata.finalizers)"),),
    validations=(
        (
            f"object.metadata.finalizers.all(f, f.contains('/') || f in [{_STANDARD}])",
            "metadata.finalizers: name is neither a standard finalizer name nor is it fully qualified",
        ),
    ),
)
TEMPLATE: Final = Policy(
    name=f"{PREFIX}-templates",
    resources=(TEMPLATES.plural,),
    operations=("CREATE",),
    validations=tuple(
        (
            f"object.?spec.?metadata.?{field}.orValue({{}}).all(k, !format.qualifiedName().validate({key}).hasValue())",
            f"spec.metadata.{field}: keys must be qualified names, as example.com/MyName",
        )
        for field, key in (("labels", "k"), ("annotations", "k.lowerAscii()"))
    ),
)

POLICIES: Final = (ADMIN, STATUS, SLICE, FINALIZERS, TEMPLATE)


# --- defaults --------------------------------------------------------------------------------------------------------

_ROOT: Final = f"(request.kind.kind == '{TEMPLATES.kind}' ? '/spec/spec' : '/spec') + '/devices/requests/'"
_EXACTLY: Final = "string(i) + '/exactly/"
_SUB: Final = "string(i) + '/firstAvailable/' + string(j) + '/"
_NO_MODE: Final = "{0}.?allocationMode.orValue('') == ''"
_NO_COUNT: Final = "{0}.?allocationMode.orValue('') in ['', 'ExactCount'] && {0}.?count.orValue(0) == 0"


def _paths(field: str, where: str) -> str:
    """The paths of the field in those requests and subrequests that it is to be written into."""
    subs = f"r.?firstAvailable.orValue([]).transformList(j, s, {where.format('s')}, {_SUB}{field}')"
    return (
        f"variables.requests.transformList(i, r, r.?exactly.hasValue() && {where.format('r.exactly')}, "
        f"{_EXACTLY}{field}') + variables.requests.transformList(i, r, {subs}).flatten()"
    )


def _patches(paths: str, value: str) -> Schema:
    patch = f"JSONPatch{{op: 'add', path: variables.root + path, value: {value}}}"
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": f"variables.{paths}.map(path, {patch})"}}


def defaults() -> Iterator[Schema]:
    """What a schema cannot default: the count by the mode, and what is there but empty.

    Not where the spec stays as it is: what was stored without a count could never be written again.
    """
    yield {
        "apiVersion": _API,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": f"{PREFIX}-defaults", "labels": _LABELS},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": _match((CLAIMS.plural, TEMPLATES.plural), ("CREATE", "UPDATE")),
            "matchConditions": _named((CHANGED,)),
            "variables": _named(
                (
                    ("root", _ROOT),
                    ("requests", f"({_SPEC}).?devices.?requests.orValue([])"),
                    ("counts", _paths("count", _NO_COUNT)),
                    ("modes", _paths("allocationMode", _NO_MODE)),
                )
            ),
            "mutations": [_patches("counts", "1"), _patches("modes", "'ExactCount'")],
        },
    }
    yield {
        "apiVersion": _API,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": f"{PREFIX}-defaults", "labels": _LABELS},
        "spec": {"policyName": f"{PREFIX}-defaults"},
    }
