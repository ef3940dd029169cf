"""What a worker keeps: whole files only, the newest first, of this run only."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors
from fmnist_tfds.training import worker_state

FACTS = {"seed": 0, "dataset": "numbered_clothes"}


def arrays(number):
    return [
        np.random.default_rng(number).normal(size=(3, 5)).astype(np.float32),
        np.array(number, np.int64),
        np.array([number, 2**32 - 1], np.uint32),
    ]


@pytest.fixture
def files(tmp_path):
    return worker_state.EpochFiles(tmp_path / "work" / "worker-0", FACTS)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "work" / "worker-0"


def assert_same(found, number):
    for ours, wanted in zip(found, arrays(number), strict=True):
        assert ours.dtype == wanted.dtype
        np.testing.assert_array_equal(ours, wanted)


def test_newest_is_what_was_saved_last(files):
    assert files.newest() == (0, [])
    for epoch in (1, 2, 11):  # 11 is newer than 2, though not by its first digit
        files.save(epoch, arrays(epoch))
        found, state = files.newest()
        assert found == epoch
        assert_same(state, epoch)


def test_two_epochs_are_kept_and_what_a_killed_process_left_is_removed(files, folder):
    files.save(1, arrays(1))
    (folder / ".epoch-00002.npz-killed").write_bytes(b"half")
    for epoch in (2, 3):
        files.save(epoch, arrays(epoch))
    assert [path.name for path in sorted(folder.iterdir())] == [
        "epoch-00002.npz",
        "epoch-00003.npz",
    ]


def _flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: bytes(len(data)),
        # One bit within the weights.
        lambda data: _flipped(data, data.index(arrays(2)[0].tobytes()) + 7),
    ],
    ids=["empty", "one byte", "half", "but one byte", "zeros", "one bit"],
)
def test_damaged_file_is_not_used_but_the_one_before_it(files, folder, caplog, damage):
    for epoch in (1, 2):
        files.save(epoch, arrays(epoch))
    newest = folder / "epoch-00002.npz"
    newest.write_bytes(damage(newest.read_bytes()))
    with caplog.at_level(logging.WARNING, logger="fmnist_tfds"):
        found, state = files.newest()
    assert found == 1
    assert_same(state, 1)
    assert f"{newest} is damaged and not used" in caplog.text
    files.save(2, arrays(2))
    assert files.newest()[0] == 2


def test_newest_file_may_be_removed_by_hand(files, folder):
    for epoch in (1, 2):
        files.save(epoch, arrays(epoch))
    (folder / "epoch-00002.npz").unlink()
    assert files.newest()[0] == 1


def test_files_of_another_run_are_refused_by_name(files, folder):
    files.save(1, arrays(1))
    other = worker_state.EpochFiles(folder, {**FACTS, "seed": 5})
    with pytest.raises(errors.ConfigError, match="seed: 0 -> 5"):
        other.newest()
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with pytest.raises(errors.ConfigError, match="seed: 0 -> 5"):
        worker_state.adopt_newest(strategy, other, [])


def test_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    files = worker_state.EpochFiles(tmp_path / "file" / "worker-0", FACTS)
    with pytest.raises(errors.StoreError, match="cannot write to"):
        files.save(1, arrays(1))


def test_adopting_sets_every_variable_bit_for_bit(files):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        variables = [
            keras.Variable(np.zeros_like(array), dtype=str(array.dtype), trainable=False)
            for array in arrays(0)
        ]
    assert worker_state.adopt_newest(strategy, files, variables) == 0
    assert worker_state.adopt_newest(strategy, None, variables) == 0
    assert not any(np.asarray(variable).any() for variable in variables)
    files.save(4, arrays(4))
    assert worker_state.adopt_newest(strategy, files, variables) == 4
    assert_same([np.asarray(variable) for variable in variables], 4)
