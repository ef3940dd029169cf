"""What a preparer leaves to others: the claim where it fails, and all that is not its own."""

from __future__ import annotations

import errno
import pathlib

import pytest
import small_dataset as small
import tensorflow_datasets as tfds

from fmnist_tfds import errors, version_folder
from fmnist_tfds.datasets import preparation_lease, replacing_builder

NAME = "fmnist_resilient"


def make(data_dir, source="off"):
    return tfds.builder(NAME, data_dir=data_dir, mirrors=["off", str(source)])


@pytest.fixture
def folder(small_data, tmp_path, monkeypatch):
    """The version folder of a small prepared data set; the cache is empty after that."""
    builder = make(tmp_path / "tfds", small_data)
    builder.download_and_prepare()
    monkeypatch.setenv("FMNIST_TFDS_CACHE_DIR", str(tmp_path / "cache"))
    return pathlib.Path(builder.data_dir)


def test_claim_is_given_up_where_clearing_up_fails(small_data, tmp_path, monkeypatch):
    def fail(*arguments, **named):
        raise OSError(errno.EIO, "Input/output error")

    builder = make(tmp_path, small_data)
    with monkeypatch.context() as patch:
        patch.setattr(version_folder, "sweep", fail)
        with pytest.raises(errors.StoreError, match="Input/output error"):
            builder.download_and_prepare()
    assert list(builder.data_path.parent.iterdir()) == [], "the next one would wait for 15 minutes"
    builder.download_and_prepare()
    assert builder.info.splits["train"].num_examples == small.COUNTS["train"]


def test_preparer_beside_a_living_one_touches_nothing_of_it(folder, monkeypatch):
    # As between the two renames of the other, which has prepared for longer than this one waits.
    aside = folder.with_name(".1.0.0.replaced-abc123")
    folder.rename(aside)
    other = preparation_lease.Claim(folder.with_name(".1.0.0.preparing"))
    assert other.acquire(lambda: False) == "held"
    monkeypatch.setattr(replacing_builder.ReplacingBuilder, "WAIT_S", 0.01)
    with pytest.raises(errors.FmnistError):
        make(folder.parents[1]).download_and_prepare()  # has no source
    assert aside.is_dir()
    assert not folder.exists()
    assert other.is_held
    other.release()


def test_race_that_was_lost_to_nobody_is_told(small_data, tmp_path, monkeypatch):
    def refuse(self, **named):
        raise FileExistsError(errno.EEXIST, "File exists", str(self.data_path))

    builder = make(tmp_path, small_data)
    monkeypatch.setattr(tfds.core.GeneratorBasedBuilder, "download_and_prepare", refuse)
    with pytest.raises(errors.StoreError, match="File exists"):
        builder.download_and_prepare()


@pytest.mark.parametrize("is_of_command", [True, False])
def test_hint_speaks_the_language_of_the_caller(tmp_path, is_of_command):
    builder = make(tmp_path)
    builder.is_of_command = is_of_command
    with pytest.raises(errors.FmnistError) as caught:
        builder.download_and_prepare()
    assert ("--manual_dir" in str(caught.value)) == is_of_command
    assert ("DownloadConfig(manual_dir=…)" in str(caught.value)) != is_of_command
