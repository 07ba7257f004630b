"""Where the API server is and who we are: a kubeconfig, or the pod's own service account.

Tokens, token files, client certificates and CAs; users with `exec` or `auth-provider` are refused by name. Files
named by $KUBECONFIG are merged as kubectl does: the first that has a name wins, and paths are relative to the file
they stand in.

Upstream: client-go's tools/clientcmd and rest.InClusterConfig.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dra_operator.cluster.http import ApiClient

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(ValueError):
    """The message names the file, the field, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A named cluster, user or context, and the file that it stands in."""

    file: Path
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where an API server is, how to trust it, and who we are to it. Certificates are PEM."""

    server: str
    token: str | None = None
    token_file: Path | None = None
    authority: bytes | None = None
    insecure: bool = False
    certificate: bytes | None = None
    key: bytes | None = None

    def client(self) -> ApiClient:
        return ApiClient(
            self.server,
            token=self.token,
            token_file=self.token_file,
            ssl_context=self.tls() if self.server.startswith("https") else False,
        )

    def tls(self) -> ssl.SSLContext:
        tls = ssl.create_default_context(cadata=self.authority.decode() if self.authority is not None else None)
        if self.insecure:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        if self.certificate is not None and self.key is not None:
            with tempfile.NamedTemporaryFile() as pair:  # ssl loads certificates from files only
                pair.write(self.certificate + b"\n" + self.key)
                pair.flush()
                tls.load_cert_chain(pair.name)
        return tls


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
    return Credentials(
        f"https://{host}:{port}", token_file=_ACCOUNT / "token", authority=(_ACCOUNT / "ca.crt").read_bytes()
    )


def _from_files(files: list[Path], context: str | None) -> Credentials:
    clusters: dict[str, _Entry] = {}
    users: dict[str, _Entry] = {}
    contexts: dict[str, _Entry] = {}
    current = context
    found = [file for file in files if file.exists()]
    if not found:
        names = ", ".join(str(file) for file in files)
        raise KubeconfigError(f"no kubeconfig: {names} does not exist; name one with --kubeconfig or KUBECONFIG")
    for file in found:
        content = _read(file)
        for kind, entries in (("cluster", clusters), ("user", users), ("context", contexts)):
            for one in content.get(f"{kind}s") or ():
                entries.setdefault(one.get("name", ""), _Entry(file, one.get(kind) or {}))
        current = current or content.get("current-context")
    if not current:
        raise KubeconfigError(f"{found[0]}: no current-context; set one, or name one with --context")
    chosen = _pick(contexts, current, "context", found[0])
    cluster = _pick(clusters, chosen.body.get("cluster", ""), "cluster", chosen.file)
    user_name = chosen.body.get("user", "")
    user = users.get(user_name, _Entry(chosen.file, {}))
    if user.body.get("exec") or user.body.get("auth-provider"):
        raise KubeconfigError(
            f"{user.file}: user {user_name!r} signs in with a plugin (exec or auth-provider), which is not supported; "
            "use a token or a client certificate"
        )
    return _credentials(cluster, user)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{file}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise KubeconfigError(f"{file}: is no kubeconfig")
    return content


def _pick(entries: dict[str, _Entry], name: str, kind: str, file: Path) -> _Entry:
    if name not in entries:
        raise KubeconfigError(f"{file}: there is no {kind} {name!r}; there are {', '.join(sorted(entries)) or 'none'}")
    return entries[name]


def _credentials(cluster: _Entry, user: _Entry) -> Credentials:
    server = cluster.body.get("server")
    if not server:
        raise KubeconfigError(f"{cluster.file}: the cluster has no server")
    if cluster.body.get("proxy-url"):
        raise KubeconfigError(f"{cluster.file}: proxy-url is not supported")
    certificate, key = _data(user, "client-certificate"), _data(user, "client-key")
    if (certificate is None) != (key is None):
        raise KubeconfigError(f"{user.file}: client-certificate and client-key go together")
    token_file = user.body.get("tokenFile")
    return Credentials(
        server,
        token=user.body.get("token"),
        token_file=user.file.parent / token_file if token_file else None,
        authority=_data(cluster, "certificate-authority"),
        insecure=bool(cluster.body.get("insecure-skip-tls-verify")),
        certificate=certificate,
        key=key,
    )


def _data(entry: _Entry, field: str) -> bytes | None:
    """`<field>-data` decoded, or the content of the file that `<field>` names."""
    inline = entry.body.get(f"{field}-data")
    try:
        if inline:
            return base64.b64decode(inline, validate=True)
        name = entry.body.get(field)
        return (entry.file.parent / name).read_bytes() if name else None
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"{entry.file}: {field} cannot be read: {error}") from error
