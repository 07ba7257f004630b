"""Text that somebody else chose comes to a terminal in one line that does nothing: in tables, notes, errors, logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dra_operator.cli.explain import explain
from dra_operator.cli.inspect import devices
from dra_operator.cli.output import render_table
from dra_operator.cli.printable import printable, printable_lines
from dra_operator.cli.simulate import simulate
from tests.unit.cli.commands import call

ESCAPE, FORGED = "\x1b[2J\x9b31m\u202e", "\nerror: all is well"
SLICE = r"""
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: s1}
spec:
  driver: d.example.com
  nodeName: n1
  pool: {name: n1, generation: 1, resourceSliceCount: 1}
  devices:
  - {name: gpu-0, attributes: {productName: {string: "a\x1b[2J\nerror: all is well"}}}
"""
WAITS = r"""
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: team}
spec:
  containers: [{name: main, image: none}]
  resourceClaims: [{name: gpu, resourceClaimTemplateName: "no\x1b[2J\nerror: all is well"}]
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpu-0 größer 日本", "gpu-0 größer 日本"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x9b31m \u202e \u2028 \x7f", r"\x9b31m \u202e \u2028 \x7f"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_only_the_first_of_several_lines_begins_at_the_margin() -> None:
    assert printable_lines("one\ntwo\x1b[0m") == "one\n  two\\x1b[0m"


@pytest.mark.parametrize("text", [SLICE, WAITS, SLICE.replace("ResourceSlice", "Resource\x1b")])
def test_no_command_prints_what_a_file_holds_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "all.yaml").write_text(text.replace("\x1b", r"\x1b"))
    answers = [call(simulate, "-f", str(tmp_path)), call(devices, "-f", str(tmp_path), "--by", "product")]
    if text is WAITS:
        answers.append(call(explain, "pod/one", "-n", "team", "-f", str(tmp_path)))
    for answer in answers:
        assert "\x1b" not in answer.out + answer.err
        assert "\nerror: all is well" not in answer.out + answer.err
    assert r"\x1b" in "".join(answer.out + answer.err for answer in answers), "and it is told"


def test_a_table_on_a_terminal_is_not_coloured_by_its_cells() -> None:
    rows = [[printable(f"x{ESCAPE}{FORGED}"), "[bold]y[/]"]]
    shown = render_table(["A", "B"], rows, {})
    assert ESCAPE not in shown
    assert "[bold]y[/]" in shown, "markup in a cell is text"


LOG = """
import logging, sys, structlog
from dra_operator.cli.logs import configure_logging
configure_logging(sys.argv[1], "info")
hostile = "x\\x1b[2J\\x9b31m\\nerror: all is well"
password = "a local variable"
structlog.get_logger().info(hostile, claim=hostile, why=ValueError(hostile), many=[hostile])
logging.getLogger("kopf").error("%s", hostile)
for log in (structlog.get_logger(), logging.getLogger("kopf")):
    try:
        raise ValueError(hostile)
    except ValueError:
        log.exception("failed")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_of_the_log_is_made_by_what_it_tells_of(form: str) -> None:
    """Neither ours nor Kopf's; and no traceback tells what was in the variables."""
    run = subprocess.run([sys.executable, "-c", LOG, form], capture_output=True, text=True, check=True)

    assert "error: all is well" in run.stderr
    assert not [line for line in run.stderr.splitlines() if line.startswith("error: all is well")]
    assert "\x1b" not in run.stderr
    assert "\x9b" not in run.stderr
    assert "a local variable" not in run.stderr.replace('password = "a local variable"', "")
    if form == "json":
        assert len([json.loads(line) for line in run.stderr.splitlines()]) == 4
