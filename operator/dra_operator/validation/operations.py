"""What the API server does with an object that it is asked to store: prepare, check by hand, check what is declared.

Create, update, and update of the status differ in what is prepared, what is checked, and in which order; the errors
come in the API server's order, so that the first of ours is the first of its.

Upstream: `BeforeCreate`, `BeforeUpdate` in k8s.io/apiserver/pkg/registry/rest, the strategies in pkg/registry/resource.
Not here: authorization, admission, conflicts of resourceVersion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar, cast

from msgspec.structs import replace

from dra_operator.api import content
from dra_operator.validation import names
from dra_operator.validation.claimspec import (
    check_admin_access,
    check_admin_label,
    check_claim_spec,
    check_opaque,
    check_selectors,
    request_names,
)
from dra_operator.validation.claimstatus import check_claim_status
from dra_operator.validation.conditions import check_conditions
from dra_operator.validation.declared import check_declared
from dra_operator.validation.defaults import with_defaults
from dra_operator.validation.equality import same
from dra_operator.validation.errors import FieldError, child, covered, index, invalid, merge, too_many
from dra_operator.validation.expressions import Expressions
from dra_operator.validation.gates import DEFAULT_GATES, Gates, drop_disabled
from dra_operator.validation.lists import check_items
from dra_operator.validation.metadata import (
    check_finalizer_names,
    check_metadata,
    check_metadata_change,
    check_template_metadata,
    path_segment_name,
    subdomain_name,
)
from dra_operator.validation.metatypes import Object, ObjectMeta, OwnerReference
from dra_operator.validation.pods import Pod, check_pod_claims
from dra_operator.validation.slicespec import check_slice_spec
from dra_operator.validation.slicetypes import ResourceSlice
from dra_operator.validation.taints import check_taint
from dra_operator.validation.types import (
    DeviceClass,
    DeviceClassConfiguration,
    DeviceClassSpec,
    DeviceTaintRule,
    DeviceTaintRuleSpec,
    DeviceTaintRuleStatus,
    DeviceTaintSelector,
    ResourceClaim,
    ResourceClaimStatus,
    ResourceClaimTemplate,
)

O = TypeVar("O", bound=Object)  # noqa: E741
Labels = Mapping[str, str]

_CONFIG_MAX: Final = 32
_CONDITIONS_MAX: Final = 8
_IMMUTABLE: Final = "field is immutable"
_SOME_NAMESPACE: Final = "default"
"""Where an object does not say its namespace, the request does."""
_NAMESPACED: Final = (ResourceClaim, ResourceClaimTemplate, Pod)


def validate(
    new: Object,
    *,
    gates: Gates = DEFAULT_GATES,
    namespace_labels: Labels | None = None,
    expressions: Expressions | None = None,
) -> tuple[FieldError, ...]:
    """What the API server answers to the creation of this object: nothing, or what is wrong with it.

    Without the labels of the namespace nothing is said about admin access. Of a pod only metadata and claims are looked
    at. `expressions`: those that were compiled already, under the same gates.
    """
    if isinstance(new, Pod):
        meta = _prepared_for_create(new, gates).metadata
        return tuple(_metadata(meta, namespaced=True) + check_pod_claims("spec", new.spec, meta.annotations or {}))
    prepared = _prepared_for_create(with_defaults(new), gates)
    found = _check_create(prepared, gates, expressions or Expressions(gates), namespace_labels)
    if not found:
        # The common rules come after the special ones, whose words are better, and only if these find nothing.
        found = check_metadata(
            "metadata", prepared.metadata, namespaced=isinstance(new, _NAMESPACED), name_rule=path_segment_name
        )
    return merge(found, check_declared(prepared, None, gates))


def validate_update(
    new: Object, old: Object, *, gates: Gates = DEFAULT_GATES, expressions: Expressions | None = None
) -> tuple[FieldError, ...]:
    """What the API server answers to this change of an object."""
    before = with_defaults(old)
    prepared = _prepared_for_update(with_defaults(new), before, gates)
    found = _common_update_checks(prepared, before)
    found += _check_update(prepared, before, gates, expressions or Expressions(gates))
    return merge(found, check_declared(prepared, before, gates))


def validate_status_update(
    new: Object, old: Object, *, gates: Gates = DEFAULT_GATES, namespace_labels: Labels | None = None
) -> tuple[FieldError, ...]:
    """What the API server answers to this change of an object's status."""
    before = with_defaults(old)
    given = with_defaults(new)
    meta = replace(
        given.metadata,
        labels=before.metadata.labels,
        annotations=before.metadata.annotations,
        finalizers=before.metadata.finalizers,
        owner_references=before.metadata.owner_references,
        deletion_timestamp=before.metadata.deletion_timestamp,
        generation=before.metadata.generation,
        self_link=before.metadata.self_link,
    )
    match given, before:
        case ResourceClaim(), ResourceClaim():
            claim = replace(given, metadata=meta, spec=before.spec)
            claim = drop_disabled(_prepared_metadata(claim, before), before, gates)
            claim = replace(claim, status=_without_deallocated(claim.status, before.status))
            found = _common_update_checks(claim, before)
            if namespace_labels is not None:
                found += _check_admin_status(claim.status, before.status, namespace_labels)
            found += _metadata_change(claim.metadata, before.metadata)
            known = request_names(claim.spec.devices)
            deleting = claim.metadata.deletion_timestamp is not None
            found += check_claim_status("status", claim.status, before.status, known, deleting=deleting)
            return merge(found, check_declared(claim, before, gates))
        case DeviceTaintRule(), DeviceTaintRule():
            rule = _prepared_metadata(replace(given, metadata=meta, spec=before.spec), before)
            found = _common_update_checks(rule, before)
            found += _metadata_change(rule.metadata, before.metadata)
            conditions = rule.status.conditions or ()
            found += check_conditions("status.conditions", conditions)
            if len(conditions) > _CONDITIONS_MAX:
                found.append(too_many("status.conditions", len(conditions), _CONDITIONS_MAX))
            return merge(found, check_declared(rule, before, gates))
    raise TypeError(f"{type(new).__name__} has no status")


# --- preparation -----------------------------------------------------------------------------------------------------


def _prepared_for_create(new: O, gates: Gates) -> O:
    namespaced = isinstance(new, _NAMESPACED)
    meta = replace(
        new.metadata,
        namespace=(new.metadata.namespace or _SOME_NAMESPACE) if namespaced else "",
        uid="",
        self_link="",
        generation=new.metadata.generation if namespaced else 1,
        creation_timestamp=None,
        deletion_timestamp=None,
        deletion_grace_period_seconds=None,
        owner_references=_without_twins(new.metadata.owner_references),
        managed_fields=None,
    )
    if meta.generate_name and not meta.name:
        meta = replace(meta, name=_generated(meta.generate_name))
    prepared: Object = replace(new, metadata=meta)
    match prepared:
        case ResourceClaim():
            prepared = replace(prepared, status=ResourceClaimStatus())
        case DeviceTaintRule():
            prepared = replace(prepared, status=DeviceTaintRuleStatus())
    return cast(O, drop_disabled(prepared, None, gates))


def _prepared_for_update(new: O, old: Object, gates: Gates) -> O:
    prepared: Object = _prepared_metadata(new, old)
    match prepared, old:
        case ResourceClaim(), ResourceClaim():
            prepared = replace(prepared, status=old.status)
        case DeviceTaintRule(), DeviceTaintRule():
            prepared = replace(prepared, status=old.status)
    return cast(O, drop_disabled(prepared, old, gates))


def _prepared_metadata(new: O, old: Object) -> O:
    """What a writer cannot change is as before; what it left out too."""
    seconds = new.metadata.deletion_grace_period_seconds
    if seconds is None:
        seconds = old.metadata.deletion_grace_period_seconds
    meta = replace(
        new.metadata,
        namespace=new.metadata.namespace or old.metadata.namespace,
        generation=old.metadata.generation,
        uid=new.metadata.uid or old.metadata.uid,
        creation_timestamp=old.metadata.creation_timestamp or new.metadata.creation_timestamp,
        deletion_timestamp=old.metadata.deletion_timestamp or new.metadata.deletion_timestamp,
        deletion_grace_period_seconds=seconds,
        owner_references=_without_twins(new.metadata.owner_references),
        managed_fields=None,
    )
    return replace(new, metadata=meta)


def _without_twins(owners: tuple[OwnerReference, ...] | None) -> tuple[OwnerReference, ...] | None:
    return None if owners is None else tuple(dict.fromkeys(owners))


_GENERATED_MAX: Final = 63 - 5


def _generated(prefix: str) -> str:
    """Some name that the API server could make of it: five characters more, at most 63."""
    return prefix[:_GENERATED_MAX] + "abcde"


def _without_deallocated(status: ResourceClaimStatus, old: ResourceClaimStatus) -> ResourceClaimStatus:
    """What drivers said about devices goes when the devices are given back."""

    def devices(of: ResourceClaimStatus) -> set[tuple[str, str, str, str]]:
        results = of.allocation.devices.results or () if of.allocation is not None else ()
        return {(each.driver, each.pool, each.device, each.share_id or "") for each in results}

    gone = devices(old) - devices(status)
    kept = tuple(
        each for each in status.devices or () if (each.driver, each.pool, each.device, each.share_id or "") not in gone
    )
    return replace(status, devices=kept or None)


# --- checks by kind --------------------------------------------------------------------------------------------------


def _check_create(
    new: Object, gates: Gates, expressions: Expressions, namespace_labels: Labels | None
) -> list[FieldError]:
    match new:
        case ResourceClaim():
            found = check_admin_access(new.spec, namespace_labels) if namespace_labels is not None else []
            found += _metadata(new.metadata, namespaced=True)
            return found + check_claim_spec("spec", new.spec, gates, expressions)
        case ResourceClaimTemplate():
            found = check_admin_access(new.spec.spec, namespace_labels) if namespace_labels is not None else []
            return found + _template(new, gates, expressions)
        case DeviceClass():
            return _class_metadata(new.metadata) + _class_spec("spec", new.spec, None, expressions)
        case ResourceSlice():
            return _metadata(new.metadata, namespaced=False) + check_slice_spec("spec", new.spec, None, gates)
        case DeviceTaintRule():
            return _metadata(new.metadata, namespaced=False) + _taint_rule_spec("spec", new.spec, None)
    raise TypeError(f"no rules for {type(new).__name__}")


def _check_update(new: Object, old: Object, gates: Gates, expressions: Expressions) -> list[FieldError]:
    match new, old:
        case ResourceClaim(), ResourceClaim():
            found = _metadata(new.metadata, namespaced=True)
            found += _metadata_change(new.metadata, old.metadata)
            if not same(new.spec, old.spec):
                found.append(invalid("spec", None, _IMMUTABLE, origin="immutable", covered=True))
            return found
        case ResourceClaimTemplate(), ResourceClaimTemplate():
            found = _template(new, gates, expressions)
            found += _metadata_change(new.metadata, old.metadata)
            if not same(new.spec, old.spec):
                found.append(invalid("spec", new.spec, _IMMUTABLE, internal=True))
            return found
        case DeviceClass(), DeviceClass():
            found = _class_metadata(new.metadata)
            found += _metadata_change(new.metadata, old.metadata)
            return found + _class_spec("spec", new.spec, old.spec, expressions)
        case ResourceSlice(), ResourceSlice():
            found = _metadata_change(new.metadata, old.metadata)
            return found + check_slice_spec("spec", new.spec, old.spec, gates)
        case DeviceTaintRule(), DeviceTaintRule():
            found = _metadata_change(new.metadata, old.metadata)
            return found + _taint_rule_spec("spec", new.spec, old.spec)
    raise TypeError(f"{type(old).__name__} cannot become {type(new).__name__}")


def _common_update_checks(new: Object, old: Object) -> list[FieldError]:
    found = check_metadata(
        "metadata", new.metadata, namespaced=isinstance(new, _NAMESPACED), name_rule=path_segment_name
    )
    return found + check_metadata_change("metadata", new.metadata, old.metadata)


def _metadata(meta: ObjectMeta, *, namespaced: bool) -> list[FieldError]:
    found = check_metadata("metadata", meta, namespaced=namespaced, name_rule=subdomain_name)
    return found + check_finalizer_names("metadata", meta)


def _metadata_change(new: ObjectMeta, old: ObjectMeta) -> list[FieldError]:
    return check_metadata_change("metadata", new, old) + check_finalizer_names("metadata", new)


def _template(template: ResourceClaimTemplate, gates: Gates, expressions: Expressions) -> list[FieldError]:
    found = _metadata(template.metadata, namespaced=True)
    found += check_template_metadata("spec.metadata", template.spec.metadata)
    return found + check_claim_spec("spec.spec", template.spec.spec, gates, expressions)


def _class_metadata(meta: ObjectMeta) -> list[FieldError]:
    """For the name's format there is a declared rule as well."""
    found = check_metadata("metadata", meta, namespaced=False, name_rule=_declared_name, generated=False)
    found = covered(each.because("format=k8s-long-name") for each in found if each.field == "metadata.name") + [
        each for each in found if each.field != "metadata.name"
    ]
    return found + check_finalizer_names("metadata", meta)


def _declared_name(name: str, prefix: bool) -> list[str]:
    return content.dns_subdomain(name)


def _class_spec(
    path: str, spec: DeviceClassSpec, old: DeviceClassSpec | None, expressions: Expressions
) -> list[FieldError]:
    found: list[FieldError] = []
    if old is None or not same(spec.selectors, old.selectors):
        found += check_selectors(child(path, "selectors"), spec.selectors, expressions)
    stored = old is not None and same(spec.config, old.config)

    def configuration(where: str, config: DeviceClassConfiguration) -> list[FieldError]:
        return check_opaque(where, config.opaque, stored=stored)

    return found + check_items(child(path, "config"), spec.config, configuration, limit=_CONFIG_MAX)


def _taint_rule_spec(path: str, spec: DeviceTaintRuleSpec, old: DeviceTaintRuleSpec | None) -> list[FieldError]:
    found = _taint_selector(child(path, "deviceSelector"), spec.device_selector)
    return found + check_taint(child(path, "taint"), spec.taint, old.taint if old is not None else None)


def _taint_selector(path: str, selector: DeviceTaintSelector | None) -> list[FieldError]:
    if selector is None:
        return []
    found: list[FieldError] = []
    if selector.driver is not None:
        found += names.driver_name(child(path, "driver"), selector.driver)
    if selector.pool is not None:
        found += names.pool_name(child(path, "pool"), selector.pool)
    if selector.device is not None:
        found += names.label(child(path, "device"), selector.device)
    return found


def _check_admin_status(status: ResourceClaimStatus, old: ResourceClaimStatus, labels: Labels) -> list[FieldError]:
    """Only the first allocation with admin access is looked at; one that was granted stays."""
    if _first_admin_result(old) is not None:
        return []
    position = _first_admin_result(status)
    if position is None:
        return []
    return check_admin_label(child(index("status.allocation.devices.results", position), "adminAccess"), labels)


def _first_admin_result(status: ResourceClaimStatus) -> int | None:
    results = status.allocation.devices.results or () if status.allocation is not None else ()
    return next((i for i, each in enumerate(results) if each.admin_access), None)
