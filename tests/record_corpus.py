"""Records what a real API server answers to the corpus: `make validation-record`, after a case came or changed."""

from __future__ import annotations

import asyncio

from tests.controlplane import running_control_plane
from tests.corpus import load_corpus, save_answers
from tests.verdicts import bench


async def main() -> None:
    corpus = load_corpus()
    async with running_control_plane(manifests=False) as plane, bench(plane, corpus.values()) as server:
        save_answers(await server.answers(corpus.values()))


if __name__ == "__main__":
    asyncio.run(main())
