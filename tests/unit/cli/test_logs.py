"""A line of the log has an end, whoever wrote what is in it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, structlog
from dra_operator.cli.logs import configure_logging
configure_logging({form!r}, "info")
structlog.get_logger().info("refused", why="no " + "ü" * 1_000_000, count=3)
logging.getLogger("library").error("no %s", "ü" * 1_000_000)
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_of_a_megabyte_is_cut(form: str) -> None:
    program = PROGRAM.format(form=form)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=120)

    lines = done.stderr.decode().splitlines()
    assert len(lines) == 2
    assert all(len(line.encode()) < 20_000 for line in lines)
    if form == "json":
        ours, librarys = map(json.loads, lines)
        assert (ours["event"], ours["count"]) == ("refused", 3)
        assert ours["why"].startswith("no ü")
        assert len(ours["why"].encode()) <= 2_000
        assert librarys["event"].endswith("…")
