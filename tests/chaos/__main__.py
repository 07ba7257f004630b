"""`python -m tests.chaos --minutes 10`: prints what happened and what came of it; ends with 1 if it was not good."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time

import structlog

from tests.chaos.observer import Kind
from tests.chaos.run import Report, run


def show(report: Report) -> str:
    """The report as text; its last line says it all."""
    lines = ["", "faults between the programs and the API server"]
    lines += [f"  {count:6}  {fault}" for fault, count in report.faults.most_common()]
    lines += ["kill -9"]
    lines += [f"  {count:6}  {name}" for name, count in report.kills.most_common()]
    lines += [f"what an observer of all {report.revisions} revisions saw"]
    lines += [f"  {count:6}  {what}" for what, count in sorted(report.pods.items())]
    lines += [f"  program ended by itself: {name}, {count} times" for name, count in report.ended.items()]
    lines += [f"  {one}" for one in report.violations[:50]]
    counts = ", ".join(f"{report.count(kind)} {kind}" for kind in Kind)
    converged = (
        "not converged" if report.converged is None else f"converged {report.converged:g} s after the last fault"
    )
    cleared = "" if report.cleared is None else f", all cleared {report.cleared:g} s after the last pod"
    return "\n".join([*lines, f"{report.pods['pods created']} pods: {counts}, {converged}{cleared}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="keep the logs of a good run, too")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # the stand-in kubelets
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.1f}  {line}", file=sys.stderr, flush=True)

    report = asyncio.run(run(options.minutes, options.seed, say, keep=options.keep))
    print(show(report))
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
