"""What a tenant may write into an object is read, however deep it is; what nobody may write is an error, not an end."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from dra_operator.api.codec import decode
from dra_operator.api.resource import ResourceClaim
from dra_operator.validation.rawjson import PARAMETERS_MAX

DEEPEST = PARAMETERS_MAX // 2 - 10


def nested(levels: int) -> str:
    return '{"a":' + "[" * levels + "]" * levels + "}"


def claim(parameters: str) -> str:
    config = '{"opaque":{"driver":"gpu.example.com","parameters":' + parameters + "}}"
    return '{"metadata":{"name":"one"},"spec":{"devices":{"config":[' + config + "]}}}"


def in_a_new_process(code: str, text: str) -> str:
    """Python's limit is of the process, and another test may have raised it."""
    return subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True).stdout


def test_a_claim_with_the_deepest_parameters_that_the_api_server_stores_is_read() -> None:
    code = """
import sys
from dra_operator.api.codec import decode
from dra_operator.api.resource import ResourceClaim
print(decode(sys.stdin.read(), ResourceClaim).metadata.name)
"""
    assert in_a_new_process(code, claim(nested(DEEPEST))) == "one\n"


def test_kopf_reads_them_too_once_the_operator_has_started() -> None:
    code = """
import copy, json, sys
from dra_operator.api.depth import allow_deep_json
allow_deep_json()
print(copy.deepcopy(json.loads(sys.stdin.read()))["metadata"]["name"])
"""
    assert in_a_new_process(code, claim(nested(DEEPEST))) == "one\n"


@pytest.mark.parametrize("text", ["{", '{"metadata": 1}', nested(100_000), claim(nested(100_000)), "9" * 10_000])
def test_what_cannot_be_read_is_a_decode_error(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(text, ResourceClaim)
