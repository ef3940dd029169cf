"""Part files: one writer each; only what its writer has left is taken over."""

from __future__ import annotations

import os
import socket
import subprocess
import time

import pytest

from fmnist_tfds.download.cache import partial_files

NAME = "labels.gz"


@pytest.fixture
def part_of(tmp_path, monkeypatch):
    """Leaves a part behind, as process `pid` of machine `host` would."""

    def leave(size, *, pid=None, host="", age_s=0.0):
        with monkeypatch.context() as patch:
            if pid:
                patch.setattr(os, "getpid", lambda: pid)
            if host:
                patch.setattr(socket, "gethostname", lambda: host)
            # In a folder of its own, or it would take over what lies there already.
            folder = tmp_path / f"of {size}"
            folder.mkdir()
            made = partial_files.Parts(folder)
            part = made.claim(NAME)
            part.write_bytes(bytes(size))
            made.release(part, keep=True)
        here = part.rename(tmp_path / part.name)
        os.utime(here, (time.time() - age_s,) * 2)
        return here

    return leave


@pytest.fixture
def living():
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def _dead():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def _taken(tmp_path):
    """The size of the part that the next download resumes; 0 for none."""
    made = partial_files.Parts(tmp_path)
    part = made.claim(NAME)
    size = part.stat().st_size if part.exists() else 0
    made.release(part, keep=False)
    return size


def test_the_part_of_a_living_process_is_left_alone(tmp_path, part_of, living):
    theirs = part_of(5, pid=living)
    assert _taken(tmp_path) == 0
    assert theirs.exists()


def test_the_part_of_a_living_process_that_hangs_is_taken_over(tmp_path, part_of, living):
    part_of(5, pid=living, age_s=700.0)
    assert _taken(tmp_path) == 5


def test_the_part_of_a_dead_process_is_taken_over(tmp_path, part_of):
    part_of(5, pid=_dead())
    assert _taken(tmp_path) == 5


@pytest.mark.parametrize(("age_s", "taken"), [(0.0, 0), (500.0, 0), (700.0, 5)])
def test_the_part_of_another_machine_is_taken_over_when_it_rests(tmp_path, part_of, age_s, taken):
    # Its process number says nothing here, not even where it is ours.
    theirs = part_of(5, host="another-machine", age_s=age_s)
    assert _taken(tmp_path) == taken
    assert theirs.exists() is (not taken)


def test_the_largest_part_is_taken_over_and_the_others_go(tmp_path, part_of):
    for size in (5, 9, 7):
        part_of(size, pid=_dead())
    assert _taken(tmp_path) == 9
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(("age_s", "stays"), [(500.0, True), (700.0, False)])
def test_pieces_without_a_writer_are_removed_by_the_next_download(tmp_path, age_s, stays):
    piece = partial_files.Parts(tmp_path).piece(NAME)
    piece.write_bytes(b"the end of the file")
    os.utime(piece, (time.time() - age_s,) * 2)
    assert _taken(tmp_path) == 0
    assert piece.exists() is stays


def test_two_downloads_of_one_process_never_share_a_part(tmp_path):
    first, second = partial_files.Parts(tmp_path), partial_files.Parts(tmp_path)
    one = first.claim(NAME)
    one.write_bytes(b"mine")
    other = second.claim(NAME)
    assert other != one
    assert not other.exists()
    assert one.read_bytes() == b"mine"
    first.release(one, keep=False)
    second.release(other, keep=False)
    assert list(tmp_path.iterdir()) == []
