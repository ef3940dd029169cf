"""What a user of the TFDS data sets counts on: content, sources, secrets, and no look elsewhere."""

from __future__ import annotations

import base64
import gzip
import json
import pathlib
import pickle
import sys

import numpy as np
import pytest
import small_dataset as small
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums, download_manager
from tensorflow_datasets.core.utils import gcs_utils

import fmnist_tfds  # noqa: F401  registers
from fmnist_tfds import catalog
from fmnist_tfds.datasets import obtained_builder
from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient

DATASET = catalog.FASHION_MNIST
REPO = pathlib.Path(__file__).resolve().parents[2]


def builder_of(folder, data_dir, **options):
    return tfds.builder(
        "fmnist_resilient", data_dir=data_dir, mirrors=["off", str(folder)], **options
    )


def examples(builder, split):
    read = tfds.ReadConfig(interleave_cycle_length=1)
    found = list(tfds.as_numpy(builder.as_dataset(split, read_config=read)))
    return np.stack([e["image"][..., 0] for e in found]), np.array([e["label"] for e in found])


@pytest.mark.parametrize("options", [{}, {"num_shards": 7}, {"max_examples_per_split": 13}])
def test_every_image_keeps_its_label_in_every_shard(options, small_data, tmp_path):
    builder = builder_of(small_data, tmp_path / "tfds")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**options))
    for split, count in small.COUNTS.items():
        images, labels = small.arrays(split)
        count = options.get("max_examples_per_split", count)
        found_images, found_labels = examples(builder, split)
        np.testing.assert_array_equal(found_images, images[:count])
        np.testing.assert_array_equal(found_labels, labels[:count])
        info = builder.info.splits[split]
        assert info.num_examples == sum(info.shard_lengths) == count
        assert info.num_shards == options.get("num_shards", 1)


def test_split_info_states_what_lies_on_the_disk(small_data, tmp_path):
    builder = builder_of(small_data, tmp_path / "tfds")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=7))
    assert list(builder.info.splits) == ["train", "test"]
    for split, info in builder.info.splits.items():
        files = sorted(pathlib.Path(builder.data_dir).glob(f"fmnist_resilient-{split}.tfrecord-*"))
        assert [path.name for path in files] == sorted(info.filenames)
        # Source: the TFRecord framing, 16 bytes around each example.
        framed = [path.stat().st_size for path in files]
        assert info.num_bytes == sum(framed) - 16 * info.num_examples
        one = sum(framed) // info.num_examples
        assert [size // one for size in framed] == list(info.shard_lengths)
    again = tfds.builder_from_directory(builder.data_dir)
    assert again.info.splits["train"].num_bytes == builder.info.splits["train"].num_bytes


def test_other_formats_keep_the_original_order(small_data, tmp_path):
    pytest.importorskip("array_record")
    builder = builder_of(small_data, tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare()
    for split in small.COUNTS:
        images, labels = small.arrays(split)
        found = list(builder.as_data_source(split))
        np.testing.assert_array_equal([example["image"][..., 0] for example in found], images)
        assert [example["label"] for example in found] == labels.tolist()


def test_metadata_is_what_the_interface_promises(tmp_path):
    for name, version in (("fmnist_resilient", "1.0.0"), ("fmnist_synthetic", "2.0.0")):
        info = tfds.builder(name, data_dir=tmp_path).info
        assert (info.name, str(info.version)) == (name, version)
        assert set(info.features) == {"image", "label"}
        assert info.features["image"].shape == (28, 28, 1)
        assert np.dtype(info.features["image"].np_dtype) == np.uint8
        assert info.supervised_keys == ("image", "label")
        assert info.homepage == "https://github.com/zalandoresearch/fashion-mnist"
        assert info.features["label"].names == list(DATASET.class_names)
        assert info.features["label"].num_classes == 10
    assert "NOT Fashion-MNIST" in info.description
    for file in DATASET.files:
        assert file.name in resilient.Builder.MANUAL_DOWNLOAD_INSTRUCTIONS


class Asked(Exception):
    """Something asked Google's bucket for the data."""


def ask(*arguments, **named):
    raise Asked(arguments)


@pytest.mark.parametrize("name", ["fmnist_resilient", "fmnist_synthetic"])
def test_no_data_set_is_looked_for_in_googles_bucket(name, small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(gcs_utils, "is_dataset_on_gcs", ask)
    monkeypatch.setattr(gcs_utils, "download_gcs_dataset", ask)
    options = {"mirrors": ["off", str(small_data)]} if name == "fmnist_resilient" else {}
    builder = tfds.builder(name, data_dir=tmp_path / "tfds", **options)
    config = tfds.download.DownloadConfig(max_examples_per_split=5, try_download_gcs=True)
    builder.download_and_prepare(download_config=config)
    assert builder.info.splits["test"].num_examples == 5


def test_tfds_checks_the_files_against_its_own_checksums_as_well(small_data, tmp_path, monkeypatch):
    infos = dict(resilient.Builder.url_infos)
    url = next(url for url in infos if url.endswith("t10k-labels-idx1-ubyte.gz"))
    infos[url] = checksums.UrlInfo(size=infos[url].size, checksum="0" * 64, filename=url[-25:])
    monkeypatch.setattr(resilient.Builder, "url_infos", infos)
    builder = builder_of(small_data, tmp_path / "tfds")
    with pytest.raises(download_manager.NonMatchingChecksumError):
        builder.download_and_prepare()
    assert not builder.is_prepared()
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))


def test_registering_checksums_writes_what_is_pinned_already(real_data, tmp_path):
    path = REPO / "fmnist_tfds" / "datasets" / "fmnist_resilient" / "checksums.tsv"
    before = path.read_bytes()
    config = tfds.download.DownloadConfig(register_checksums=True, max_examples_per_split=3)
    try:
        builder_of(real_data, tmp_path).download_and_prepare(download_config=config)
        assert path.read_bytes() == before
    finally:
        path.write_bytes(before)


def test_download_dir_holds_the_downloads_where_it_is_given(small_data, tmp_path, loopback):
    mirror = loopback(small_data)
    downloads = tmp_path / "downloads"
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path / "tfds", mirrors=[mirror.url])
    builder.download_and_prepare(download_dir=downloads)
    names = {file.name for file in DATASET.files}
    assert {path.name for path in downloads.rglob("*-ubyte.gz")} == names
    # Another data_dir on the same downloads: nothing is fetched again.
    asked = len(mirror.requests)
    again = tfds.builder("fmnist_resilient", data_dir=tmp_path / "other", mirrors=[mirror.url])
    again.download_and_prepare(download_dir=downloads)
    assert again.is_prepared()
    assert len(mirror.requests) == asked


@pytest.mark.parametrize("is_off", [False, True])
def test_turning_tfdss_bars_off_holds_for_the_download_too(
    small_data, tmp_path, loopback, monkeypatch, capsys, is_off
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    mirrors = [loopback(small_data).url]
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path / "tfds", mirrors=mirrors)
    (tfds.disable_progress_bar if is_off else tfds.enable_progress_bar)()  # others may have set it
    try:
        builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
    said = capsys.readouterr().err
    assert ("Fetching" in said) is not is_off


@pytest.mark.parametrize("where", ["{home}/downloads", "~/downloads"])
def test_manual_folder_below_download_dir_is_found(small_data, tmp_path, monkeypatch, where):
    monkeypatch.setenv("HOME", str(tmp_path))
    manual = tmp_path / "downloads" / "manual"
    manual.parent.mkdir()
    small_data.rename(manual)
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path / "tfds", mirrors="off")
    builder.download_and_prepare(download_dir=where.format(home=tmp_path))
    assert builder.is_prepared()


def test_manual_dir_that_is_given_beats_tfds_own_folder(small_data, tmp_path):
    own = tmp_path / "tfds" / "downloads" / "manual"
    own.mkdir(parents=True)
    (own / DATASET.files[0].name).write_bytes(b"<html>an old log-in page</html>")
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path / "tfds", mirrors="off")
    config = tfds.download.DownloadConfig(manual_dir=small_data)
    builder.download_and_prepare(download_config=config)
    assert builder.is_prepared()


@pytest.fixture
def toml(small_data, loopback, tmp_path, monkeypatch):
    """A configuration whose mirror takes two secrets of the environment."""
    monkeypatch.delenv("FMNIST_TFDS_MIRRORS")
    monkeypatch.setenv("HOUSE_TOKEN", "t0p-secret-token")
    monkeypatch.setenv("HOUSE_PASSWORD", "hunter2")
    path = tmp_path / "site.toml"
    path.write_text(
        f'[[mirrors]]\nname = "corp"\nurl = "{loopback(small_data).url}"\n'
        'headers = { X-Api-Key = "env:HOUSE_TOKEN" }\n'
        'auth = { type = "basic", username = "ann", password = "env:HOUSE_PASSWORD" }\n'
    )
    return path


def test_receipt_beside_the_records_names_the_source_and_no_secret(toml, tmp_path):
    data_dir = tmp_path / "tfds"
    builder = tfds.builder("fmnist_resilient", data_dir=data_dir, config_file=str(toml))
    builder.download_and_prepare()
    receipt = json.loads((pathlib.Path(builder.data_dir) / "receipt.json").read_text())
    for file in resilient.Builder.DATASET.files:
        entry = receipt["files"][file.name]
        assert entry["payload_sha256"] == file.payload_sha256
        assert "127.0.0.1" in entry["source"]
    everything = b"".join(path.read_bytes() for path in data_dir.rglob("*") if path.is_file())
    for secret in (b"hunter2", b"t0p-secret", base64.b64encode(b"ann:hunter2")):
        assert secret not in everything


def test_builder_that_was_pickled_knows_its_sources(toml, small_data, tmp_path):
    for number, options in enumerate(
        ({"config_file": str(toml)}, {"mirrors": ["off", str(small_data)]})
    ):
        made = tfds.builder("fmnist_resilient", data_dir=tmp_path / str(number), **options)
        again = pickle.loads(pickle.dumps(made))
        again.download_and_prepare()
        assert again.info.splits["test"].num_examples == small.COUNTS["test"]


def test_files_whose_gz_is_not_the_published_one_build_the_same_records(small_data, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in small_data.glob("*.gz"):
        payload = gzip.decompress(path.read_bytes())
        (other / path.name).write_bytes(gzip.compress(payload, 1, mtime=7))
    first = builder_of(small_data, tmp_path / "first")
    second = builder_of(other, tmp_path / "second")
    records = []
    for builder in (first, second):
        builder.download_and_prepare()
        folder = pathlib.Path(builder.data_dir)
        records.append({p.name: p.read_bytes() for p in folder.glob("*.tfrecord*")})
    assert len(records[0]) == 2
    assert records[0] == records[1]


def test_prepared_data_needs_neither_mirrors_nor_configuration(small_data, tmp_path, monkeypatch):
    builder_of(small_data, tmp_path / "tfds").download_and_prepare()
    for path in small_data.iterdir():
        path.unlink()
    monkeypatch.setenv("FMNIST_TFDS_CONFIG", str(tmp_path / "no-such.toml"))
    again = tfds.builder("fmnist_resilient", data_dir=tmp_path / "tfds", mirrors=["nonsense"])
    again.download_and_prepare()
    assert len(examples(again, "train")[1]) == small.COUNTS["train"]


def test_files_of_one_folder_get_the_names_that_they_are_asked_for_by(tmp_path):
    paths = {file.name: tmp_path / file.payload_name for file in DATASET.files}
    for name, path in paths.items():
        path.write_text(name)
    with obtained_builder.one_folder(paths) as folder:
        assert {path.name: path.read_text() for path in folder.iterdir()} == {n: n for n in paths}
    for name, path in paths.items():
        path.rename(tmp_path / name)
    with obtained_builder.one_folder({name: tmp_path / name for name in paths}) as folder:
        assert folder == tmp_path, "nothing is linked or copied where all is as it should be"


def test_files_that_lie_apart_are_copied_where_links_are_not_allowed(tmp_path, monkeypatch):
    def refuse(self, target, target_is_directory=False):
        raise OSError("a privilege is not held")  # Windows, without developer mode

    paths = {}
    for number, file in enumerate(DATASET.files):
        paths[file.name] = tmp_path / str(number) / file.payload_name
        paths[file.name].parent.mkdir()
        paths[file.name].write_bytes(bytes([number]))
    for is_refused in (False, True):
        if is_refused:
            monkeypatch.setattr(pathlib.Path, "symlink_to", refuse)
        with obtained_builder.one_folder(paths) as folder:
            assert {path.name for path in folder.iterdir()} == set(paths)
            for name, path in paths.items():
                assert (folder / name).read_bytes() == path.read_bytes()
                assert (folder / name).is_symlink() != is_refused
        assert not folder.exists()
