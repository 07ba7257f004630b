"""URLs: `url("https://example.com/a?b=c")`, `isURL`, `getHost`, `getQuery`, …

Upstream: `pkg/cel/library/urls.go` in k8s.io/apiserver, with Go's `net/url`: absolute URIs or absolute paths only.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.functions import Library
from dra_operator.cel.values import Opaque

LIBRARY: Final = Library()

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_USER: Final = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_HOST: Final = re.compile(r"(?:[^\s\x00-\x20<>\"\\^`{}|/?#\[\]:%]|%[89A-Fa-f][0-9A-Fa-f]|[<>\"])*")
_BRACKETED: Final = re.compile(r"(\[[^\[\]]*\])(:[0-9]*)?")
_PORT: Final = re.compile(r":[0-9]*")
_PATH_SAFE: Final = "/$&+,:;=@"


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


def split_url(text: str) -> URL:
    """The parts of a request URI. Raises ValueError."""
    if not text:
        raise ValueError("empty url")
    if _CONTROL.search(text):
        raise ValueError("net/url: invalid control character in URL")
    scheme, rest = _split_scheme(text)
    rest, _, query = rest.partition("?")
    query = query.partition("#")[0]
    if not rest.startswith("/"):
        if scheme:
            return URL(text, scheme, "", "", query)  # opaque, like mailto:
        if rest != "*":
            raise ValueError("invalid URI for request")
    host = ""
    if scheme and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        host = _host(authority.partition("#")[0])
        rest = slash + path
    if _BAD_ESCAPE.search(rest):
        raise ValueError("invalid URL escape")
    return URL(text, scheme, host, rest.partition("#")[0], query)


def _split_scheme(text: str) -> tuple[str, str]:
    head, colon, rest = text.partition(":")
    if text.startswith(":"):
        raise ValueError("missing protocol scheme")
    if colon and _SCHEME.fullmatch(head):
        return head.lower(), rest
    if colon and text[0].isalpha() and not re.search(r"[^A-Za-z0-9+.\-]", head):
        raise ValueError("first path segment in URL cannot contain colon")
    return "", text


def _host(authority: str) -> str:
    user, _, host = authority.rpartition("@")
    if not _USER.fullmatch(user) or _BAD_ESCAPE.search(user):
        raise ValueError("net/url: invalid userinfo")
    if host.startswith("["):
        bracketed = _BRACKETED.fullmatch(host)
        if bracketed is None:
            raise ValueError("invalid IPv6 host or port")
        return unquote(host)
    name, colon, port = host.partition(":")
    if colon and not _PORT.fullmatch(colon + port):
        raise ValueError(f'invalid port "{colon}{port}" after host')
    if not _HOST.fullmatch(name):
        raise ValueError("invalid character in host name")
    return unquote(host)


@LIBRARY.function("url(string) -> URL")
def parse(text: str) -> URL:
    try:
        return split_url(text)
    except ValueError as error:
        message = f'URL parse error during conversion from string: parse "{text}": {error}'
        raise CELEvaluationError(message) from None


@LIBRARY.function("isURL(string) -> bool")
def is_url(text: str) -> bool:
    try:
        split_url(text)
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
    return quote(url.path, safe=_PATH_SAFE + "%!'()*[]")


@LIBRARY.function("URL.getQuery() -> map<string, list<string>>")
def query(url: URL) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for pair in url.query.split("&"):
        if not pair or ";" in pair or _BAD_ESCAPE.search(pair):
            continue
        key, _, value = pair.partition("=")
        values.setdefault(unquote_plus(key), []).append(unquote_plus(value))
    return values
