"""Users of a kubeconfig that sign in with a plugin: `exec` (cloud CLIs) and `auth-provider: oidc`.

kubernetes_asyncio knows how; it is imported at the first request of such a user, and only then (it takes seconds the
first time, and 70 MB). A token is used until it expires or the API server refuses it; a certificate takes the place of
the one before it in connections to come.

An OIDC token that has expired is not renewed here: kubernetes_asyncio 36 sends the client's secret and the refresh
token without verifying the provider's certificate, and a token renewed for us could void the one that kubectl has.
kubectl renews it at its next call.

Upstream: client-go's plugin/pkg/client/auth. Not here: users without plugins (`kubeconfig.py`).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from dra_operator.cluster.errors import ApiError
from dra_operator.cluster.kubeconfig import Plugin
from dra_operator.cluster.sign import Certificate, Sign, fits_header

_LOOK_SECONDS: Final = 10.0
"""How long a token is used without looking whether it has expired, and the least time between two sign-ins."""


class PluginAuthenticator:
    """An `Authenticator`. Raises `ApiError` 401 where the plugin fails: nothing else will help."""

    def __init__(self, plugin: Plugin, tls: ssl.SSLContext | None) -> None:
        self._plugin = plugin
        self._certificate = Certificate(tls) if tls is not None else None
        self._loader: Any = None
        self._value: str | None = None
        self._looked_at = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def authorization(self, *, refused: bool) -> Sign:
        async with self._one_at_a_time:
            now = asyncio.get_running_loop().time()
            if self._loader is None or now >= self._looked_at + _LOOK_SECONDS:
                self._looked_at = now
                try:
                    await self._sign_in(anew=refused)
                except Exception as error:
                    # Whatever a plugin and its library may raise: it is this user who cannot sign in.
                    self._loader = None
                    who = f"{self._plugin.file}: user {self._plugin.user_name!r}"
                    expired = "; kubectl renews an expired token" if self._plugin.user.get("auth-provider") else ""
                    raise ApiError(401, "Unauthorized", f"{who} cannot sign in: {error}{expired}") from error
            return Sign(self._value, self._certificate.replaced if self._certificate is not None else 0)

    async def _sign_in(self, *, anew: bool) -> None:
        if self._loader is None or anew:
            self._loader = await asyncio.to_thread(self._load)
        elif self._plugin.user.get("exec") and not hasattr(self._loader, "exec_plugin_expiry"):
            return  # it never expires; the loader would run the plugin each time
        result = SimpleNamespace(api_key={}, cert_file=None, key_file=None)
        await self._loader.load_and_set(result)
        value = result.api_key.get("BearerToken")
        if value is not None and not fits_header(value):
            raise ValueError("its token is not one line of text")
        self._value = value
        if result.cert_file and result.key_file and self._certificate is not None:
            self._certificate.read(Path(result.cert_file), Path(result.key_file))

    def _load(self) -> Any:
        from kubernetes_asyncio.config.kube_config import KubeConfigLoader

        user: dict[str, Any] = {name: dict(value) for name, value in self._plugin.user.items() if value}
        if "auth-provider" in user:
            settings = user["auth-provider"].get("config") or {}
            user["auth-provider"]["config"] = {name: settings[name] for name in settings if name != "refresh-token"}
        command = user.get("exec", {}).get("command", "")
        if os.sep in command:
            user["exec"]["command"] = str(self._plugin.file.parent / command)
        config = {
            "current-context": "only",
            "contexts": [{"name": "only", "context": {"cluster": "only", "user": "only"}}],
            "clusters": [{"name": "only", "cluster": {"server": "http://not.used"}}],
            "users": [{"name": "only", "user": user}],
        }
        return KubeConfigLoader(config, config_base_path=str(self._plugin.file.parent))
