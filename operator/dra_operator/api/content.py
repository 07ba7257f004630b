"""What names, labels and their like may consist of. Each function returns the complaints, in the API server's words.

Lengths are in bytes, as everywhere in the API. The patterns are also those of the schemas in crds/.

Upstream: k8s.io/apimachinery/pkg/api/validate/content and pkg/util/validation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

BYTES: Final = "bytes"
CHARACTERS: Final = "characters"
"""How the hand-written rules call bytes."""
LABEL_MAX: Final = 63
SUBDOMAIN_MAX: Final = 253
LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS1035_LABEL: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN: Final = LABEL + r"(\." + LABEL + ")*"
KEY: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
VALUE: Final = f"({KEY})?"
IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]*"
REASON: Final = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_SEMVER_PART: Final = r"(0|[1-9]\d*)"
_SEMVER_PRE: Final = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
SEMVER: Final = (
    rf"{_SEMVER_PART}\.{_SEMVER_PART}\.{_SEMVER_PART}"
    rf"(-{_SEMVER_PRE}(\.{_SEMVER_PRE})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)
UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

_LABEL_WORDS: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
_DNS1035_WORDS: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_SUBDOMAIN_WORDS: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character"
)
_CASELESS_WORDS: Final = (
    "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character"
)
_KEY_WORDS: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_VALUE_WORDS: Final = f"a valid label must be an empty string or {_KEY_WORDS.removeprefix('must ')}"
_IDENTIFIER_WORDS: Final = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    "characters or '_'"
)
_REASON_WORDS: Final = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_'"
)


def size(text: str) -> int:
    """Length in bytes."""
    return len(text.encode())


def dns_label(value: str, *, unit: str = BYTES) -> list[str]:
    found = [_too_long(LABEL_MAX, unit)] if size(value) > LABEL_MAX else []
    if not re.fullmatch(LABEL, value):
        if re.fullmatch(SUBDOMAIN, value):
            found.append("must not contain dots")
        else:
            found.append(_mismatch(_LABEL_WORDS, LABEL, ("my-name", "123-abc")))
    return found


def dns1035_label(value: str, *, unit: str = BYTES) -> list[str]:
    found = [_too_long(LABEL_MAX, unit)] if size(value) > LABEL_MAX else []
    if not re.fullmatch(DNS1035_LABEL, value):
        found.append(_mismatch(_DNS1035_WORDS, DNS1035_LABEL, ("my-name", "abc-123")))
    return found


def dns_subdomain(value: str, *, unit: str = BYTES) -> list[str]:
    found = [_too_long(SUBDOMAIN_MAX, unit)] if size(value) > SUBDOMAIN_MAX else []
    if not re.fullmatch(SUBDOMAIN, value):
        found.append(_mismatch(_SUBDOMAIN_WORDS, SUBDOMAIN, ("example.com",)))
    return found


def dns_subdomain_caseless(value: str) -> list[str]:
    found = [_too_long(SUBDOMAIN_MAX)] if size(value) > SUBDOMAIN_MAX else []
    # Go's case folding takes these two for k and s.
    folded = value.replace("\u212a", "k").replace("\u017f", "s")
    if not re.fullmatch(SUBDOMAIN, folded, re.IGNORECASE | re.ASCII):
        found.append(_mismatch(_CASELESS_WORDS, SUBDOMAIN, ("Example.com",)))
    return found


def label_key(value: str) -> list[str]:
    """Also the rule for qualified names."""
    found = []
    prefix, slash, name = value.partition("/")
    if not slash:
        name = prefix
    elif "/" in name:
        words = _mismatch(_KEY_WORDS, KEY, ("MyName", "my.name", "123-abc"))
        return [f"a valid label key {words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    elif not prefix:
        found.append("prefix part must be non-empty")
    else:
        found += [f"prefix part {each}" for each in dns_subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif size(name) > LABEL_MAX:
        found.append(f"name part {_too_long(LABEL_MAX)}")
    if not re.fullmatch(KEY, name):
        found.append(f"name part {_mismatch(_KEY_WORDS, KEY, ('MyName', 'my.name', '123-abc'))}")
    return found


def label_value(value: str) -> list[str]:
    found = [_too_long(LABEL_MAX)] if size(value) > LABEL_MAX else []
    if not re.fullmatch(VALUE, value):
        found.append(_mismatch(_VALUE_WORDS, VALUE, ("MyValue", "my_value", "12345")))
    return found


def c_identifier(value: str) -> list[str]:
    if re.fullmatch(IDENTIFIER, value):
        return []
    return [_mismatch(_IDENTIFIER_WORDS, IDENTIFIER, ("my_name", "MY_NAME", "MyName"))]


def condition_reason(value: str) -> list[str]:
    if re.fullmatch(REASON, value):
        return []
    examples = ("my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB")
    return [_mismatch(_REASON_WORDS, REASON, examples)]


def path_segment(value: str, *, prefix: bool = False) -> list[str]:
    """What a URL can hold. `prefix`: something will be appended."""
    if not prefix and value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{each}'" for each in ("/", "%") if each in value]


def is_semantic_version(value: str) -> bool:
    return re.fullmatch(SEMVER, value, re.ASCII) is not None


def is_uuid(value: str) -> bool:
    return re.fullmatch(UUID, value) is not None


def interface_address(value: str) -> list[str]:
    """An address with the length of its network: `10.9.8.7/24`."""
    try:
        found = ipaddress.ip_interface(_without_leading_zeros(value)) if "/" in value and "%" not in value else None
    except ValueError:
        found = None
    if found is None or not value.rpartition("/")[2].isdecimal():
        return ["must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"]
    address, bits = found.ip, found.network.prefixlen
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        # Go knows one form of these addresses only, the short one.
        address, bits = address.ipv4_mapped, bits - 96 if bits > 32 else bits
    canonical = f"{address}/{bits}"
    return [] if value == canonical else [f'must be in canonical form ("{canonical}")']


def _without_leading_zeros(value: str) -> str:
    address, slash, bits = value.partition("/")
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", address, re.ASCII):
        address = ".".join(part.lstrip("0") or "0" for part in address.split("."))
    return f"{address}{slash}{bits}"


def _too_long(limit: int, unit: str = BYTES) -> str:
    return f"must be no more than {limit} {unit}"


def _mismatch(words: str, pattern: str, examples: Sequence[str]) -> str:
    listed = " or ".join(f"'{each}', " for each in examples)
    return f"{words} (e.g. {listed}regex used for validation is '{pattern}')"
