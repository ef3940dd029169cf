"""Every container is adopted, proved and written as the four files."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import pathlib
import subprocess
import sys

import containers as made
import numpy as np
import pytest
import receipt_schema

from fmnist_tfds import catalog, errors
from fmnist_tfds.cli import main as cli
from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient
from fmnist_tfds.exchange import tool_folders
from fmnist_tfds.exchange.adopt import adopt

SHUFFLED = ("npz shuffled", "kaggle csv", "png tree")


def adopt_it(data, path, target, **options):
    return adopt.adopt(path, target, dataset=data.dataset, table=data.table, **options)


def assert_proved(data, adoption, target):
    assert set(adoption.files) == set(made.NAMES)
    for file in data.dataset.files:
        path = adoption.files[file.name]
        assert path == target / file.name
        payload = gzip.decompress(path.read_bytes())
        assert hashlib.sha256(payload).hexdigest() == file.payload_sha256
    assert sorted(p.name for p in target.iterdir()) == sorted([*made.NAMES, "receipt.json"])


def make(name, data, folder):
    folder.mkdir()
    return made.MAKERS[name](data, folder)


@pytest.mark.parametrize("name", made.MAKERS)
def test_adopt_finds_the_data_in_any_container(name, standin, tmp_path):
    path = make(name, standin, tmp_path / "in")
    adoption = adopt_it(standin, path, tmp_path / "out")
    assert_proved(standin, adoption, tmp_path / "out")
    assert adoption.form
    restored = [f["rows_restored"] for f in adoption.receipt["files"].values()]
    assert restored == [name in SHUFFLED] * 4


def _parquet_and_npz(data, root):
    """The training data as the hub has it, the test data in arrays of another order."""
    made.parquet_file(root / "train.parquet", data.x_train, data.y_train)
    x, y = made.shuffled(data.x_test, data.y_test)
    np.savez(root / "test.npz", x=x, y=y)
    return root


# What each kind of reader makes of 70,000 images: bytes as they are, text, columns and arrays.
REAL = {
    "four gz": made.MAKERS["four gz"],
    "arff": made.MAKERS["arff"],
    "parquet and npz": _parquet_and_npz,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_adopt_makes_the_published_files_of_the_real_data_within_one_gigabyte(name, real, tmp_path):
    (tmp_path / "in").mkdir()
    path = REAL[name](real, tmp_path / "in")
    code = (
        "import pathlib, sys\n"
        "from fmnist_tfds.exchange.adopt import adopt\n"
        "adopt.adopt(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "out")],
        check=True,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert int(done.stdout) < 1 << 20  # kB
    # By GNU gzip, where they were no published .gz.
    assert {n: (tmp_path / "out" / n).read_bytes() for n in made.NAMES} == real.gz


def test_adopt_writes_the_canonical_gz_where_it_was_at_hand(standin, tmp_path):
    path = made.MAKERS["tar"](standin, tmp_path)
    adoption = adopt_it(standin, path, tmp_path / "out")
    assert {n: p.read_bytes() for n, p in adoption.files.items()} == standin.gz
    assert all(f["canonical_gz"] for f in adoption.receipt["files"].values())


def test_adopt_says_in_the_receipt_that_the_gz_is_our_own(standin, tmp_path, monkeypatch):
    path = make("npz keras", standin, tmp_path / "in")
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    adoption = adopt_it(standin, path, tmp_path / "out")
    assert_proved(standin, adoption, tmp_path / "out")
    assert not any(f["canonical_gz"] for f in adoption.receipt["files"].values())


def test_adopt_receipt_says_from_what_and_when(standin, tmp_path):
    path = make("zip of idx", standin, tmp_path / "in")
    now = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    adoption = adopt_it(standin, path, tmp_path / "out", now=lambda: now)
    assert json.loads((tmp_path / "out" / "receipt.json").read_text()) == adoption.receipt
    receipt_schema.check(adoption.receipt)
    entry = adoption.receipt["files"]["train-images-idx3-ubyte.gz"]
    assert entry["time"] == "2024-05-06T07:08:09+00:00"
    assert entry["source"] == f"adopted:{path}"
    assert entry["member"] == "a.zip!data/train-images-idx3-ubyte"
    assert entry["form"] == "zip > IDX"


def test_adopt_works_in_place_and_twice(standin, tmp_path):
    folder = make("mindspore", standin, tmp_path / "in")
    first = adopt_it(standin, folder, folder)
    contents = {n: p.read_bytes() for n, p in first.files.items()}
    second = adopt_it(standin, folder, folder)
    assert {n: p.read_bytes() for n, p in second.files.items()} == contents


def test_adopt_looks_past_damaged_files_beside_complete_ones(standin, tmp_path):
    folder = make("npz keras", standin, tmp_path / "in").parent
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b" + b"\0" * 50)
    (folder / "other.zip").write_bytes(b"PK\x03\x04 no zip")
    (folder / "table.csv").write_text("label,a,b\n1,2,3\n")
    assert_proved(standin, adopt_it(standin, folder, tmp_path / "out"), tmp_path / "out")


def test_adopt_restores_rows_mixed_over_both_splits(standin, tmp_path):
    x = np.concatenate([standin.x_train, standin.x_test])
    y = np.concatenate([standin.y_train, standin.y_test])
    x, y = made.shuffled(x, y)
    np.savez(tmp_path / "a.npz", x=x[:70], y=y[:70])
    np.savez(tmp_path / "b.npz", x=x[70:], y=np.eye(10)[y[70:]])
    out = tmp_path / "out"
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).rename(folder / name)
    assert_proved(standin, adopt_it(standin, folder, out), out)


def test_adopt_without_a_row_table_takes_rows_in_order_only(standin, tmp_path):
    ordered = make("npz keras", standin, tmp_path / "ordered")
    adopt.adopt(ordered, tmp_path / "out", dataset=standin.dataset)
    mixed = make("npz shuffled", standin, tmp_path / "mixed")
    with pytest.raises(errors.ContentError, match="not in the original order"):
        adopt.adopt(mixed, tmp_path / "out2", dataset=standin.dataset)


def test_local_places_are_found_through_their_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        "KERAS_HOME",
        "TFDS_DATA_DIR",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_DATASETS_CACHE",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    assert tool_folders.existing() == []
    keras = tmp_path / "elsewhere" / "datasets" / "fashion-mnist"
    hub = tmp_path / "hf" / "hub" / "datasets--zalando-datasets--fashion_mnist"
    manual = tmp_path / "tensorflow_datasets" / "downloads" / "manual"
    cached = tmp_path / "hf" / "datasets" / "zalando-datasets___fashion_mnist"
    prepared = tmp_path / "tensorflow_datasets" / "fashion_mnist"
    for folder in (keras, hub, manual, cached, prepared):
        folder.mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert tool_folders.existing() == [keras, manual, prepared, hub, cached]
    assert tool_folders.paddle_home() == tmp_path / ".cache" / "paddle" / "dataset"


@pytest.mark.parametrize(
    ("variable", "root", "folder"),
    [
        ("KERAS_HOME", "", "datasets/fashion-mnist"),
        ("TFDS_DATA_DIR", "", "downloads/manual"),
        ("HF_HOME", "hub", "datasets--zalando-datasets--fashion_mnist"),
        ("HF_HUB_CACHE", "", "datasets--zalando-datasets--fashion_mnist"),
        ("HF_DATASETS_CACHE", "", "zalando-datasets___fashion_mnist"),
        ("XDG_CACHE_HOME", "huggingface/hub", "datasets--zalando-datasets--fashion_mnist"),
        ("KAGGLEHUB_CACHE", "", "datasets/zalando-research/fashionmnist"),
        ("SCIKIT_LEARN_DATA", "", "openml/openml.org/data/v1/download/18238735"),
    ],
)
@pytest.mark.usefixtures("own_home")
def test_folder_of_a_tool_is_where_its_variable_says(variable, root, folder, tmp_path, monkeypatch):
    place = tmp_path / root / folder
    place.mkdir(parents=True)
    assert tool_folders.existing() == []
    monkeypatch.setenv(variable, str(tmp_path))
    assert tool_folders.existing() == [place]


@pytest.mark.usefixtures("own_home")
def test_file_where_a_tool_has_a_folder_is_none(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "fashion-mnist").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert tool_folders.existing() == []


@pytest.mark.usefixtures("own_home")
def test_user_without_a_home_has_no_folders_of_tools_and_no_error(monkeypatch):
    monkeypatch.setenv("HOME", "")
    assert tool_folders.existing() == []


def test_row_table_is_small_and_names_every_real_image(real):
    images = np.concatenate([real.x_train, real.x_test]).reshape(-1, 784)
    assert (real.table.positions(images) == np.arange(70_000)).all()
    assert len(real.table.to_bytes()) < 600_000
    altered = images[:5].copy()
    altered[:, 0] ^= 1
    assert (real.table.positions(altered) == -1).all()
    assert real.dataset is catalog.FASHION_MNIST


def test_adopt_of_a_path_that_is_not_there_says_so(tmp_path):
    with pytest.raises(errors.ArgumentError, match="does not exist"):
        adopt.adopt(tmp_path / "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert list(pathlib.Path(tmp_path).iterdir()) == []


def test_what_was_adopted_without_a_gzip_program_builds(small_data, tmp_path, monkeypatch):
    dataset = resilient.Builder.DATASET
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    for path in small_data.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    out = tmp_path / "out"
    adoption = adopt.adopt(small_data, out, dataset=dataset)
    assert not any(f["canonical_gz"] for f in adoption.receipt["files"].values())
    flags = [f"--manual_dir={out}", f"--cache_dir={tmp_path / 'cache'}", "--offline"]
    assert cli.run(["build", *flags, f"--data_dir={tmp_path / 'tfds'}"]) == 0
    assert list((tmp_path / "tfds" / "fmnist_resilient").glob("*/*train.tfrecord*"))
