"""`kopf run` logs what `dra-operator run` would: no line for every event, and ours from the level that is set."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOG = """
import logging, sys, structlog
from dra_operator.handlers import limit_logs
logging.basicConfig(level=sys.argv[1], stream=sys.stdout)  # what Kopf does
limit_logs(sys.argv[2])
objects = logging.getLogger("kopf.objects")
objects.info("Handler 'on_pod' succeeded.")
objects.error("Handler 'on_pod' failed.")
log = structlog.get_logger()
for level in ("debug", "info", "warning"):
    log.log(logging.getLevelNamesMapping()[level.upper()], "ours: " + level)
"""


@pytest.mark.parametrize(
    ("kopfs", "level", "logged", "left_out"),
    [
        ("INFO", "info", ["failed", "ours: info"], ["succeeded", "ours: debug"]),
        ("INFO", "warning", ["failed", "ours: warning"], ["succeeded", "ours: info"]),
        ("DEBUG", "debug", ["failed", "succeeded", "ours: debug"], []),
    ],
    ids=["default", "ours less", "verbose"],
)
def test_what_is_logged_under_kopf_run(kopfs: str, level: str, logged: list[str], left_out: list[str]) -> None:
    run = subprocess.run([sys.executable, "-c", LOG, kopfs, level], capture_output=True, text=True, check=True)

    assert [one for one in logged if one not in run.stdout] == []
    assert [one for one in left_out if one in run.stdout] == []
