"""Keeps the webhook's certificates: the Secret that all replicas share, and `caBundle` where API servers read it.

Every replica does this, the leader's Lease has no part in it: admission has to be answered where nobody leads. Writes
are conditional on what was read, and all replicas want the same (`certificates.step`), so whoever comes second finds
nothing left to do.

Order, and why: the configuration is read before the Secret, and written on condition that it has not changed since.
So a replica that was held up cannot put an older bundle in the place of a newer one. A new authority is served only
when the configurations were seen to trust it.

The operator may write one Secret and the webhook configurations of its own name, and create neither: they come with
`manifests/components/webhook`, which leaves `data` and `caBundle` out and so never takes them away.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from dra_operator.api.kinds import Kind
from dra_operator.api.meta import Object, ObjectKey, Struct
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.reflector import Reflector
from dra_operator.controller.admission.certificates import (
    Keyring,
    KeyringError,
    Lifetimes,
    from_data,
    step,
    to_data,
)

log = structlog.get_logger()

_TICK_MAX: Final = 10.0
"""So long may somebody be without `caBundle` who has replaced a configuration."""
_TROUBLED: Final = 2.0
_RETRY: Final = 0.5
_CONFLICT: Final = 409
_ABSENT: Final = (403, 404)
"""Not installed, or not for us to read, which comes with it."""


class Secret(Object, frozen=True):
    """Upstream: core/v1."""

    data: dict[str, str] | None = None


class ClientConfig(Struct, frozen=True):
    ca_bundle: str = ""


class Webhook(Struct, frozen=True):
    name: str
    client_config: ClientConfig = ClientConfig()


class WebhookConfiguration(Object, frozen=True):
    """Upstream: MutatingWebhookConfiguration and ValidatingWebhookConfiguration of admissionregistration.k8s.io/v1."""

    webhooks: tuple[Webhook, ...] | None = None


_GROUP: Final = "admissionregistration.k8s.io"
SECRETS: Final = Kind("", "v1", "secrets", "Secret", True, Secret)
MUTATING: Final = Kind(
    _GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False, WebhookConfiguration
)
VALIDATING: Final = Kind(
    _GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False, WebhookConfiguration
)

Place = tuple[Kind[WebhookConfiguration], str]
"""A webhook configuration by kind and name."""


class _Conflict(Exception):
    """Somebody else wrote in between: look again."""


class Keeper:
    """See the module. `use` is told of each keyring that is in force, once API servers trust it."""

    def __init__(
        self,
        client: ApiClient,
        secret: ObjectKey,
        places: Sequence[Place],
        names: Sequence[str],
        use: Callable[[Keyring], Awaitable[None]],
        *,
        lifetimes: Lifetimes,
        now: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._client = client
        self._secret = secret
        self._places = tuple(places)
        self._names = tuple(names)
        self._use = use
        self._lifetimes = lifetimes
        self._now = now
        self._rng = rng
        self._woken = asyncio.Event()
        # A watch of one name: the right to read that Secret is enough for it.
        only = f"metadata.name={secret.name}"
        self._reflector = Reflector(client, SECRETS, self, rng=rng, namespace=secret.namespace, field_selector=only)
        self.trouble: str | None = "the webhook's certificate has not been read yet"

    # --- a sink of the reflector: only that something has changed matters --------------------------------------------

    async def replace(self, objects: Sequence[Secret], resource_version: str) -> None:
        self._woken.set()

    def apply(self, type_: str, object_: Secret) -> None:
        self._woken.set()

    # --- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at everything when the Secret changes, and every now and then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reflector.run())
            tasks.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self.look()
                trouble = None
            except _Conflict:
                await asyncio.sleep(_RETRY * self._rng.random())
                continue
            except (ApiError, NoAnswer, OSError, msgspec.MsgspecError) as error:
                trouble = f"admission webhooks: {error or type(error).__name__}"
                if isinstance(error, ApiError) and error.status in _ABSENT:
                    trouble += f"; Secret {self._secret} comes with manifests/components/webhook-server"
            if trouble != self.trouble and trouble is not None:
                log.warning("the webhook's certificate is not kept", why=trouble)
            self.trouble = trouble
            await self._wait(_TROUBLED if trouble is not None else _TICK_MAX)

    async def _wait(self, most: float) -> None:
        seconds = min(self._lifetimes.announce / 2, most) * self._rng.uniform(0.8, 1.2)
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    async def look(self) -> None:
        """Once: Secret and configurations become what they should be now. Raises what the API server answers."""
        found = [(kind, one) for kind, name in self._places if (one := await self._read(kind, name)) is not None]
        secret = await self._client.get(SECRETS, self._secret)
        ring = self._keyring(secret)
        trusted = ring is not None and all(_trusts(one, ring.bundle) for _, one in found)
        wanted = step(ring, self._now(), self._names, self._lifetimes, trusted=trusted)
        if wanted is not ring:
            await self._write(secret, wanted)
            log.info("the webhook's certificates have changed", first=ring is None, announced=wanted.next is not None)
        for kind, one in found:
            if not _trusts(one, wanted.bundle):
                await self._publish(kind, one, wanted.bundle)
        await self._use(wanted)

    def _keyring(self, secret: Secret) -> Keyring | None:
        """What the Secret holds; what cannot be used is made anew, and that is said."""
        try:
            data = {name: base64.b64decode(value, validate=True) for name, value in (secret.data or {}).items()}
            return from_data(data)
        except (KeyringError, binascii.Error) as error:
            log.warning("the webhook's certificates are made anew", why=str(error))
            return None

    async def _read(self, kind: Kind[WebhookConfiguration], name: str) -> WebhookConfiguration | None:
        try:
            return await self._client.get(kind, ObjectKey("", name))
        except ApiError as error:
            if error.status in _ABSENT:
                return None
            raise

    async def _write(self, secret: Secret, ring: Keyring) -> None:
        data = {name: base64.b64encode(value).decode() for name, value in to_data(ring).items()}
        version = {"resourceVersion": secret.metadata.resource_version}
        await self._patch(SECRETS, self._secret, {"metadata": version, "data": data})

    async def _publish(self, kind: Kind[WebhookConfiguration], one: WebhookConfiguration, bundle: bytes) -> None:
        config = {"caBundle": base64.b64encode(bundle).decode()}
        body = {
            "metadata": {"resourceVersion": one.metadata.resource_version},
            "webhooks": [{"name": webhook.name, "clientConfig": config} for webhook in one.webhooks or ()],
        }
        await self._patch(kind, ObjectKey("", one.metadata.name), body)

    async def _patch(self, kind: Kind[Any], key: ObjectKey, body: dict[str, Any]) -> None:
        """A strategic patch: lists of webhooks are merged by name, and nothing else of them is touched."""
        try:
            await self._client.patch(kind, key, body, patch_type="strategic")
        except ApiError as error:
            if error.status == _CONFLICT:
                raise _Conflict from error
            raise


def _trusts(configuration: WebhookConfiguration, bundle: bytes) -> bool:
    wanted = base64.b64encode(bundle).decode()
    return all(webhook.client_config.ca_bundle == wanted for webhook in configuration.webhooks or ())
