"""atomic_file: all or nothing, and nothing left beside it."""

from __future__ import annotations

import stat

import pytest

from fmnist_tfds import atomic_file


def test_replacing_shows_the_old_content_until_the_new_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_file.replacing(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_the_file_system_allows_can_be_replaced(tmp_path):
    path = tmp_path / ("x" * 255)
    with atomic_file.replacing(path) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_replacing_leaves_nothing_where_the_writing_fails(tmp_path, failure):
    path = tmp_path / "file"
    with pytest.raises(failure), atomic_file.replacing(path) as stream:  # noqa: PT012
        stream.write(b"half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_replacing_leaves_nothing_where_the_name_cannot_be_taken(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(OSError), atomic_file.replacing(path) as stream:
        stream.write(b"new")
    assert list(tmp_path.iterdir()) == [path]
