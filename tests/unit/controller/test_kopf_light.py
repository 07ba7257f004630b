"""Kopf costs what it does for us: neither other clients' modules nor a record of each object."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
import weakref
from typing import Any

from kopf._core.reactor import processing
from kopf._core.reactor.inventory import ResourceMemories

from dra_operator.controller.kopf_light import NoMemories, kopf


def test_the_controller_starts_without_the_typed_client_and_can_import_it_afterwards() -> None:
    program = (
        "import sys, dra_operator.cli.run, dra_operator.handlers\n"
        "assert 'kubernetes_asyncio' not in sys.modules\n"
        "import kubernetes_asyncio.config.kube_config\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_kopf_knows_an_object_while_it_shows_its_event_and_no_longer() -> None:
    body: Any = {"metadata": {"uid": "u", "name": "pod"}}

    async def show() -> None:
        memories = NoMemories()
        memo: Any = kopf.Memo(known="yes")
        record = await memories.recall(body, memobase=memo, noticed_by_listing=True)
        assert (record.memo, record.noticed_by_listing) == (memo, True)
        assert await memories.recall(body, memobase=memo) is not record
        assert list(memories.iter_all_memories()) == []
        await memories.forget(body)
        gone = weakref.ref(record)
        del record
        gc.collect()
        assert gone() is None

    asyncio.run(show())


def test_kopf_asks_for_a_record_as_it_did_when_this_was_written() -> None:
    """These are modules that Kopf promises nothing about: another name or another argument, and records are kept."""
    ours, kopfs = (inspect.signature(one.recall) for one in (NoMemories, ResourceMemories))
    assert [(one.name, one.kind, one.default) for one in ours.parameters.values()] == [
        (one.name, one.kind, one.default) for one in kopfs.parameters.values()
    ]
    assert "memories.recall(" in inspect.getsource(processing)
    assert "memories" in inspect.signature(kopf.operator).parameters
