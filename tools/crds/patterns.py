"""The formats of names, versions, quantities and times as a structural schema can hold them.

One source: the patterns and lengths are those of `validation` (`content.py`, `names.py`). Lengths here are in
characters, there in bytes: for what these patterns let through that is the same. A part of a name that has a limit of
its own gets it by repetition, or by a pattern that the whole may not have.

Upstream: `strfmt.go` of k8s.io/apimachinery/pkg/api/validate, `validateDriverName` and its like.
"""

from __future__ import annotations

from typing import Any, Final

from dra_operator.api import content
from dra_operator.validation import device, names

Schema = dict[str, Any]

_KEY: Final = content.KEY.replace("*", f"{{0,{content.LABEL_MAX - 2}}}")
_IDENTIFIER: Final = content.IDENTIFIER.replace("*", f"{{0,{names.IDENTIFIER_MAX - 1}}}")
_MORE_SLASHES: Final = "[^/]*/[^/]*/.*"
"""Upstream lets qualified names with two slashes and more through unseen."""
_SUFFIX: Final = "(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?"
_OF_NOTHING: Final = r"(?:[numkMGTPE]|[KMGTP]i|[eE](?:\+?[0-9]+|-[0-9]))"
"""Upstream takes a suffix, a dot or a sign without a digit for nothing of it, but for some suffixes."""
_QUANTITY: Final = (
    rf"\s*(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+){_SUFFIX}|[+-]\.?{_OF_NOTHING}?|\.{_OF_NOTHING}?|{_OF_NOTHING})\s*"
)
_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"

QUANTITY_MAX: Final = 64
"""Characters of a quantity. Upstream has no limit; the rules that compare quantities need one."""

LABEL: Final[Schema] = {"pattern": f"^{content.LABEL}$", "minLength": 1, "maxLength": content.LABEL_MAX}
SUBDOMAIN: Final[Schema] = {"pattern": f"^{content.SUBDOMAIN}$", "minLength": 1, "maxLength": content.SUBDOMAIN_MAX}
LABEL_KEY: Final[Schema] = {
    "pattern": f"^({content.SUBDOMAIN}/)?{_KEY}$",
    "not": {"pattern": f"^[^/]{{{content.SUBDOMAIN_MAX + 1},}}/"},
    "minLength": 1,
    "maxLength": content.SUBDOMAIN_MAX + 1 + content.LABEL_MAX,
}
LABEL_VALUE: Final[Schema] = {"pattern": f"^{content.VALUE}$", "maxLength": content.LABEL_MAX}
DRIVER: Final[Schema] = {
    "pattern": f"^{content.SUBDOMAIN.replace('a-z', 'A-Za-z')}$",
    "minLength": 1,
    "maxLength": names.DRIVER_MAX,
}
POOL: Final[Schema] = {
    "pattern": f"^{content.SUBDOMAIN}(/{content.SUBDOMAIN})*$",
    "minLength": 1,
    "maxLength": names.POOL_MAX,
}
FULLY_QUALIFIED: Final[Schema] = {
    "pattern": f"^({content.SUBDOMAIN}/{_IDENTIFIER}|{_MORE_SLASHES})$",
    "not": {"pattern": f"^[^/]{{{names.DRIVER_MAX + 1},}}/[^/]*$"},
    "minLength": 1,
    "maxLength": names.QUALIFIED_MAX,
}
REQUEST_REFERENCE: Final[Schema] = {
    "pattern": f"^{content.LABEL}(/{content.LABEL})?$",
    "not": {"pattern": f"[^/]{{{content.LABEL_MAX + 1}}}"},
    "minLength": 1,
    "maxLength": 2 * content.LABEL_MAX + 1,
}
"""`request` or `request/subrequest`."""
UUID: Final[Schema] = {"pattern": f"^{content.UUID}$", "maxLength": 36}
EXTENDED_RESOURCE: Final[Schema] = {
    "pattern": f"^{content.SUBDOMAIN}/{_KEY}$",
    "not": {"pattern": rf"(kubernetes\.io/|^requests\.|^[^/]{{{content.SUBDOMAIN_MAX - len('requests.') + 1},}}/)"},
    "maxLength": content.SUBDOMAIN_MAX + 1 + content.LABEL_MAX,
}
VERSION: Final[Schema] = {"pattern": f"^{content.SEMVER}$", "maxLength": device.ATTRIBUTE_LENGTH_MAX}
QUANTITY: Final[Schema] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": f"^{_QUANTITY}$",
    "maxLength": QUANTITY_MAX,
    "x-kubernetes-int-or-string": True,
}
TIME: Final[Schema] = {
    "type": "string",
    "pattern": f"^{_TIME}$",
    "maxLength": 64,
    # Not `format: date-time`: with that the API server takes an empty list for a time.
    "x-kubernetes-validations": [{"rule": "timestamp(self).getFullYear() >= 0", "message": "must be a time"}],
}
REASON: Final = f"^{content.REASON}$"

BY_FORMAT: Final[dict[str, Schema]] = {
    "k8s-short-name": LABEL,
    "k8s-long-name": SUBDOMAIN,
    "k8s-long-name-caseless": DRIVER,
    "k8s-label-key": LABEL_KEY,
    "k8s-resource-pool-name": POOL,
    "k8s-resource-fully-qualified-name": FULLY_QUALIFIED,
    "k8s-uuid": UUID,
    "k8s-extended-resource-name": EXTENDED_RESOURCE,
}
"""The schema of each format that a declared rule names."""


def or_empty(schema: Schema) -> Schema:
    """The same, or nothing."""
    pattern = schema["pattern"].removeprefix("^").removesuffix("$")
    return {**schema, "pattern": f"^({pattern})?$", "minLength": 0}
