"""Which proxy leads to the API server: the kubeconfig's `proxy-url`, else what the environment says.

The variables mean what they mean to kubectl. HTTPS_PROXY is for servers of https, HTTP_PROXY for those of http, each in
capitals or not. NO_PROXY lists what is reached without: names (with all below them; with a dot in front, only these),
addresses, networks (10.0.0.0/8), each with a port or not; `*` is everything. This machine itself never has a proxy.
(urllib, and so aiohttp's `trust_env`, knows no networks: in a cluster whose NO_PROXY names that of its services, the
operator would ask the proxy for the API server.)

Only proxies of http:// are spoken to, in which TLS is end to end; others are refused by name.

Upstream: golang.org/x/net/http/httpproxy, by way of `http.ProxyFromEnvironment` and `rest.Config.Proxy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit


class ProxyError(ValueError):
    """The message says what is wrong with the proxy, without what it may hold of a password."""


def checked_proxy(url: str) -> str:
    """The URL of a proxy, as it is used. Raises `ProxyError`."""
    url = url if "://" in url else f"http://{url}"
    parts = _split(url)
    if parts is None or not parts.hostname:
        raise ProxyError("is no URL of a proxy; it should look like http://proxy.example:3128")
    if parts.scheme != "http":
        raise ProxyError(f"is a proxy of {parts.scheme}://, which is not supported; use one of http://")
    return url


def proxy_of_environment(server: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that names the proxy for this server, and what it names; None: there is none."""
    parts = _split(server)
    if parts is None or parts.hostname is None:
        return None
    upper = f"{parts.scheme.upper()}_PROXY"
    name = next((name for name in (upper, upper.lower()) if environment.get(name)), None)
    if name is None:
        return None
    without = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return None if _is_direct(parts.hostname, port, without) else (name, environment[name])


def _is_direct(host: str, port: int, without: str) -> bool:
    host = host.lower().rstrip(".")
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry.strip().lower(), host, address, port) for entry in without.split(","))


def _matches(entry: str, host: str, address: IPv4Address | IPv6Address | None, port: int) -> bool:
    """Whether an entry of NO_PROXY is about that host."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    name, only = _name_and_port(entry)
    if not name or (only and only != str(port)):
        return False
    if (named := _address(name)) is not None:
        return named == address
    name = name.removeprefix("*")
    if address is not None:
        return False
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _name_and_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    name, colon, port = entry.rpartition(":")
    return (name, port) if colon and ":" not in name else (entry, "")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for what is no number
    except ValueError:
        return None
    return parts
