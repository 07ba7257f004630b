"""`python -m tests.chaos --minutes 10`: prints what happened and what came of it; ends with 1 if it was not good."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import sys
import time
from typing import Final

import structlog

from tests.chaos.run import Report, run

_TOLD_TO_END: Final = 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--stock", action="store_true", help="beside upstream's resourceclaim-controller")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a good run, too")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # the stand-in kubelets
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.1f}  {line}", file=sys.stderr, flush=True)

    async def run_until_told_to_end() -> Report:
        """Ctrl-C or SIGTERM: everything that was started is stopped."""
        mine = asyncio.current_task()
        assert mine is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, mine.cancel)
        return await run(options.minutes, options.seed, say, stock=options.stock, keep=options.keep)

    try:
        report = asyncio.run(run_until_told_to_end())
    except asyncio.CancelledError:
        say("told to end")
        return _TOLD_TO_END
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
