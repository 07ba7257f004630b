"""Named formats: `format.dns1123Label().validate("x")` gives an optional list of what is wrong.

Upstream: `pkg/cel/library/format.go` in k8s.io/apiserver and the validations of k8s.io/apimachinery behind it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from typing import Final

from dra_operator.api import content
from dra_operator.cel.functions import Library
from dra_operator.cel.library import url
from dra_operator.cel.library.formatting import quoted
from dra_operator.cel.values import NONE, Opaque, Optional

LIBRARY: Final = Library()

Validator = Callable[[str], list[str]]

_UUID_PATTERN: Final = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_BASE64_PATTERN: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})")
_DATE_PATTERN: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_CLOCK_PATTERN: Final = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:.[0-9]+)?(?:z|[+-][0-9]{2}:[0-9]{2})")


class Format(Opaque):
    __slots__ = ("name", "pattern_size", "validate")
    type_name = "kubernetes.NamedFormat"

    def __init__(self, name: str, validate: Validator, pattern_size: int) -> None:
        self.name = name
        self.validate = validate
        self.pattern_size = pattern_size  # only for what a validation costs; the sizes are upstream's

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Format) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


def _label(text: str) -> list[str]:
    return content.dns_label(text, unit=content.CHARACTERS)


def _dns1035_label(text: str) -> list[str]:
    return content.dns1035_label(text, unit=content.CHARACTERS)


def _subdomain(text: str) -> list[str]:
    return content.dns_subdomain(text, unit=content.CHARACTERS)


def _prefix(validate: Validator) -> Validator:
    """For a name that goes on: it may end in a dash."""

    def of_start(text: str) -> list[str]:
        return validate(f"{text[:-2]}a" if len(text) > 1 and text.endswith("-") else text)

    return of_start


def _unless(valid: Callable[[str], object], message: str) -> Validator:
    def validate(text: str) -> list[str]:
        return [] if valid(text) else [message]

    return validate


def _uri(text: str) -> list[str]:
    try:
        url.check_url(text)
    except ValueError as error:
        return [f"parse {quoted(text)}: {error}"]
    return []


def _is_datetime(text: str) -> bool:
    day, separator, rest = text.lower().partition("t")
    clock = _CLOCK_PATTERN.fullmatch(rest.partition("t")[0]) if separator else None
    return clock is not None and clock[1] <= "23" and clock[2] <= "59" and clock[3] <= "59" and _is_date(day)


def _is_date(text: str) -> bool:
    match = _DATE_PATTERN.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    return 1 <= month <= 12 and 1 <= day <= monthrange(year or 2000, month)[1]


FORMATS: Final[dict[str, Format]] = {
    "dns1123Label": Format("DNS1123Label", _label, 30),
    "dns1123Subdomain": Format("DNS1123Subdomain", _subdomain, 60),
    "dns1035Label": Format("DNS1035Label", _dns1035_label, 30),
    "qualifiedName": Format("QualifiedName", content.label_key, 60),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _prefix(_label), 30),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", _prefix(_subdomain), 60),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", _prefix(_dns1035_label), 30),
    "labelValue": Format("LabelValue", content.label_value, 40),
    "uri": Format("URI", _uri, 1103),
    "uuid": Format("uuid", _unless(_UUID_PATTERN.fullmatch, "does not match the UUID format"), 70),
    "byte": Format("byte", _unless(_BASE64_PATTERN.fullmatch, "invalid base64"), 84),
    "date": Format("date", _unless(_is_date, "invalid date"), 71),
    "datetime": Format("datetime", _unless(_is_datetime, "invalid datetime"), 71),
}


def _declare_constant(name: str, constant: Format) -> None:
    @LIBRARY.function(f"format.{name}() -> Format")
    def get() -> Format:
        return constant


for _name, _format in FORMATS.items():
    _declare_constant(_name, _format)


@LIBRARY.function("format.named(string) -> optional<Format>")
def named(name: str) -> Optional:
    found = FORMATS.get(name)
    return NONE if found is None else Optional(found)


@LIBRARY.function("Format.validate(string) -> optional<list<string>>")
def validate(format_: Format, text: str) -> Optional:
    errors = format_.validate(text)
    return Optional(errors) if errors else NONE
