"""The published .gz made again: exactly that one, or none."""

from __future__ import annotations

import gzip

import pytest
import small_dataset as small

from fmnist_tfds import catalog
from fmnist_tfds.formats import gzip_file, idx


def test_gz_that_is_not_the_published_one_is_not_written(tmp_path):
    # The .gz of this data set were made by Python: GNU gzip gives others.
    file = small.write(tmp_path / "small").part("train", "labels")
    target = tmp_path / file.name
    assert not gzip_file.write(idx.encode(small.arrays("train")[1]), file, target)
    assert not target.exists()


def test_variables_of_the_user_do_not_change_the_published_gz(real_data, tmp_path, monkeypatch):
    file = catalog.FASHION_MNIST.part("test", "images")
    published = (real_data / file.name).read_bytes()
    if not gzip_file.write(gzip.decompress(published), file, tmp_path / "before"):
        pytest.skip("needs GNU gzip")
    monkeypatch.setenv("GZIP", "--rsyncable")
    assert gzip_file.write(gzip.decompress(published), file, tmp_path / "after")
    assert (tmp_path / "after").read_bytes() == published
