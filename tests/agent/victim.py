"""Plugins that kill themselves at one of the steps that their calls make on disk, each in a process of its own.

    python -m tests.agent.victim URL FOLDER

For each line with a number on stdin a plugin is forked that dies at that step, and the path of its socket is printed
when it serves. The next line ends it in any case; the signal that it died of is printed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import TextIO

from dra_operator.agent.disk import Disk
from tests.agent.bench import Bench
from tests.unit.cluster.apiserver import ApiServer


async def serve(url: str, root: str, die_at: int, answers: TextIO) -> None:
    steps = itertools.count(1)
    serving = False

    def step(what: str) -> None:
        if serving and next(steps) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    one = Bench(Path(root), ApiServer(url), disk=Disk(step))
    await one.start()
    serving = True
    assert one.plugin is not None
    print(one.plugin.sockets.plugin, file=answers, flush=True)
    await asyncio.Event().wait()


def main(url: str, root: str) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answers = os.fdopen(os.dup(1), "w")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the log of the plugin
            asyncio.run(serve(url, root, int(line), answers))
        sys.stdin.readline()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status), flush=True)


main(sys.argv[1], sys.argv[2])
