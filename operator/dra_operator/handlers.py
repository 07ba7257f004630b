"""The Kopf registrations: `kopf run -m dra_operator.handlers --all-namespaces` is the whole operator.

A handler passes its event on and returns; it never writes, so Kopf adds no annotation and no finalizer to anything.
Each names group and version of its resource. Were one left out, Kopf would ask all groups what they have when
it starts, and not begin while the server of one of them, which is none of ours, is away.
Admission handlers answer from what is in the request: no mirror has to be synced, and no Lease be held.
`dra-operator run` puts a started Controller into the memo, which then survives restarts of Kopf; `kopf run` does not,
and the startup handler makes one from the environment (`DRA_OPERATOR_…`) and the file that `DRA_OPERATOR_CONFIG` names.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
import warnings
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import structlog

from dra_operator.api.codec import convert
from dra_operator.api.depth import allow_deep_json
from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, NODES, PODS, TEMPLATES
from dra_operator.api.text import cut
from dra_operator.cluster.flavour import Api, ApiMissing
from dra_operator.cluster.said import Said
from dra_operator.controller.controller import Controller
from dra_operator.controller.kopf_light import kopf
from dra_operator.controller.settings import Settings
from dra_operator.lifecycle.gate import NewPod, find_gates
from dra_operator.settings.model import SettingError, variables_of
from dra_operator.settings.resolve import resolve
from dra_operator.validation.review import review

log = structlog.get_logger()

_LIST_CHUNK = 100
"""Objects that Kopf asks for at once. Otherwise it holds all pods of the cluster as dicts, each with a task: 20,000 of
them took hundreds of megabytes that were never given back, and seconds in which nothing else ran."""


class Backoffs:
    """Seconds between the attempts of a request, for ever: at the end of a list Kopf would end, and all its watches."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 1, 2, 3, 5, 8)
        yield from repeat(13)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing is remembered in the objects, and none is compared with what it was."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """Nothing: Kopf would copy the whole object for every event, a quarter of what an event costs."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Keep nothing."""


class _NoProgress(kopf.ProgressStorage):
    """No handler of ours has a progress: events are passed on, once."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Keep nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """There is nothing."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Change nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def identity() -> str:
    """Who this replica is in the Lease: unique even where two run on one host."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"


def other_variables() -> frozenset[str]:
    """What other programs of ours read from the environment."""
    from dra_operator.agent.settings import AgentSettings  # late: only where a variable is not the controller's

    return variables_of(AgentSettings)


def limit_logs(level: str) -> None:
    """What is logged under `kopf run`: of ours, what the setting says; Kopf's line for every event only if it is asked
    to be verbose. Form and place of all lines are Kopf's business there.
    """
    if not structlog.is_configured():
        number = logging.getLevelNamesMapping()[level.upper()]
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("kopf.objects").setLevel(logging.WARNING)


@kopf.on.login()
async def login(memo: Any, **_: Any) -> kopf.AiohttpSession:
    """Kopf goes where the controller goes, as whom the controller goes, and within the same limits."""
    controller: Controller = memo["controller"]
    return kopf.AiohttpSession(
        server=controller.credentials.server, aiohttp_session=await controller.session_for_kopf()
    )


def _giving_up(why: str) -> SystemExit:
    """Ends the process. For any other exception Kopf has a traceback, and tries again in a minute."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)  # Kopf's, which did not begin
    return SystemExit(f"dra-operator: {why}")


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, memo: Any, **_: Any) -> None:
    allow_deep_json()  # Kopf reads templates with the standard library's reader
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 0.05
    settings.queueing.worker_limit = None
    settings.networking.error_backoffs = Backoffs()
    settings.networking.connect_timeout = 10
    settings.watching.chunk_size = _LIST_CHUNK
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.inactivity_timeout = 200  # the first bookmark of a quiet watch comes after 120 s
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    if memo.get("controller") is None:
        try:
            found = resolve(Settings, others=other_variables).settings
        except SettingError as error:
            raise _giving_up(str(error)) from None
        limit_logs(found.log_level.value)
        try:
            controller = Controller(found, identity=identity())
        except (OSError, ValueError) as error:
            raise _giving_up(f"cannot connect: {error}") from None
        try:
            await controller.start()
        except (ApiMissing, OSError) as error:
            await controller.stop()
            raise _giving_up(f"cannot start: {error}") from None
        memo["controller"] = controller
        memo["ours"] = True
    settings.admission.server = memo["controller"].admission.answer_by_kopf


@kopf.on.cleanup()
async def cleanup(memo: Any, **_: Any) -> None:
    if memo.get("ours"):
        await memo["controller"].stop()


@kopf.on.event(PODS.group, PODS.version, PODS.plural)
async def on_pod(event: Any, memo: Any, **_: Any) -> None:
    memo["controller"].observe(PODS, event["type"], event["object"])


@kopf.on.event(TEMPLATES.group, TEMPLATES.version, TEMPLATES.plural)
async def on_template(event: Any, memo: Any, **_: Any) -> None:
    memo["controller"].observe(TEMPLATES, event["type"], event["object"])


@kopf.on.event(NAMESPACES.group, NAMESPACES.version, NAMESPACES.plural)
async def on_namespace(event: Any, memo: Any, **_: Any) -> None:
    memo["controller"].observe(NAMESPACES, event["type"], event["object"])


@kopf.on.event(CLASSES.group, CLASSES.version, CLASSES.plural)
async def on_class(event: Any, memo: Any, **_: Any) -> None:
    memo["controller"].observe(CLASSES, event["type"], event["object"])


@kopf.on.event(NODES.group, NODES.version, NODES.plural)
async def on_node(event: Any, memo: Any, **_: Any) -> None:
    memo["controller"].observe(NODES, event["type"], event["object"])


# --- admission: the ids are the paths that API servers ask (`admission.WEBHOOKS`) ------------------------------------


@kopf.on.mutate(PODS.group, PODS.version, PODS.plural, id="gate", operations=["CREATE"])
async def gate(body: Any, namespace: str | None, patch: kopf.Patch, memo: Any, **_: Any) -> None:
    policy = memo["controller"].settings.policy()
    gates = find_gates(convert(dict(body), NewPod), namespace or "", policy)
    if gates is not None:
        patch.spec["schedulingGates"] = [{"name": name} for name in gates]


@kopf.on.validate(CLASSES.group, CLASSES.version, CLASSES.plural, id="selectors", operations=["CREATE", "UPDATE"])
@kopf.on.validate(TEMPLATES.group, TEMPLATES.version, TEMPLATES.plural, id="selectors", operations=["CREATE"])
@kopf.on.validate(CLAIMS.group, CLAIMS.version, CLAIMS.plural, id="selectors", operations=["CREATE"])
async def selectors(body: kopf.Body, memo: Any, **given: Any) -> None:
    before = given.get("old")
    alone = memo["controller"].api is Api.CRD  # a schema cannot say all that the built-in API checks
    looking = review(dict(body), dict(before) if before is not None else None, everything=alone)
    meta = body.meta
    said = {"kind": body.get("kind"), "namespace": meta.namespace, "name": meta.name}
    try:
        refusal = await memo["controller"].admission.reviews.run(meta.namespace or "", looking)
    except TimeoutError:
        log.warning("not checked in time", **said)
        if alone:
            raise kopf.AdmissionError(_NOT_IN_TIME, code=429) from None
        return  # the API server checks it, too
    if refusal is not None:
        log.info("refused", **said, why=cut(refusal, _LOGGED))
        raise kopf.AdmissionError(refusal, code=422)


_LOGGED = 1_000
"""Bytes of a refusal: who reads the log wants to know that there was one, and of what kind."""
_NOT_IN_TIME = (
    "its expressions could not be checked in time, and nobody else checks them: try again when fewer objects are "
    "created in this namespace at once; if it stays so, its expressions are too long together: write it as several"
)


class _Answered(logging.Filter):
    """Kopf logs a refusal as a failure of its handler. It is an answer to whoever wrote the object."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Webhook 'selectors' failed permanently")


class _Retried(logging.Filter):
    """Kopf logs every attempt of every request that fails, thousands while an API server is away for an hour."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, Said] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        _, retried, what = record.getMessage().partition(" failed; will retry: ")
        request, _, why = what.partition(" -> ")
        if not retried:
            return True
        path = request.partition("?")[0]  # of few kinds; the rest changes with each watch
        return self._said.setdefault(path, Said()).is_news(why)


logging.getLogger("kopf.objects").addFilter(_Answered())
for _name in ("kopf._cogs.clients.watching", "kopf._core.reactor.observation"):
    logging.getLogger(_name).addFilter(_Retried())
