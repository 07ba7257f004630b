"""The spec of a claim: requests, constraints, configuration.

Upstream: `validateDeviceClaim` in pkg/apis/resource/validation, with `AuthorizedForAdmin` of pkg/registry/resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dra_operator.validation import names
from dra_operator.validation.errors import (
    FieldError,
    child,
    covered,
    forbidden,
    index,
    invalid,
    not_supported,
    required,
)
from dra_operator.validation.expressions import (
    CostOfClaim,
    Expressions,
    check_derived_expression,
    check_selector_expression,
)
from dra_operator.validation.gates import Gates
from dra_operator.validation.lists import check_items, check_set
from dra_operator.validation.rawjson import PARAMETERS_MAX, check_raw_object
from dra_operator.validation.taints import check_toleration
from dra_operator.validation.types import (
    DeviceClaim,
    DeviceClaimConfiguration,
    DeviceConstraint,
    DeviceDerivedAttribute,
    DeviceRequest,
    DeviceSelector,
    DeviceSubRequest,
    ExactDeviceRequest,
    OpaqueDeviceConfiguration,
    ResourceClaimSpec,
)

ADMIN_NAMESPACE_LABEL: Final = "resource.kubernetes.io/admin-access"
REQUESTS_MAX: Final = 32
SELECTORS_MAX: Final = 32
CONFIG_MAX: Final = 32
_CONSTRAINTS_MAX: Final = 32
_SUBREQUESTS_MAX: Final = 8
_MODES: Final = ("All", "ExactCount")
_ONE_OF: Final = "exactly one of `exactly` or `firstAvailable` is required"
_NOT_A_REQUEST: Final = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

RequestNames = Mapping[str, frozenset[str]]
"""The requests of a claim, each with its subrequests."""


def check_claim_spec(path: str, spec: ResourceClaimSpec, gates: Gates, expressions: Expressions) -> list[FieldError]:
    return _Claim(spec.devices, gates, expressions).check(child(path, "devices"))


def check_admin_access(spec: ResourceClaimSpec, namespace_labels: Mapping[str, str]) -> list[FieldError]:
    """Admin access needs a namespace that is labelled for it. Only the first such request is named.

    The path is the API server's: it leaves out `exactly`, and in a template the second `spec`.
    """
    for i, request in enumerate(spec.devices.requests or ()):
        if request.exactly is not None and request.exactly.admin_access:
            path = child(index("spec.devices.requests", i), "adminAccess")
            return check_admin_label(path, namespace_labels)
    return []


def check_admin_label(path: str, namespace_labels: Mapping[str, str]) -> list[FieldError]:
    if namespace_labels.get(ADMIN_NAMESPACE_LABEL) == "true":
        return []
    detail = f"admin access to devices requires the `{ADMIN_NAMESPACE_LABEL}: true` label on the containing namespace"
    return [forbidden(path, detail)]


def request_names(claim: DeviceClaim) -> RequestNames:
    return {
        request.name: frozenset(sub.name for sub in request.first_available or ()) for request in claim.requests or ()
    }


def check_request_reference(path: str, name: str, known: RequestNames) -> list[FieldError]:
    """`request` or `request/subrequest`."""
    segments = name.split("/")
    if len(segments) > 2:
        return [invalid(path, name, _NOT_A_REQUEST)]
    found = [error for segment in segments for error in names.label(path, segment)]
    subrequests = known.get(segments[0])
    if subrequests is None or (len(segments) == 2 and segments[1] not in subrequests):
        found.append(invalid(path, name, _NOT_A_REQUEST))
    return found


def check_request_references(path: str, references: tuple[str, ...] | None, known: RequestNames) -> list[FieldError]:
    return check_set(
        path,
        references,
        lambda where, name: check_request_reference(where, name, known),
        lambda name: name,
        limit=REQUESTS_MAX,
    )


def check_selectors(
    path: str, selectors: tuple[DeviceSelector, ...] | None, expressions: Expressions
) -> list[FieldError]:
    def check(where: str, selector: DeviceSelector) -> list[FieldError]:
        if selector.cel is None:
            return [required(child(where, "cel"))]
        return check_selector_expression(child(where, "cel", "expression"), selector.cel.expression, expressions)

    return check_items(path, selectors, check, limit=SELECTORS_MAX)


def check_opaque(path: str, opaque: OpaqueDeviceConfiguration | None, *, stored: bool = False) -> list[FieldError]:
    """The one kind of configuration that there is."""
    where = child(path, "opaque")
    if opaque is None:
        return [required(where)]
    found = names.declared_driver_name(child(where, "driver"), opaque.driver)
    return found + check_raw_object(child(where, "parameters"), opaque.parameters, PARAMETERS_MAX, stored=stored)


class _Claim:
    def __init__(self, claim: DeviceClaim, gates: Gates, expressions: Expressions) -> None:
        self._claim = claim
        self._gates = gates
        self._expressions = expressions
        self._names = request_names(claim)
        self._constrained = _constrained_attributes(claim)
        self._cost = CostOfClaim()

    def check(self, path: str) -> list[FieldError]:
        claim = self._claim
        found = check_set(
            child(path, "requests"), claim.requests, self._request, lambda each: each.name, limit=REQUESTS_MAX
        )
        found += check_items(child(path, "constraints"), claim.constraints, self._constraint, limit=_CONSTRAINTS_MAX)
        found += check_items(child(path, "config"), claim.config, self._configuration, limit=CONFIG_MAX)
        if self._cost.exceeded:
            detail = "too complex, total cost of derived attribute CEL expressions in the claim exceeds cost limit"
            found.append(forbidden(path, detail))
        return found

    def _request(self, path: str, request: DeviceRequest) -> list[FieldError]:
        found = names.label(child(path, "name"), request.name)
        if request.exactly is not None and request.first_available:
            detail = f"{_ONE_OF}, but multiple fields are set"
            return [*found, invalid(path, None, detail)]
        if request.exactly is not None:
            return found + self._exactly(child(path, "exactly"), request.exactly, request.name)
        if request.first_available:
            return found + check_set(
                child(path, "firstAvailable"),
                request.first_available,
                lambda where, sub: self._subrequest(where, sub, request.name),
                lambda sub: sub.name,
                limit=_SUBREQUESTS_MAX,
            )
        return [*found, required(path, _ONE_OF)]

    def _subrequest(self, path: str, sub: DeviceSubRequest, parent: str) -> list[FieldError]:
        found = names.label(child(path, "name"), sub.name)
        found += covered(names.class_name(child(path, "deviceClassName"), sub.device_class_name))
        return found + self._wishes(path, sub, f"{parent}/{sub.name}")

    def _exactly(self, path: str, exactly: ExactDeviceRequest, name: str) -> list[FieldError]:
        found = names.class_name(child(path, "deviceClassName"), exactly.device_class_name)
        return found + self._wishes(path, exactly, name)

    def _wishes(self, path: str, request: ExactDeviceRequest | DeviceSubRequest, name: str) -> list[FieldError]:
        """What requests and subrequests have in common."""
        found = check_selectors(child(path, "selectors"), request.selectors, self._expressions)
        found += check_set(
            child(path, "derivedAttributes"),
            request.derived_attributes,
            lambda where, each: self._derived(where, each, name),
            lambda each: each.name,
            declared=False,
        )
        found += _allocation_mode(path, request.allocation_mode, request.count)
        for i, toleration in enumerate(request.tolerations or ()):
            found += check_toleration(index(child(path, "tolerations"), i), toleration)
        return found

    def _derived(self, path: str, attribute: DeviceDerivedAttribute, name: str) -> list[FieldError]:
        found: list[FieldError] = []
        targets = ("", name, name.partition("/")[0])
        if attribute.name and not any(attribute.name in self._constrained.get(target, ()) for target in targets):
            constraints = "at least one matchAttribute or distinctAttribute constraint targeting this request"
            detail = f"must be referenced by {constraints}"
            found.append(invalid(child(path, "name"), attribute.name, detail))
        if attribute.expression:
            where = child(path, "expression")
            found += check_derived_expression(where, attribute.expression, self._expressions, self._cost)
        return found

    def _constraint(self, path: str, constraint: DeviceConstraint) -> list[FieldError]:
        found = check_request_references(child(path, "requests"), constraint.requests, self._names)
        if constraint.match_attribute is not None:
            where = child(path, "matchAttribute")
            return found + covered(names.fully_qualified_name(where, constraint.match_attribute))
        if constraint.distinct_attribute is not None:
            where = child(path, "distinctAttribute")
            return found + covered(names.fully_qualified_name(where, constraint.distinct_attribute))
        if self._gates.enabled("DRAConsumableCapacity"):
            # The words are the API server's, also where they miss the point.
            both = '"matchAttribute" or "distinctAttribute"'
            return [*found, required(path, f"exactly one of {both} is required, but multiple fields are set")]
        return [*found, required(child(path, "matchAttribute"))]

    def _configuration(self, path: str, config: DeviceClaimConfiguration) -> list[FieldError]:
        found = check_request_references(child(path, "requests"), config.requests, self._names)
        return found + check_opaque(path, config.opaque)


def _allocation_mode(path: str, mode: str, count: int) -> list[FieldError]:
    where = child(path, "count")
    if mode == "All":
        return [invalid(where, count, "must not be specified when allocationMode is 'All'")] if count else []
    if mode == "ExactCount":
        return [] if count > 0 else [invalid(where, count, "must be greater than zero")]
    return [not_supported(child(path, "allocationMode"), mode, _MODES, covered=True)]


def _constrained_attributes(claim: DeviceClaim) -> dict[str, set[str]]:
    """The attributes that constraints name, by request; those of all requests under the empty name."""
    found: dict[str, set[str]] = {}
    for constraint in claim.constraints or ():
        attribute = constraint.match_attribute
        if attribute is None:
            attribute = constraint.distinct_attribute
        if attribute is not None:
            for request in constraint.requests or ("",):
                found.setdefault(request, set()).add(attribute)
    return found
