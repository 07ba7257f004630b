"""Named formats: `format.dns1123Label().validate("x")` gives an optional list of what is wrong.

Upstream: `pkg/cel/library/format.go` in k8s.io/apiserver and the validations of k8s.io/apimachinery behind it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.library import time, url
from dra_operator.cel.values import NONE, Opaque, Optional

LIBRARY: Final = Library()

Validator = Callable[[str], list[str]]

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_LABEL_PATTERN: Final = re.compile(_LABEL)
_SUBDOMAIN_PATTERN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DNS1035_PATTERN: Final = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_NAME_PATTERN: Final = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_UUID_PATTERN: Final = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_DATE_PATTERN: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


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


def _pattern(pattern: re.Pattern[str], limit: int, what: str, *, prefix: bool = False) -> Validator:
    def validate(text: str) -> list[str]:
        # A prefix may end in a dash, as what comes after it does not matter yet.
        text = text[:-1] + "a" if prefix and len(text) > 1 and text.endswith("-") else text
        errors = [f"must be no more than {limit} characters"] if len(text.encode()) > limit else []
        return errors if pattern.fullmatch(text) else [*errors, f"{what} has invalid characters"]

    return validate


def _qualified_name(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    errors: list[str] = []
    if slash:
        errors += ["prefix part must be non-empty"] if not prefix else _SUBDOMAIN(prefix)
    return errors + _NAME(name)


def _label_value(text: str) -> list[str]:
    return _NAME(text) if text else []


def _unless(valid: Callable[[str], object], message: str) -> Validator:
    def validate(text: str) -> list[str]:
        return [] if valid(text) else [message]

    return validate


def _is_byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_datetime(text: str) -> bool:
    try:
        time.parse_timestamp(text.upper().replace(" ", "T"))
    except CELEvaluationError:
        return False
    return True


def _is_date(text: str) -> bool:
    return _DATE_PATTERN.fullmatch(text) is not None and _is_datetime(f"{text}T00:00:00Z")


_SUBDOMAIN: Final = _pattern(_SUBDOMAIN_PATTERN, 253, "a DNS subdomain")
_NAME: Final = _pattern(_NAME_PATTERN, 63, "a name")

FORMATS: Final[dict[str, Format]] = {
    "dns1123Label": Format("DNS1123Label", _pattern(_LABEL_PATTERN, 63, "a DNS label"), 30),
    "dns1123Subdomain": Format("DNS1123Subdomain", _SUBDOMAIN, 60),
    "dns1035Label": Format("DNS1035Label", _pattern(_DNS1035_PATTERN, 63, "a DNS-1035 label"), 30),
    "qualifiedName": Format("QualifiedName", _qualified_name, 60),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _pattern(_LABEL_PATTERN, 63, "a DNS label", prefix=True), 30),
    "dns1123SubdomainPrefix": Format(
        "DNS1123SubdomainPrefix", _pattern(_SUBDOMAIN_PATTERN, 253, "a DNS subdomain", prefix=True), 60
    ),
    "dns1035LabelPrefix": Format(
        "DNS1035LabelPrefix", _pattern(_DNS1035_PATTERN, 63, "a DNS-1035 label", prefix=True), 30
    ),
    "labelValue": Format("LabelValue", _label_value, 40),
    "uri": Format("URI", _unless(url.is_url, "not a URI"), 1103),
    "uuid": Format("uuid", _unless(_UUID_PATTERN.fullmatch, "does not match the UUID format"), 70),
    "byte": Format("byte", _unless(_is_byte, "invalid base64"), 84),
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
