"""Whose the files in the folder of metadata are."""

from __future__ import annotations

from pathlib import Path

from dra_operator.agent.disk import Disk
from dra_operator.agent.metadata import MetadataFolder


def test_what_is_not_named_as_a_claims_files_is_somebody_elses(tmp_path: Path) -> None:
    for name in ("one_gpu.json", "one_nic.json", "two_gpu.json", "README", "notes.txt", "one_gpu.bak", "_.json"):
        (tmp_path / name).write_text("")
    for name in ("before", "lost+found", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lost+found")

    folder = MetadataFolder(Disk(), tmp_path, "gpu.example.com")

    assert folder.uids() == ["before", "one", "two"]
    for uid in folder.uids():
        folder.remove(uid)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".hidden", "README", "_.json", "link", "lost+found", "notes.txt", "one_gpu.bak"]
