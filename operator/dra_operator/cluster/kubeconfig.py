"""Where the API server is and who we are: a kubeconfig, or the pod's own service account.

Tokens, token files, client certificates, impersonation, CAs; users that sign in with a plugin (`exec`,
`auth-provider`) are left to kubernetes_asyncio, which is imported only for them (`plugins.py`). What is not supported
is refused by name, never ignored: acting as somebody else, or going another way, than the file says would be worse.

Files named by $KUBECONFIG are merged as kubectl does: the first that has a name wins, and paths are relative to the
file they stand in.

Upstream: client-go's tools/clientcmd and rest.InClusterConfig.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
import yaml
from msgspec import field

from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.proxy import ProxyError, checked_proxy, proxy_of_environment
from dra_operator.cluster.sign import Authenticator, Certificate, CertificateFiles, fits_header

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(ValueError):
    """The message names the file, the field, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A user that signs in with a plugin, as the kubeconfig has it."""

    file: Path
    user_name: str
    user: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where an API server is, how to trust it, and who we are to it. Certificates are PEM."""

    server: str
    token: str | None = None
    token_file: Path | None = None
    authority: bytes | None = None
    authority_file: Path | None = None
    """Where `authority` was read from, and is read again when a certificate is not trusted."""
    insecure: bool = False
    certificate: bytes | None = None
    key: bytes | None = None
    certificate_files: tuple[Path, Path] | None = None
    """Where certificate and key were read from, and are read again when they are refused."""
    server_name: str | None = None
    """What the server's certificate has to name, where that is not the host."""
    proxy: str | None = None
    """The URL of the proxy that leads there."""
    headers: tuple[tuple[str, str], ...] = ()
    """Whom we impersonate."""
    plugin: Plugin | None = None
    """Who gives us a token or a certificate, when there is none here."""
    namespace: str = "default"
    """Where commands look that name no namespace."""
    source: str = "credentials"
    """Where all this stands, for messages."""

    def client(self) -> ApiClient:
        tls = self.tls() if self.server.startswith("https:") else False
        return ApiClient(
            self.server,
            token=self.token,
            token_file=self.token_file,
            authenticator=self._authenticator(tls),
            ssl_context=tls,
            headers=self.headers,
            server_name=self.server_name,
            proxy=self.proxy,
            distrusted=self._trust_again(tls) if isinstance(tls, ssl.SSLContext) else None,
        )

    def _trust_again(self, tls: ssl.SSLContext) -> Callable[[], None] | None:
        """Called when a certificate was not trusted. An authority that is replaced is first trusted beside the next."""
        file = self.authority_file
        if file is None:
            return None

        def trust() -> None:
            with suppress(OSError, ssl.SSLError, UnicodeDecodeError):  # it is being written: the next attempt reads it
                tls.load_verify_locations(cadata=file.read_text())

        return trust

    def tls(self) -> ssl.SSLContext:
        """Raises `KubeconfigError` for certificates and keys that are none."""
        try:
            tls = ssl.create_default_context(cadata=None if self.authority is None else self.authority.decode())
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise KubeconfigError(f"{self.source}: certificate-authority is no PEM certificate: {error}") from error
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13's default refuses CAs that Go takes
        if self.insecure:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        if self.certificate is not None and self.key is not None:
            try:
                Certificate(tls).load(self.certificate, self.key)
            except ssl.SSLError as error:
                raise KubeconfigError(
                    f"{self.source}: client-certificate and client-key are no PEM certificate and its unencrypted key: "
                    f"{error}"
                ) from error
        return tls

    def _authenticator(self, tls: ssl.SSLContext | bool) -> Authenticator | None:
        if self.plugin is None:
            if self.token or self.token_file or self.certificate_files is None or not isinstance(tls, ssl.SSLContext):
                return None
            loaded = Certificate(tls)
            if self.certificate is not None and self.key is not None:
                loaded.load(self.certificate, self.key)
            return CertificateFiles(loaded, *self.certificate_files)
        from dra_operator.cluster.plugins import PluginAuthenticator  # late: only these users pay for it

        return PluginAuthenticator(self.plugin, tls if isinstance(tls, ssl.SSLContext) else None)


def connect(kubeconfig: str | Path | None = None, context: str | None = None) -> ApiClient:
    """A client with what `find_credentials` finds."""
    return find_credentials(kubeconfig, context).client()


def find_credentials(kubeconfig: str | Path | None = None, context: str | None = None) -> Credentials:
    """Those of the named kubeconfig, else of $KUBECONFIG, the pod's account, ~/.kube/config.

    Raises `KubeconfigError`.
    """
    files = _files(kubeconfig)
    if not files:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and (_ACCOUNT / "token").exists():
            return _in_cluster()
        files = [Path.home() / ".kube" / "config"]
    return _from_files(files, context)


def _files(given: str | Path | None) -> list[Path]:
    if given:
        return [Path(given)]
    return [Path(name) for name in os.environ.get("KUBECONFIG", "").split(os.pathsep) if name]


def _in_cluster() -> Credentials:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    namespace = _ACCOUNT / "namespace"
    server = f"https://{host}:{port}"
    return Credentials(
        server,
        proxy=_proxy(server, None, ""),
        token_file=_ACCOUNT / "token",
        authority=_read_bytes(_ACCOUNT / "ca.crt", str(_ACCOUNT)),
        authority_file=_ACCOUNT / "ca.crt",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        source=str(_ACCOUNT),
    )


# --- the file --------------------------------------------------------------------------------------------------------


class _Struct(msgspec.Struct, frozen=True, rename="kebab"):
    """A field that is null in the file has its default."""


class _Cluster(_Struct, frozen=True):
    server: str | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None


class _User(_Struct, frozen=True):
    token: str | None = None
    token_file: str | None = field(default=None, name="tokenFile")
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    username: str | None = None
    exec: dict[str, Any] | None = None
    auth_provider: dict[str, Any] | None = None
    as_user: str | None = field(default=None, name="as")
    as_uid: str | None = None
    as_groups: tuple[str, ...] | None = None
    as_user_extra: dict[str, tuple[str, ...]] | None = None


class _Context(_Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str | None = None


class _NamedCluster(_Struct, frozen=True):
    name: str
    cluster: _Cluster | None = None


class _NamedUser(_Struct, frozen=True):
    name: str
    user: _User | None = None


class _NamedContext(_Struct, frozen=True):
    name: str
    context: _Context | None = None


class _Kubeconfig(_Struct, frozen=True):
    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None
    current_context: str | None = None


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


@dataclass(frozen=True, slots=True)
class _Found(Generic[N]):
    """A named entry, and the file that it stands in."""

    file: Path
    entry: N


def _from_files(files: list[Path], context: str | None) -> Credentials:
    found = [file for file in files if file.exists()]
    if not found:
        names = ", ".join(str(file) for file in files)
        raise KubeconfigError(f"no kubeconfig: {names} does not exist; name one with --kubeconfig or KUBECONFIG")
    clusters: dict[str, _Found[_NamedCluster]] = {}
    users: dict[str, _Found[_NamedUser]] = {}
    contexts: dict[str, _Found[_NamedContext]] = {}
    current = context
    for file in found:
        content = _parse(file)
        for cluster in content.clusters or ():
            clusters.setdefault(cluster.name, _Found(file, cluster))
        for user in content.users or ():
            users.setdefault(user.name, _Found(file, user))
        for one in content.contexts or ():
            contexts.setdefault(one.name, _Found(file, one))
        current = current or content.current_context
    if not current:
        raise KubeconfigError(f"{found[0]}: no current-context; set one, or name one with --context")
    chosen = _pick(contexts, current, "context", found[0])
    of = chosen.entry.context or _Context()
    cluster_found = _pick(clusters, of.cluster, "cluster", chosen.file)
    nobody = _Found(chosen.file, _NamedUser(name=""))
    return _credentials(of, cluster_found, _pick(users, of.user, "user", chosen.file) if of.user else nobody)


def _parse(file: Path) -> _Kubeconfig:
    try:
        return msgspec.convert(yaml.safe_load(file.read_text()) or {}, _Kubeconfig)
    except yaml.MarkedYAMLError as error:  # its text would quote the line, which may be a secret
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise KubeconfigError(f"{file}{line}: is no YAML: {error.problem}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{file}: cannot be read: {type(error).__name__}") from error
    except msgspec.ValidationError as error:
        raise KubeconfigError(f"{file}: is no kubeconfig: {error}") from error


def _pick(entries: Mapping[str, _Found[N]], name: str, kind: str, file: Path) -> _Found[N]:
    if name not in entries:
        raise KubeconfigError(f"{file}: there is no {kind} {name!r}; there are {', '.join(sorted(entries)) or 'none'}")
    return entries[name]


def _credentials(context: _Context, in_cluster: _Found[_NamedCluster], as_user: _Found[_NamedUser]) -> Credentials:
    cluster, user = in_cluster.entry.cluster or _Cluster(), as_user.entry.user or _User()
    where = f"{in_cluster.file}: cluster {in_cluster.entry.name!r}"
    who = f"{as_user.file}: user {as_user.entry.name!r}"
    server = cluster.server or ""
    if not server.startswith(("https://", "http://")):
        raise KubeconfigError(f"{where}: server must begin with https:// or http://, and is {server!r}")
    authority = _data(
        cluster.certificate_authority_data,
        cluster.certificate_authority,
        in_cluster.file,
        f"{where}: certificate-authority",
    )
    if cluster.insecure_skip_tls_verify and authority is not None:
        raise KubeconfigError(f"{where}: certificate-authority and insecure-skip-tls-verify exclude each other")
    if user.username:
        raise KubeconfigError(f"{who}: username and password are not supported; use a token or a client certificate")
    for field_, value in (("token", user.token), ("as", user.as_user), ("as-uid", user.as_uid)):
        if value and not fits_header(value):
            raise KubeconfigError(f"{who}: {field_} is not one line of text")
    provider = (user.auth_provider or {}).get("name", "oidc")
    if provider != "oidc":
        raise KubeconfigError(f"{who}: auth-provider {provider!r} is not supported; use its exec plugin")
    certificate = _data(
        user.client_certificate_data, user.client_certificate, as_user.file, f"{who}: client-certificate"
    )
    key = _data(user.client_key_data, user.client_key, as_user.file, f"{who}: client-key")
    if (certificate is None) != (key is None):
        raise KubeconfigError(f"{who}: client-certificate and client-key go together")
    plugin = {"exec": user.exec, "auth-provider": user.auth_provider}
    return Credentials(
        server.rstrip("/"),
        token=user.token,
        token_file=as_user.file.parent / user.token_file if user.token_file else None,
        authority=authority,
        authority_file=_authority_file(cluster, in_cluster.file),
        insecure=bool(cluster.insecure_skip_tls_verify),
        certificate=certificate,
        key=key,
        certificate_files=_certificate_files(user, as_user.file),
        server_name=cluster.tls_server_name or None,
        proxy=_proxy(server, cluster.proxy_url, where),
        headers=_impersonation(user, who),
        plugin=Plugin(as_user.file, as_user.entry.name, plugin) if any(plugin.values()) and not user.token else None,
        namespace=context.namespace or "default",
        source=who,
    )


def _certificate_files(user: _User, file: Path) -> tuple[Path, Path] | None:
    if user.client_certificate_data or user.client_key_data or not (user.client_certificate and user.client_key):
        return None
    return file.parent / user.client_certificate, file.parent / user.client_key


def _authority_file(cluster: _Cluster, file: Path) -> Path | None:
    named = None if cluster.certificate_authority_data else cluster.certificate_authority
    return file.parent / named if named else None


def _proxy(server: str, given: str | None, where: str) -> str | None:
    """The proxy that the kubeconfig gives, or the environment."""
    named = (f"{where}: proxy-url", given) if given else proxy_of_environment(server, os.environ)
    if named is None:
        return None
    try:
        return checked_proxy(named[1])
    except ProxyError as error:
        raise KubeconfigError(f"{named[0]} {error}") from None


def _impersonation(user: _User, who: str) -> tuple[tuple[str, str], ...]:
    headers = [("Impersonate-Group", group) for group in user.as_groups or ()]
    if user.as_uid:
        headers.append(("Impersonate-Uid", user.as_uid))
    if user.as_user_extra:
        raise KubeconfigError(f"{who}: as-user-extra is not supported")
    if headers and not user.as_user:
        raise KubeconfigError(f"{who}: as-groups and as-uid need as")
    return (("Impersonate-User", user.as_user), *headers) if user.as_user else ()


def _data(inline: str | None, name: str | None, file: Path, what: str) -> bytes | None:
    """The inline base64, or the content of the file that is named relative to the kubeconfig."""
    if not inline:
        return _read_bytes(file.parent / name, what) if name else None
    try:
        return base64.b64decode("".join(inline.split()), validate=True)
    except ValueError as error:
        raise KubeconfigError(f"{what}-data is no base64: {error}") from error


def _read_bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{what} cannot be read: {error}") from error
