"""The hand-written rules for names: drivers, pools, qualified names, nodes, devices.

Where a declared rule exists for the same name its errors replace these (`covered`); else these are what users see.

Upstream: `validateDriverName`, `validatePoolName`, `validateQualifiedName` and their like in
pkg/apis/resource/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api import content
from dra_operator.validation.errors import FieldError, covered, invalid, required, too_long

DRIVER_MAX: Final = 63
IDENTIFIER_MAX: Final = 32
POOL_MAX: Final = 253
QUALIFIED_MAX: Final = DRIVER_MAX + 1 + IDENTIFIER_MAX


def label(path: str, value: str) -> list[FieldError]:
    """Requests, devices, counter sets."""
    return [invalid(path, value, message, origin="format=k8s-short-name") for message in _label(value)]


def subdomain(path: str, value: str) -> list[FieldError]:
    return [invalid(path, value, message, origin="format=k8s-long-name") for message in _subdomain(value)]


def node_name(path: str, value: str) -> list[FieldError]:
    return [invalid(path, value, message) for message in _subdomain(value)]


def label_key(path: str, value: str) -> list[FieldError]:
    return [invalid(path, value, message, origin="format=k8s-label-key") for message in content.label_key(value)]


def label_value(path: str, value: str) -> list[FieldError]:
    return [invalid(path, value, message) for message in content.label_value(value)]


def class_name(path: str, value: str) -> list[FieldError]:
    return subdomain(path, value) if value else [required(path)]


def driver_name(path: str, value: str) -> list[FieldError]:
    if not value:
        return [required(path)]
    found = [too_long(path, DRIVER_MAX)] if content.size(value) > DRIVER_MAX else []
    return found + [invalid(path, value, message) for message in _subdomain(value.lower())]


def declared_driver_name(path: str, value: str) -> list[FieldError]:
    """A driver's name for which there are declared rules as well."""
    return covered(
        each.because("maxLength" if each.detail.startswith("may not be more") else "format=k8s-long-name-caseless")
        if value
        else each
        for each in driver_name(path, value)
    )


def pool_name(path: str, value: str) -> list[FieldError]:
    if not value:
        return [required(path)]
    found = [too_long(path, POOL_MAX)] if content.size(value) > POOL_MAX else []
    found += [error for part in value.split("/") for error in subdomain(path, part)]
    return [each.because("format=k8s-resource-pool-name") for each in found]


def qualified_name(path: str, value: str) -> list[FieldError]:
    """`name` or `domain/name`. More slashes are let through, as upstream does."""
    parts = value.split("/")
    if len(parts) == 1:
        return identifier(path, value)
    if len(parts) > 2:
        return []
    domain, name = parts
    found = driver_name(path, domain) if domain else [invalid(path, "", "the domain must not be empty")]
    return found + (identifier(path, name) if name else [invalid(path, "", "the name must not be empty")])


def fully_qualified_name(path: str, value: str) -> list[FieldError]:
    found = qualified_name(path, value)
    if "/" not in value:
        found.append(invalid(path, value, "a fully qualified name must be a domain and a name separated by a slash"))
    return [each.because("format=k8s-resource-fully-qualified-name") for each in found]


def identifier(path: str, value: str) -> list[FieldError]:
    found = [too_long(path, IDENTIFIER_MAX)] if content.size(value) > IDENTIFIER_MAX else []
    return found + [invalid(path, value, message) for message in content.c_identifier(value)]


def share_id(path: str, value: str) -> list[FieldError]:
    """Only whether it is one: the declared rule says what is wrong."""
    if content.is_uuid(value):
        return []
    return [invalid(path, value, "must be a UUID", origin="format=k8s-uuid", covered=True)]


def _label(value: str) -> list[str]:
    return content.dns_label(value, unit=content.CHARACTERS)


def _subdomain(value: str) -> list[str]:
    return content.dns_subdomain(value, unit=content.CHARACTERS)


def shortened(name: str, limit: int) -> str:
    """The name of a map's entry in a path, cut in its middle."""
    limit = max(limit, 16)
    text = name.encode()
    if len(text) <= limit:
        return name
    rest = limit - len("...")
    head, tail = text[: (rest + 1) // 2], text[len(text) - rest // 2 :]
    return head.decode("utf-8", "replace") + "..." + tail.decode("utf-8", "replace")
