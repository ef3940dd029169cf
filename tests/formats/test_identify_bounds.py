"""How far a file is looked into before it is called unknown."""

from __future__ import annotations

import gzip

import pytest
import small_dataset as small

from fmnist_tfds.formats import identify, idx


@pytest.fixture
def dataset(tmp_path):
    return small.write(tmp_path / "small")


@pytest.mark.parametrize(("layers", "verdict"), [(3, "genuine-payload"), (4, "unknown")])
def test_three_layers_of_gzip_are_looked_through_and_no_more(dataset, tmp_path, layers, verdict):
    data = idx.encode(small.arrays("train")[0])
    for _ in range(layers):
        data = gzip.compress(data)
    (tmp_path / "file").write_bytes(data)
    assert identify.identify(tmp_path / "file", dataset=dataset).verdict == verdict


def test_file_of_any_size_is_identified_in_little_memory(dataset, tmp_path):
    with (tmp_path / "file").open("wb") as stream:
        stream.truncate(1 << 40)  # a hole: more than any machine holds
    found = identify.identify(tmp_path / "file", dataset=dataset)
    assert found.verdict == "unknown"
    assert found.detail.startswith("1,099,511,627,776 bytes, more than any file of")
