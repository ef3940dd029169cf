"""The data of `containers` as fixtures. Tests import that module: every folder has a conftest."""

import os

import pytest
from containers import real, standin

__all__ = ["real", "standin"]


@pytest.fixture
def synced(tmp_path, monkeypatch):
    """The files that were put on the disk while they had no name yet in `out`, by their inodes."""
    out, found, fsync = tmp_path / "out", set(), os.fsync

    def noting(handle):
        file = os.fstat(handle).st_ino
        named = [path for path in out.iterdir() if not path.name.startswith(".")]
        if file not in {path.stat().st_ino for path in named}:
            found.add(file)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    return found
