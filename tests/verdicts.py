"""Our answer to a case of the corpus, and the API server's, in one form."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import replace

from dra_operator.api.kinds import NAMESPACES
from dra_operator.api.meta import ObjectKey
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.validation import (
    DEFAULT_GATES,
    Gates,
    Undecodable,
    decode,
    validate,
    validate_status_update,
    validate_update,
)
from dra_operator.validation.gates import drop_disabled
from dra_operator.validation.metatypes import Object
from dra_operator.validation.shapes import Time
from tests.corpus import Answer, Case
from tests.review import CLUSTER_SCOPED, Reviewer

ALPHA_GATES = (
    "DRADerivedAttributes",
    "DRADeviceCompatibilityGroups",
    "DRAFractionalCapacityRange",
    "DRAListTypeAttributes",
    "DRANodeAllocatableResources",
    "DRAOptionalNodeOperations",
    "DRAPartitionableDevicesType",
)
"""What is off in Kubernetes 1.37 unless an administrator wants it."""
_NEEDED_BY_THEM = ("DRAResourcePoolStatus", "NodeDeclaredFeatures")
_TRIES = 20
_CHANGED_MEANWHILE = "please apply your changes to the latest version and try again"


_SYNTAX: Final = re.compile(r"ERROR: <input>:\d+:\d+: Syntax error: .*", re.DOTALL)


def in_any_words(answer: Answer) -> Answer:
    """The answer without what a parser expected where: that is told in other words (docs/reference/validation.md)."""
    return Answer(tuple(_SYNTAX.sub("", error) for error in answer.errors), answer.message)


def text_of(case: Case) -> str:
    """The object as it is sent."""
    return case.text or json.dumps(case.object, ensure_ascii=False)


def our_answer(case: Case, gates: Gates = DEFAULT_GATES) -> Answer:
    decoded = decode(text_of(case))
    if isinstance(decoded, Undecodable):
        return Answer(message=decoded.message)
    new = decoded.object
    if case.before is None:
        errors = validate(new, gates=gates, namespace_labels=case.namespace)
    else:
        old = drop_disabled(_stored(case.before, deleting=case.deleting), None, gates)
        new = replace(new, metadata=replace(new.metadata, resource_version="1"))
        if case.part == "status":
            errors = validate_status_update(new, old, gates=gates, namespace_labels=case.namespace)
        else:
            errors = validate_update(new, old, gates=gates)
    return _masked(case, Answer(errors=tuple(map(str, errors))))


def _masked(case: Case, answer: Answer) -> Answer:
    """The answer without what is random in a generated name."""
    meta = case.object.get("metadata")
    start = meta.get("generateName") if isinstance(meta, dict) else None
    if not isinstance(start, str):
        return answer
    start = start[:58]  # that is how much of it the API server takes
    pattern = f'"{re.escape(start)}[a-z0-9]{{5}}"'
    return Answer(tuple(re.sub(pattern, f'"{start}?????"', each) for each in answer.errors), answer.message)


def _stored(before: dict[str, Any], *, deleting: bool) -> Object:
    found = decode(before)
    assert not isinstance(found, Undecodable), found
    moment = Time(1_800_000_000) if deleting else None
    meta = replace(found.object.metadata, namespace="default", deletion_timestamp=moment, resource_version="1")
    if type(found.object).__name__ in CLUSTER_SCOPED:
        meta = replace(meta, namespace="")
    return replace(found.object, metadata=meta)


def gate_flags(gates: Sequence[str]) -> tuple[str, ...]:
    """The API server's flag that enables these gates."""
    if not gates:
        return ()
    return ("--feature-gates=" + ",".join(f"{gate}=true" for gate in (*gates, *_NEEDED_BY_THEM)),)


class Bench:
    """An API server with a namespace for each set of labels."""

    def __init__(self, reviewer: Reviewer, namespaces: dict[str, str]) -> None:
        self._reviewer = reviewer
        self._namespaces = namespaces

    async def answers(self, cases: Iterable[Case]) -> dict[str, Answer]:
        """The API server's answers, by the names of the cases."""
        known = list(cases)
        return dict(zip((each.name for each in known), await asyncio.gather(*map(self.answer, known)), strict=True))

    async def answer(self, case: Case) -> Answer:
        namespace = self._namespaces[_key(case.namespace)]
        if case.before is None:
            return _masked(case, await self._reviewer.on_create(case.kind, text_of(case), namespace))
        old = await self._reviewer.store(case.kind, case.before, namespace)
        name = old["metadata"]["name"]
        try:
            if case.deleting:
                old = await self._reviewer.delete(case.kind, name, namespace)
            return await self._answer_to_change(case, old, namespace)
        finally:
            if case.deleting:
                await self._reviewer.release(case.kind, name, namespace)
            else:
                await self._reviewer.delete(case.kind, name, namespace)

    async def _answer_to_change(self, case: Case, old: dict[str, Any], namespace: str) -> Answer:
        name = old["metadata"]["name"]
        for _ in range(_TRIES):
            new = copy.deepcopy(case.object)
            new.setdefault("metadata", {})["resourceVersion"] = old["metadata"]["resourceVersion"]
            text = json.dumps(new, ensure_ascii=False)
            answer = await self._reviewer.on_update(case.kind, text, name, namespace, subresource=case.part)
            if not answer.message.endswith(_CHANGED_MEANWHILE):  # a controller has a look at new objects, too
                return answer
            old = await self._reviewer.read(case.kind, name, namespace)
        raise AssertionError(f"{case.kind} {name} changes all the time")


@asynccontextmanager
async def bench(plane: ControlPlane, cases: Iterable[Case]) -> AsyncIterator[Bench]:
    """A bench for these cases; nothing of it is left behind."""
    labels = {_key(case.namespace): case.namespace for case in cases} | {"": {}}
    run = uuid.uuid4().hex[:8]
    namespaces = {name: f"corpus-{run}-{i}" for i, name in enumerate(labels)}
    async with plane.client() as client:
        try:
            for name, namespace in namespaces.items():
                await client.create(NAMESPACES, {"metadata": {"name": namespace, "labels": labels[name]}})
            async with Reviewer(plane.kubeconfig(), namespaces[""]) as reviewer:
                yield Bench(reviewer, namespaces)
        finally:
            for namespace in namespaces.values():
                await client.delete(NAMESPACES, ObjectKey("", namespace))


def _key(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
