"""The rules for `metadata`, on creation and on change, and for the metadata of a template.

Upstream: k8s.io/apimachinery/pkg/validation/objectmeta.go, and what pkg/apis/core/validation adds for finalizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dra_operator.api import content
from dra_operator.validation import names
from dra_operator.validation.errors import (
    FieldError,
    child,
    forbidden,
    index,
    invalid,
    not_supported,
    required,
    too_long,
)
from dra_operator.validation.gotext import quote
from dra_operator.validation.metatypes import ManagedFieldsEntry, ObjectMeta, OwnerReference
from dra_operator.validation.shapes import shape_of

NameRule = Callable[[str, bool], list[str]]
"""Complaints about a name; the flag says that something will be appended to it."""

_ANNOTATIONS_MAX: Final = 256 * 1024
_MANAGER_MAX: Final = 128
_SUBRESOURCE_MAX: Final = 256
_OPERATIONS: Final = ("Apply", "Update")
STANDARD_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_NEGATIVE: Final = "must be greater than or equal to 0"
_IMMUTABLE: Final = "field is immutable"


def subdomain_name(value: str, prefix: bool) -> list[str]:
    return content.dns_subdomain(_without_dash(value) if prefix else value, unit=content.CHARACTERS)


def path_segment_name(value: str, prefix: bool) -> list[str]:
    return content.path_segment(value, prefix=prefix)


def check_metadata(
    path: str, meta: ObjectMeta, *, namespaced: bool, name_rule: NameRule, generated: bool = True
) -> list[FieldError]:
    """The metadata of an object, by itself. `generated`: the start of a generated name is looked at too."""
    found: list[FieldError] = []
    if generated and meta.generate_name:
        messages = name_rule(meta.generate_name, True)
        found += [invalid(child(path, "generateName"), meta.generate_name, each) for each in messages]
    if meta.name:
        found += [invalid(child(path, "name"), meta.name, message) for message in name_rule(meta.name, False)]
    else:
        found.append(required(child(path, "name"), "name or generateName is required"))
    where = child(path, "namespace")
    if not namespaced and meta.namespace:
        found.append(forbidden(where, "not allowed on this type"))
    elif namespaced and not meta.namespace:
        found.append(required(where))
    elif namespaced:
        found += [
            invalid(where, meta.namespace, message)
            for message in content.dns_label(meta.namespace, unit=content.CHARACTERS)
        ]
    found += _generation(path, meta)
    found += check_labels(child(path, "labels"), meta.labels)
    found += check_annotations(child(path, "annotations"), meta.annotations)
    found += _owners(child(path, "ownerReferences"), meta.owner_references or ())
    found += _finalizers(child(path, "finalizers"), meta.finalizers or ())
    found += _managed_fields(child(path, "managedFields"), meta.managed_fields or ())
    return found


def check_metadata_change(path: str, new: ObjectMeta, old: ObjectMeta) -> list[FieldError]:
    """What a change may not do to metadata."""
    found: list[FieldError] = []
    if old.deletion_timestamp is not None:
        added = sorted(set(new.finalizers or ()) - set(old.finalizers or ()))
        if added:
            listed = ", ".join(map(quote, added))
            detail = "no new finalizers can be added if the object is being deleted, found new finalizers"
            found.append(forbidden(child(path, "finalizers"), f"{detail} []string{{{listed}}}"))
    if not new.resource_version:
        found.append(invalid(child(path, "resourceVersion"), "", "must be specified for an update"))
    found += _generation(path, new)
    for name, value, before in (
        ("name", new.name, old.name),
        ("namespace", new.namespace, old.namespace),
        ("uid", new.uid, old.uid),
        ("deletionTimestamp", new.deletion_timestamp, old.deletion_timestamp),
        ("deletionGracePeriodSeconds", new.deletion_grace_period_seconds, old.deletion_grace_period_seconds),
    ):
        if value != before:
            found.append(invalid(child(path, name), value, _IMMUTABLE))
    found += check_labels(child(path, "labels"), new.labels)
    found += check_annotations(child(path, "annotations"), new.annotations)
    found += _owners(child(path, "ownerReferences"), new.owner_references or ())
    found += _managed_fields(child(path, "managedFields"), new.managed_fields or ())
    return found


def check_finalizer_names(path: str, meta: ObjectMeta) -> list[FieldError]:
    """Finalizers have a domain, but for the standard ones."""
    detail = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        invalid(index(child(path, "finalizers"), i), name, detail)
        for i, name in enumerate(meta.finalizers or ())
        if "/" not in name and name not in STANDARD_FINALIZERS
    ]


def check_template_metadata(path: str, meta: ObjectMeta) -> list[FieldError]:
    """A template's metadata holds labels and annotations and nothing else."""
    found = check_annotations(child(path, "annotations"), meta.annotations)
    found += check_labels(child(path, "labels"), meta.labels)
    for field in shape_of(ObjectMeta).fields:
        if field.attribute in ("labels", "annotations"):
            continue
        if getattr(meta, field.attribute) != field.type.zero():  # a zero that was given is not nothing
            # The path is the Go field's name with its first letter small.
            name = field.go_name[0].lower() + field.go_name[1:]
            found.append(forbidden(child(path, name), "cannot be set"))
    return found


def check_labels(path: str, labels: dict[str, str] | None) -> list[FieldError]:
    found: list[FieldError] = []
    for name, value in (labels or {}).items():
        found += names.label_key(path, name)
        found += [each.because("format=k8s-label-value") for each in names.label_value(path, value)]
    return found


def check_annotations(path: str, annotations: dict[str, str] | None) -> list[FieldError]:
    known = annotations or {}
    found = [
        invalid(path, name, message, origin="format=k8s-label-key")
        for name in known
        for message in content.label_key(name.lower())
    ]
    if sum(content.size(name) + content.size(value) for name, value in known.items()) > _ANNOTATIONS_MAX:
        found.append(too_long(path, _ANNOTATIONS_MAX))
    return found


def _without_dash(name: str) -> str:
    """What is appended makes a last dash good."""
    return name[:-2] + "a" if len(name) > 1 and name.endswith("-") else name


def _generation(path: str, meta: ObjectMeta) -> list[FieldError]:
    return [invalid(child(path, "generation"), meta.generation, _NEGATIVE)] if meta.generation < 0 else []


def _owners(path: str, owners: Sequence[OwnerReference]) -> list[FieldError]:
    found: list[FieldError] = []
    controller = ""
    for i, owner in enumerate(owners):
        where = index(path, i)
        version = owner.api_version.rpartition("/")[2]
        if not owner.api_version:
            found.append(required(child(where, "apiVersion"), "must not be empty"))
        elif owner.api_version.count("/") > 1 or not version:
            detail = "must be <group>/<version> or <version>"
            found.append(invalid(child(where, "apiVersion"), owner.api_version, detail))
        for name, value in (("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)):
            if not value:
                found.append(required(child(where, name), "must not be empty"))
        if (owner.api_version, owner.kind) == ("v1", "Event"):
            found.append(invalid(where, owner, "/v1, Kind=Event is disallowed from being an owner"))
        if owner.controller:
            this = f"{owner.kind}/{owner.name}"
            if controller:
                detail = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {this}'
                )
                found.append(invalid(path, tuple(owners), detail))
            else:
                controller = this
    return found


def _finalizers(path: str, finalizers: Sequence[str]) -> list[FieldError]:
    found = [invalid(path, name, message) for name in finalizers for message in content.label_key(name)]
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(invalid(path, tuple(finalizers), detail))
    return found


def _managed_fields(path: str, entries: Sequence[ManagedFieldsEntry]) -> list[FieldError]:
    found: list[FieldError] = []
    for i, entry in enumerate(entries):
        where = index(path, i)
        if not entry.operation:
            found.append(required(child(where, "operation"), "must not be empty"))
        elif entry.operation not in _OPERATIONS:
            found.append(not_supported(child(where, "operation"), entry.operation, _OPERATIONS))
        if entry.fields_type not in ("", "FieldsV1"):
            found.append(invalid(child(where, "fieldsType"), entry.fields_type, "must be `FieldsV1`"))
        if content.size(entry.manager) > _MANAGER_MAX:
            found.append(too_long(child(where, "manager"), _MANAGER_MAX))
        if content.size(entry.subresource) > _SUBRESOURCE_MAX:
            found.append(too_long(child(where, "subresource"), _SUBRESOURCE_MAX))
    return found
