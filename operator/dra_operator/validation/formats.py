"""The named formats of declared rules.

Upstream: `strfmt.go` of k8s.io/apimachinery/pkg/api/validate. The hand-written rules for the same names differ in words
and in detail; they are in `names.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from dra_operator.api import content
from dra_operator.validation.errors import FieldError, invalid, too_long

_DRIVER_MAX: Final = 63
_IDENTIFIER_MAX: Final = 32
_POOL_MAX: Final = 253
_QUOTA_PREFIX: Final = "requests."
_NATIVE_DOMAIN: Final = "kubernetes.io/"


def check_format(name: str, path: str, value: str) -> list[FieldError]:
    """What is wrong with the value in this format."""
    origin = f"format={name}"
    return [replace(each, origin=origin) for each in _FORMATS[name](path, value)]


def _simple(check: Callable[[str], list[str]]) -> Callable[[str, str], list[FieldError]]:
    return lambda path, value: [invalid(path, value, message) for message in check(value)]


def _uuid(path: str, value: str) -> list[FieldError]:
    if content.is_uuid(value):
        return []
    return [invalid(path, value, "must be a lowercase UUID in 8-4-4-4-12 format")]


def _pool_name(path: str, value: str) -> list[FieldError]:
    found = [too_long(path, _POOL_MAX)] if content.size(value) > _POOL_MAX else []
    for i, segment in enumerate(value.split("/")):
        if not segment:
            found.append(invalid(path, value, f"segment {i}: must not be empty"))
        else:
            found += [invalid(path, segment, f"segment {i}: {each}") for each in content.dns_subdomain(segment)]
    return found


def _fully_qualified_name(path: str, value: str) -> list[FieldError]:
    found: list[FieldError] = []
    parts = value.split("/")
    if len(parts) == 1:
        found += _identifier(path, value)
    elif len(parts) == 2:  # more slashes are let through, as upstream does
        domain, name = parts
        if not domain:
            found.append(invalid(path, "", "prefix must not be empty"))
        else:
            if content.size(domain) > _DRIVER_MAX:
                found.append(too_long(path, _DRIVER_MAX))
            found += [invalid(path, domain, f"prefix: {each}") for each in content.dns_subdomain(domain)]
        found += _identifier(path, name) if name else [invalid(path, "", "name must not be empty")]
    if "/" not in value:
        found.append(invalid(path, value, "a fully qualified name must be a domain and a name separated by a slash"))
    return found


def _identifier(path: str, value: str) -> list[FieldError]:
    found = [too_long(path, _IDENTIFIER_MAX)] if content.size(value) > _IDENTIFIER_MAX else []
    return found + [invalid(path, value, message) for message in content.c_identifier(value)]


def _extended_resource_name(path: str, value: str) -> list[FieldError]:
    found = []
    if "/" not in value:
        found.append(invalid(path, value, "a name must be a domain-prefixed path, such as 'example.com/my-prop'"))
    elif _NATIVE_DOMAIN in value:
        found.append(invalid(path, value, f'must not have "{_NATIVE_DOMAIN}" domain'))
    if value.startswith(_QUOTA_PREFIX):
        found.append(invalid(path, value, f'must not have "{_QUOTA_PREFIX}" prefix'))
    found += [invalid(path, value, message) for message in content.label_key(_QUOTA_PREFIX + value)]
    return found


_FORMATS: Final[Mapping[str, Callable[[str, str], list[FieldError]]]] = {
    "k8s-short-name": _simple(content.dns_label),
    "k8s-long-name": _simple(content.dns_subdomain),
    "k8s-long-name-caseless": _simple(content.dns_subdomain_caseless),
    "k8s-label-key": _simple(content.label_key),
    "k8s-uuid": _uuid,
    "k8s-resource-pool-name": _pool_name,
    "k8s-resource-fully-qualified-name": _fully_qualified_name,
    "k8s-extended-resource-name": _extended_resource_name,
}
