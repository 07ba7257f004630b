"""An admission webhook of one namespace that hangs: whoever is not in that namespace notices nothing of it."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dra_operator.api.codec import encode
from dra_operator.cluster.http import ApiClient
from dra_operator.controller.admission.certificates import Lifetimes, step
from dra_operator.controller.underway import OF_A_FLOW
from dra_operator.sandbox.state import State
from tests.e2e.operators import leading, operator
from tests.e2e.stage import Stage, new_stage, until

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
NAME = "dra-operator-test-hangs"
_TRIES = 4
"""Writes that hang are given up every 30 s, and on a busy machine a pod's life may fall into that moment."""


@dataclass(slots=True)
class Deaf:
    """Takes requests over TLS and never answers one. Not the handshake: the API server gives up on that after 10 s."""

    port: int = 0
    authority: bytes = b""
    calls: int = 0
    given_up: int = 0
    """Calls that the API server did not wait for any longer."""

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not await reader.read(1):
                return
            self.calls += 1
            try:
                while await reader.read(4096):
                    pass
            finally:
                self.given_up += 1
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _tls(self) -> ssl.SSLContext:
        ring = step(None, time.time(), ["127.0.0.1"], Lifetimes(), trusted=False)
        self.authority = ring.bundle
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with tempfile.NamedTemporaryFile() as file:
            file.write(ring.serving.certificate + ring.serving.key)
            file.flush()
            context.load_cert_chain(file.name)
        return context

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, ssl=self._tls())
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()


@asynccontextmanager
async def hanging(client: ApiClient, namespace: str) -> AsyncIterator[Deaf]:
    """Every claim that is created in the namespace waits for a webhook, for as long as a webhook may take."""
    deaf = Deaf()
    async with deaf.serving():
        rule = {"apiGroups": ["resource.k8s.io"], "apiVersions": ["*"], "resources": ["resourceclaims"]}
        webhook: dict[str, Any] = {
            "name": "hangs.dra-operator.test",
            "clientConfig": {
                "url": f"https://127.0.0.1:{deaf.port}/",
                "caBundle": base64.b64encode(deaf.authority).decode(),
            },
            "rules": [{**rule, "operations": ["CREATE"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 30,
        }
        kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
        body = {**kind, "metadata": {"name": NAME}, "webhooks": [webhook]}
        await client.request("POST", WEBHOOKS, body=encode(body))
        try:
            yield deaf
        finally:
            await client.request("DELETE", f"{WEBHOOKS}/{NAME}")


async def test_a_webhook_of_one_namespace_that_hangs_delays_no_other(bare: State, there: Stage, tmp_path: Path) -> None:
    await there.template()
    stuck = await new_stage(there.client)
    await stuck.template()
    async with (
        hanging(there.client, stuck.namespace) as webhook,
        operator(bare.operator_kubeconfig, tmp_path / "log") as process,
    ):
        await leading(process)
        names = [f"p{index:02}" for index in range(OF_A_FLOW + 8)]
        await asyncio.gather(*(stuck.pod(name, templates=("gpu",)) for name in names))

        async def share_is_used_up() -> bool:
            return webhook.calls - webhook.given_up >= OF_A_FLOW

        for number in range(_TRIES):
            await until(lambda: f"only {webhook.calls} writes hang", share_is_used_up, 90.0)
            given_up = webhook.given_up
            await there.pod(f"mine-{number}", templates=("gpu",), run_for=0.1)
            await there.succeeded(f"mine-{number}", 90.0)
            if webhook.given_up == given_up:
                break  # it ran beside writes that hung, not after one that was given up
        else:
            raise AssertionError("the other namespace's pods only ran when writes that hung were given up")
    async with operator(bare.operator_kubeconfig, tmp_path / "cleanup.log"):
        await stuck.clear()
