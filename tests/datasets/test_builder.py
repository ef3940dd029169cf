"""The builder, as training jobs use it, on the real files."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import forked
import numpy as np
import pytest
import receipt_schema
import small_dataset as small
import tensorflow_datasets as tfds

import fmnist_tfds  # noqa: F401  registers
from fmnist_tfds import catalog, errors, obtain
from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient
from fmnist_tfds.download import results
from fmnist_tfds.formats import idx, tfrecord
from fmnist_tfds.training import quickstart

DATASET = catalog.FASHION_MNIST
REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prepared(real_data, tmp_path_factory):
    """A data_dir with the real data, built from its folder without a network."""
    folder = tmp_path_factory.mktemp("tfds")
    builder = tfds.builder("fmnist_resilient", data_dir=folder, mirrors=["off", str(real_data)])
    builder.download_and_prepare()
    return folder


def _run(code: str, *arguments: object) -> str:
    done = forked.run("-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_checksums_file_is_the_catalog():
    lines = sorted(
        f"{DATASET.mirrors[0]}{f.name}\t{f.size_bytes}\t{f.sha256}\t{f.name}\n"
        for f in DATASET.files
    )
    path = REPO / "fmnist_tfds" / "datasets" / "fmnist_resilient" / "checksums.tsv"
    assert path.read_text(encoding="utf-8") == "".join(lines)


def test_load_gives_the_pixels_and_labels_in_the_original_order(prepared, real_data):
    """From both ends; that all of them are there, make_train proves by their digests."""
    first, last, whole = slice(5000), slice(-5000, None), slice(None)
    for split, part in (("train", first), ("train", last), ("test", whole)):
        arrays = []
        for kind in ("images", "labels"):
            file = DATASET.part(split, kind)
            payload = gzip.decompress((real_data / file.name).read_bytes())
            arrays.append(idx.decode(payload, file.shape))
        dataset = tfds.load(
            "fmnist_resilient",
            split=tfds.core.ReadInstruction(split, part.start, part.stop, unit="abs"),
            data_dir=prepared,
            as_supervised=True,
            download=False,
        )
        batches = list(tfds.as_numpy(dataset.batch(10_000)))
        images = np.concatenate([image for image, _ in batches])[..., 0]
        labels = np.concatenate([label for _, label in batches])
        assert np.array_equal(images, arrays[0][part])
        assert np.array_equal(labels, arrays[1][part])


@pytest.mark.versions
def test_preparing_needs_no_tensorflow(real_data, tmp_path):
    code = (
        "import sys, tensorflow_datasets as tfds, fmnist_tfds\n"
        "builder = tfds.builder('fmnist_resilient', data_dir=sys.argv[1], mirrors=sys.argv[2])\n"
        "builder.download_and_prepare()\n"
        "print(builder.info.splits['train'].num_examples, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(real_data)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout.splitlines()[-1:] == ["60000 False"], done.stderr


@pytest.mark.versions
@pytest.mark.parametrize("options", [{}, {"builder_kwargs": {"mirrors": ["off"]}}])
def test_shuffle_files_works_where_the_package_is_imported_and_the_data_prepared(prepared, options):
    dataset = tfds.load(
        "fmnist_resilient", data_dir=prepared, split="test", shuffle_files=True, **options
    )
    assert sum(len(batch["label"]) for batch in dataset.batch(1000)) == 10_000


@pytest.mark.versions
def test_load_works_where_the_package_was_never_imported(prepared):
    code = """
import sys, tensorflow_datasets as tfds
dataset, info = tfds.load("fmnist_resilient", data_dir=sys.argv[1], with_info=True,
                          shuffle_files=True, split="train")
assert "fmnist_tfds" not in sys.modules
assert next(iter(dataset))["image"].shape == (28, 28, 1)
assert info.features["label"].names[9] == "Ankle boot", info.features
assert info.splits["train"].num_examples == 60000 and info.splits["test"].num_examples == 10000
assert info.download_size == 30878645, info.download_size
assert "Xiao" in info.citation and "Zalando" in info.description
assert "MIT" in info.redistribution_info.license
"""
    _run(code, prepared)


@pytest.mark.filterwarnings("ignore")  # of matplotlib and pandas, in TFDS's use of them
def test_pictures_and_tables_of_tfds_work(prepared):
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("Agg")
    dataset, info = tfds.load("fmnist_resilient", data_dir=prepared, with_info=True, split="test")
    assert len(tfds.show_examples(dataset, info).axes) == 9
    pyplot.close("all")
    assert len(tfds.as_dataframe(dataset.take(3), info)) == 3


def test_receipt_lies_beside_the_records_without_machine_secrets(prepared):
    receipt = json.loads((prepared / "fmnist_resilient" / "1.0.0" / "receipt.json").read_text())
    receipt_schema.check(receipt)
    for file in DATASET.files:
        assert receipt["files"][file.name]["gz_sha256"] == file.sha256


def test_prepared_data_opens_no_socket_with_dead_mirrors(prepared, monkeypatch):
    import socket

    def refuse(*arguments, **named):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    builder = tfds.builder("fmnist_resilient", data_dir=prepared, mirrors=["http://dead.example/"])
    builder.download_and_prepare()
    assert builder.info.splits["train"].num_examples == 60_000


def test_quickstart_prepares_from_files_that_lie_apart(small_data, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in small_data.glob("train-*"):
        path.rename(elsewhere / path.name)
    dataset = resilient.Builder.DATASET
    found = {f.name: next(tmp_path.glob(f"*/{f.name}")) for f in dataset.files}
    files = {name: results.FileResult(path) for name, path in found.items()}
    builder = quickstart._prepare("fmnist_resilient", str(tmp_path / "tfds"), results.Result(files))
    assert builder.info.splits["train"].num_examples == small.COUNTS["train"]


def test_load_fails_over_to_the_second_mirror(small_data, tmp_path, loopback, closed_port):
    mirrors = [f"http://127.0.0.1:{closed_port}/", loopback(small_data).url]
    dataset = tfds.load(
        "fmnist_resilient",
        split="train",
        data_dir=tmp_path / "tfds",
        builder_kwargs={"mirrors": mirrors},
    )
    images = np.stack([example["image"] for example in tfds.as_numpy(dataset)])
    assert np.array_equal(images[..., 0], small.arrays("train")[0])


def test_manual_dir_takes_decompressed_files_without_a_network(small_data, tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    for path in small_data.glob("*.gz"):
        (manual / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path / "tfds", mirrors="off")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual))
    assert builder.info.splits["test"].num_examples == small.COUNTS["test"]


@pytest.mark.parametrize("form", ["gz", "decompressed"])
def test_tfds_own_manual_folder_is_found(small_data, tmp_path, form):
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    for path in small_data.iterdir():
        if form == "gz":
            path.rename(manual / path.name)
        else:
            (manual / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path / "tfds", mirrors="off")
    builder.download_and_prepare()
    assert builder.is_prepared()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train-images-idx3-ubyte.gz", None, "not-found"),
        ("train-images-idx3-ubyte.gz", b"<!doctype html><html>login</html>", "web page"),
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte"),
    ],
)
def test_bad_manual_dir_is_one_clear_error(small_data, tmp_path, name, content, said):
    if content is None:
        (small_data / name).unlink()
    elif isinstance(content, str):
        (small_data / name).write_bytes((small_data / content).read_bytes())
    else:
        (small_data / name).write_bytes(content)
    data_dir = tmp_path / "tfds"
    builder = tfds.builder("fmnist_resilient", data_dir=data_dir, mirrors="off")
    with pytest.raises(errors.ObtainError) as caught:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=small_data)
        )
    assert name in caught.value.message
    assert said in str(caught.value)
    assert not list(data_dir.rglob("*.tfrecord*")), "something half-made is left"
    assert not list(data_dir.rglob("incomplete*"))


def test_unwritable_data_dir_is_one_clear_error(small_data, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    builder = tfds.builder(
        "fmnist_resilient", data_dir=blocker / "tfds", mirrors=["off", str(small_data)]
    )
    with pytest.raises(errors.StoreError, match="cannot write the prepared data set"):
        builder.download_and_prepare()


def test_full_disk_is_one_clear_error_and_leaves_nothing(small_data, tmp_path, monkeypatch):
    import errno

    def full(images, labels):
        yield from original(images[:5], labels[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    original = tfrecord.encode
    monkeypatch.setattr(tfrecord, "encode", full)
    builder = tfds.builder(
        "fmnist_resilient", data_dir=tmp_path / "tfds", mirrors=["off", str(small_data)]
    )
    with pytest.raises(errors.StoreError, match="No space left"):
        builder.download_and_prepare()
    assert not builder.is_prepared()
    assert not list((tmp_path / "tfds").rglob("*.tfrecord*"))


class OpError(Exception):
    """As TensorFlow raises it: with a code, without an errno."""

    def __init__(self, code):
        super().__init__()
        self.error_code, self.message = code, "told by TensorFlow"


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (OpError(8), "told by TensorFlow"),  # RESOURCE_EXHAUSTED
        (OpError(7), "told by TensorFlow"),  # PERMISSION_DENIED
        (OSError("Not enough disk space. Needed: 30 MiB"), "Not enough disk space"),  # TFDS
    ],
)
@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_what_others_say_of_a_disk_is_one_clear_error(
    small_data, tmp_path, monkeypatch, cause, said, link
):
    def fail(images, labels):
        error = RuntimeError("while writing")
        setattr(error, link, cause)
        raise error

    monkeypatch.setattr(tfrecord, "encode", fail)
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path, mirrors=["off", str(small_data)])
    with pytest.raises(errors.StoreError, match=f"cannot write the prepared data set.*{said}"):
        builder.download_and_prepare()


@pytest.mark.parametrize("cause", [OpError(3), OSError("something else"), ValueError()])
def test_what_is_no_fault_of_the_disk_is_not_called_one(small_data, tmp_path, monkeypatch, cause):
    def fail(images, labels):
        raise RuntimeError("while writing") from cause

    monkeypatch.setattr(tfrecord, "encode", fail)
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path, mirrors=["off", str(small_data)])
    with pytest.raises(RuntimeError, match="while writing"):
        builder.download_and_prepare()


@pytest.mark.versions
def test_disk_that_is_really_full_is_one_clear_error(small_data, tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        builder = tfds.builder(
            "fmnist_resilient", data_dir=folder, mirrors=["off", str(small_data)]
        )
        with pytest.raises(errors.StoreError, match="cannot write the prepared data set") as caught:
            builder.download_and_prepare()
        assert "No space left" in str(caught.value)
        assert not list(folder.rglob("*.tfrecord*"))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("age_s", "shard_age_s", "stays"),
    [(30, 30, True), (2 * 3600, 30, True), (2 * 3600, 2 * 3600, False)],
)
def test_unfinished_folder_of_no_known_owner_goes_once_nothing_in_it_is_young(
    small_data, tmp_path, age_s, shard_age_s, stays
):
    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path, mirrors=["off", str(small_data)])
    unfinished = builder.data_path.parent / f"incomplete.ABC123_{builder.version}"
    unfinished.mkdir(parents=True)
    shard = unfinished / "fmnist_resilient-train.tfrecord-00000-of-00001"
    shard.write_bytes(b"half")
    for path, age in ((shard, shard_age_s), (unfinished, age_s)):
        os.utime(path, (time.time() - age,) * 2)
    builder.download_and_prepare()
    assert unfinished.exists() == stays


@pytest.mark.parametrize("moment", ["while it obtains", "while it writes", "as it publishes"])
def test_preparer_that_another_overtakes_takes_its_result(
    small_data, tmp_path, monkeypatch, moment
):
    first, second = (
        tfds.builder("fmnist_resilient", data_dir=tmp_path / name, mirrors=["off", str(small_data)])
        for name in ("first", "second")
    )
    first.download_and_prepare()
    target = pathlib.Path(second.data_dir)

    def overtake():
        shutil.copytree(first.data_dir, target)

    def obtain_all(*arguments, **named):
        if moment == "while it obtains":
            overtake()
        return obtained(*arguments, **named)

    def encode(images, labels):
        if moment == "while it writes" and not target.exists():
            overtake()
        return encoded(images, labels)

    def rename(source, to):
        if moment == "as it publishes" and pathlib.Path(to) == target:
            overtake()
        renamed(source, to)

    obtained, encoded, renamed = obtain.obtain, tfrecord.encode, os.rename
    monkeypatch.setattr(obtain, "obtain", obtain_all)
    monkeypatch.setattr(tfrecord, "encode", encode)
    monkeypatch.setattr(os, "rename", rename)
    second.download_and_prepare()
    assert second.info.splits["train"].num_examples == small.COUNTS["train"]
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("options", [{"num_shards": 3}, {"max_examples_per_split": 7}])
def test_tfds_options_are_honoured(small_data, tmp_path, options):
    builder = tfds.builder(
        "fmnist_resilient", data_dir=tmp_path / "tfds", mirrors=["off", str(small_data)]
    )
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**options))
    read = tfds.ReadConfig(interleave_cycle_length=1)
    images = np.stack(
        [e["image"] for e in tfds.as_numpy(builder.as_dataset("train", read_config=read))]
    )
    count = options.get("max_examples_per_split", small.COUNTS["train"])
    assert np.array_equal(images[..., 0], small.arrays("train")[0][:count])
    assert builder.info.splits["train"].num_shards == options.get("num_shards", 1)


def test_array_record_is_read_as_a_data_source(small_data, tmp_path):
    builder = tfds.builder(
        "fmnist_resilient",
        data_dir=tmp_path / "tfds",
        mirrors=["off", str(small_data)],
        file_format="array_record",
    )
    builder.download_and_prepare()
    source = builder.as_data_source("train")
    assert np.array_equal(source[3]["image"][..., 0], small.arrays("train")[0][3])


def test_builder_survives_pickling(small_data, tmp_path):
    import pickle

    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path, mirrors=["off", str(small_data)])
    again = pickle.loads(pickle.dumps(builder))
    again.download_and_prepare()
    assert again.is_prepared()


def test_both_routes_of_tfds_build_work_in_one_process():
    code = """
import tensorflow_datasets as tfds
from tensorflow_datasets.scripts.cli import build
path = "fmnist_tfds/datasets/fmnist_resilient"
path_class, _ = build._get_builder_cls_and_kwargs(path, has_imports=False)
assert path_class.name == "fmnist_resilient"
import fmnist_tfds
named = tfds.builder_cls("fmnist_resilient")
assert named.name == "fmnist_resilient" and "fmnist_resilient" in tfds.list_builders()
"""
    _run(code)
    _run("\n".join(["import fmnist_tfds", code]))


def test_synthetic_is_prepared_and_never_called_fashion_mnist(tmp_path):
    builder = tfds.builder("fmnist_synthetic", data_dir=tmp_path)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(max_examples_per_split=20)
    )
    assert builder.info.description.startswith("NOT Fashion-MNIST")
    assert builder.info.splits["train"].num_examples == 20
