"""The source without GPUs: it says what its profile or file says, and says so when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from dra_operator.agent.profiles import load_profile
from dra_operator.agent.simulated import FileSource, ProfileSource
from dra_operator.agent.sources import SourceError

ONE_GPU = """
devices:
  - name: gpu-0
    attributes: {productName: {string: NVIDIA L4}}
    capacity: {memory: {value: 24Gi}}
"""


def test_a_profile_gives_as_many_gpus_as_asked_for_or_as_its_nodes_usually_have() -> None:
    profile = load_profile("t4")
    assert len(ProfileSource(profile, "node-1", gpus=2).read().devices) == 2
    assert len(ProfileSource(profile, "node-1").read().devices) == 4
    assert ProfileSource(profile, "node-1", gpus=0).read().devices == ()


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(ONE_GPU)
    source = FileSource(file)
    assert [device.name for device in source.read().devices] == ["gpu-0"]

    file.write_text("devices: []")
    assert source.read().devices == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("devices: [", "while parsing"),
        ("gpus: []", "missing required field `devices`"),
        ("devices: [{attributes: {}}]", r"missing required field `name` - at `\$.devices\[0\]`"),
        (ONE_GPU.replace("24Gi", "24Gb"), "quantities must match"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(text)
    with pytest.raises(SourceError, match=rf"devices\.yaml: .*{complaint}"):
        FileSource(file).read()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        FileSource(tmp_path / "absent.yaml").read()
