"""URLs: `url("https://example.com/a?b=c")`, `isURL`, `getHost`, `getQuery`, …

Upstream: `pkg/cel/library/urls.go` in k8s.io/apiserver, with Go's `net/url`: absolute URIs or absolute paths only.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.library.formatting import quoted
from dra_operator.cel.values import Opaque

LIBRARY: Final = Library()

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_USER: Final = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_HOST: Final = re.compile(r"(?:[^\s\x00-\x20\\^`{}|/?#%@]|%(?:25|[89A-Fa-f][0-9A-Fa-f]))*")
_ZONE: Final = re.compile(r"(?:[^\s\x00-\x1f\\^`{}|/?#%@]|%[0-9A-Fa-f]{2})*")
_PORT: Final = re.compile(r"(?::[0-9]*)?")
_PATH: Final = re.compile(r"(?:[A-Za-z0-9\-_.~!$&'()*+,;=:@/\[\]]|%[0-9A-Fa-f]{2})*")
_PATH_SAFE: Final = "/$&+,:;=@"
_STRICT: Final = ("http", "https")
"""Schemes whose hosts have no colon but the port's."""


class URL(Opaque):
    __slots__ = ("host", "path", "query", "scheme", "text")
    type_name = "kubernetes.URL"

    def __init__(self, text: str, scheme: str, host: str, path: str, query: str) -> None:
        self.text = text
        self.scheme = scheme
        self.host = host
        self.path = path
        self.query = query

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def check_url(text: str) -> None:
    """Whether it is a request URI. Raises ValueError."""
    if not text:
        raise ValueError("empty url")
    split_url(text, request=True)


def split_url(text: str, *, request: bool = False) -> URL:
    """The parts of a URL; of a request URI, which knows no fragment, if it is one. Raises ValueError."""
    if _CONTROL.search(text):
        raise ValueError("net/url: invalid control character in URL")
    if text == "*":
        return URL(text, "", "", "*", "")
    scheme, rest = _split_scheme(text)
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return URL(text, scheme, "", "", query)  # opaque, like mailto:
        if request:
            raise ValueError("invalid URI for request")
    host = ""
    if rest.startswith("//") and (scheme or (not request and not rest.startswith("///"))):
        authority, slash, path = rest[2:].partition("/")
        host = _host(scheme, authority)
        rest = slash + path
    _check_escapes(rest)
    return URL(text, scheme, host, rest, query)


def _check_escapes(text: str) -> None:
    if bad := _BAD_ESCAPE.search(text):
        raise ValueError(f'invalid URL escape "{text[bad.start() : bad.start() + 3]}"')


def _split_scheme(text: str) -> tuple[str, str]:
    head, colon, rest = text.partition(":")
    if text.startswith(":"):
        raise ValueError("missing protocol scheme")
    if colon and _SCHEME.fullmatch(head):
        return head.lower(), rest
    return "", text


def _host(scheme: str, authority: str) -> str:
    user, _, host = authority.rpartition("@")
    if not _USER.fullmatch(user):
        raise ValueError("net/url: invalid userinfo")
    _check_escapes(user)
    if host.rfind("[") > 0:
        raise ValueError("invalid IP-literal")
    name, port = _name_and_port(scheme, host)
    if not _PORT.fullmatch(port):
        raise ValueError(f'invalid port "{port}" after host')
    if host.startswith("["):
        return f"[{_address(name[1:])}]{port}"
    _check_escapes(host)
    if not _HOST.fullmatch(host):
        raise ValueError("invalid character in host name")
    return unquote(host)


def _name_and_port(scheme: str, host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, bracket, port = host.rpartition("]")
        if not bracket:
            raise ValueError("missing ']' in host")
        return name, port
    at = host.find(":") if scheme in _STRICT else host.rfind(":")
    return (host, "") if at < 0 else (host[:at], host[at:])


def _address(text: str) -> str:
    """An address of IPv6, with a zone perhaps, whose percent sign is escaped."""
    address, percent, zone = text.partition("%25")
    if not _HOST.fullmatch(address) or not _ZONE.fullmatch(zone):
        raise ValueError("invalid character in host name")
    unescaped = unquote(address) + ("%" if percent else "") + unquote(zone)
    try:
        ipaddress.IPv6Address(unescaped)
    except ValueError:
        raise ValueError("invalid host") from None
    return unescaped


@LIBRARY.function("url(string) -> URL")
def parse(text: str) -> URL:
    try:
        check_url(text)
        whole, _, fragment = text.partition("#")
        _check_escapes(fragment)
        parts = split_url(whole)
    except ValueError as error:
        message = f"URL parse error during conversion from string: parse {quoted(text)}: {error}"
        raise CELEvaluationError(message) from None
    return URL(text, parts.scheme, parts.host, parts.path, parts.query)


@LIBRARY.function("isURL(string) -> bool")
def is_url(text: str) -> bool:
    try:
        check_url(text)
    except ValueError:
        return False
    return True


@LIBRARY.function("URL.getScheme() -> string")
def scheme(url: URL) -> str:
    return url.scheme


@LIBRARY.function("URL.getHost() -> string")
def host(url: URL) -> str:
    return url.host


@LIBRARY.function("URL.getHostname() -> string")
def hostname(url: URL) -> str:
    if url.host.startswith("["):
        return url.host[1 : url.host.index("]")]
    return url.host.partition(":")[0]


@LIBRARY.function("URL.getPort() -> string")
def port(url: URL) -> str:
    return url.host.rpartition("]")[2].partition(":")[2]


@LIBRARY.function("URL.getEscapedPath() -> string")
def escaped_path(url: URL) -> str:
    if url.path == "*" or _PATH.fullmatch(url.path):
        return url.path
    return quote(unquote_to_bytes(url.path), safe=_PATH_SAFE)


@LIBRARY.function("URL.getQuery() -> map<string, list<string>>")
def query(url: URL) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for pair in url.query.split("&"):
        if not pair or ";" in pair or _BAD_ESCAPE.search(pair):
            continue
        key, _, value = pair.partition("=")
        values.setdefault(unquote_plus(key), []).append(unquote_plus(value))
    return values
