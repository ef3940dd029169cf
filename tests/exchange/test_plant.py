"""Planted files are what the unmodified tools take, with no network."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys

import containers as made
import forked
import pytest

from fmnist_tfds import errors
from fmnist_tfds.exchange import plant

# Source: torchvision.datasets.FashionMNIST.resources and paddle.vision.datasets.mnist.
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
LAYOUTS = {
    "keras": ("datasets/fashion-mnist", ".gz"),
    "torchvision": ("FashionMNIST/raw", ""),
    "tfds": ("downloads/manual", ".gz"),
    "paddle": ("fashion-mnist", ".gz"),
    "mindspore": (".", ""),
}


@pytest.fixture
def files(standin, tmp_path):
    folder = made.write_all(tmp_path / "store", standin.gz)
    return {name: folder / name for name in made.NAMES}


@pytest.fixture
def own_gz(standin, tmp_path):
    """Genuine payloads in a gzip of our own."""
    packed = {n: gzip.compress(p, 1, mtime=0) for n, p in standin.payloads.items()}
    folder = made.write_all(tmp_path / "own", packed)
    return {name: folder / name for name in made.NAMES}


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_plant_writes_the_documented_layout(tool, standin, files, tmp_path):
    root = tmp_path / "root"
    planted = plant.plant(tool, files, root, dataset=standin.dataset)
    folder, suffix = LAYOUTS[tool]
    contents = standin.gz if suffix else standin.payloads
    at = root / folder
    expected = {
        str((at / (n if suffix else n.removesuffix(".gz"))).relative_to(root)): c
        for n, c in contents.items()
    }
    assert tree(root) == expected
    assert (len(planted.written), planted.kept, planted.root) == (4, (), root)
    again = plant.plant(tool, files, root, dataset=standin.dataset)
    assert (again.written, len(again.kept)) == ((), 4)


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_plant_never_overwrites_a_different_file_unasked(tool, standin, files, tmp_path):
    root = tmp_path / "root"
    folder, suffix = LAYOUTS[tool]
    name = made.NAMES[2] if suffix else made.NAMES[2].removesuffix(".gz")
    made.write_all(root / folder, {name: b"<html>cached silently</html>"})
    before = tree(root)
    with pytest.raises(errors.StoreError, match=r"is not the genuine file") as caught:
        plant.plant(tool, files, root, dataset=standin.dataset)
    assert "--overwrite" in caught.value.hint
    assert tree(root) == before
    planted = plant.plant(tool, files, root, overwrite=True, dataset=standin.dataset)
    assert len(planted.written) == 4


def test_plant_takes_own_gz_where_the_tool_does_not_check(standin, own_gz, tmp_path):
    for tool in ("keras", "torchvision", "mindspore"):
        plant.plant(tool, own_gz, tmp_path / tool, dataset=standin.dataset)
        # A genuine payload that already stands there is left alone, whatever its gzip.
        assert len(plant.plant(tool, own_gz, tmp_path / tool, dataset=standin.dataset).kept) == 4


@pytest.mark.parametrize("tool", ["tfds", "paddle"])
def test_plant_says_that_the_tool_needs_the_canonical_gz(
    tool, standin, own_gz, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.StoreError, match=r"canonical \.gz cannot be made here") as caught:
        plant.plant(tool, own_gz, tmp_path / "root", dataset=standin.dataset)
    assert "GNU gzip" in caught.value.hint
    assert not (tmp_path / "root").exists()


def test_plant_refuses_files_that_are_not_genuine(standin, files, tmp_path):
    files["t10k-labels-idx1-ubyte.gz"].write_bytes(b"\x1f\x8b\x08 no")
    with pytest.raises(errors.ContentError, match=r"not the genuine t10k-labels"):
        plant.plant("keras", files, tmp_path / "root", dataset=standin.dataset)
    assert not (tmp_path / "root").exists()


def test_plant_needs_a_known_tool_and_a_root_where_it_has_none(files):
    with pytest.raises(errors.ArgumentError, match="expected one of keras, torchvision"):
        plant.plant("caffe", files)
    with pytest.raises(errors.ArgumentError, match="no place of its own"):
        plant.plant("torchvision", files)


def test_plant_finds_each_tools_own_root(standin, files, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "k"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    roots = {
        t: plant.plant(t, files, dataset=standin.dataset).root for t in LAYOUTS if t[0] in "kp"
    }
    assert roots == {"keras": tmp_path / "k", "paddle": tmp_path / ".cache/paddle/dataset"}
    assert plant.plant("tfds", files, dataset=standin.dataset).root == (
        tmp_path / "tensorflow_datasets"
    )


def test_plant_says_how_paddle_finds_a_root_of_your_choice(standin, files, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    made = "paddle.vision.datasets.FashionMNIST()"
    assert plant.plant("paddle", files, dataset=standin.dataset).usage == made
    there = plant.plant("paddle", files, tmp_path / "there", dataset=standin.dataset)
    assert there.usage == f"paddle.dataset.common.DATA_HOME = '{tmp_path}/there'; {made}"


@pytest.fixture
def offline():
    """A command prefix without any network: a namespace of its own where that is allowed."""
    probe = ["unshare", "-n", "true"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs network namespaces")
    return ["unshare", "-n"]


def run_offline(prefix, code, **variables):
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


DIGEST = "import hashlib; digest = lambda a: hashlib.sha256(a.tobytes()).hexdigest()\n"


def real_files(real_data):
    return {name: real_data / name for name in made.NAMES}


@pytest.mark.slow
@pytest.mark.network_parts
def test_stock_keras_loads_the_planted_files_offline(real, real_data, tmp_path, offline):
    planted = plant.plant("keras", real_files(real_data), tmp_path)
    assert str(tmp_path) in planted.usage
    code = (
        "import keras\n" + DIGEST + "(a, b), (c, d) = keras.datasets.fashion_mnist.load_data()\n"
        "print(*(digest(x) for x in (a, b, c, d)))"
    )
    digests = run_offline(offline, code, KERAS_HOME=str(tmp_path))
    assert digests == [hashlib.sha256(a.tobytes()).hexdigest() for a in real.arrays]


@pytest.mark.slow
@pytest.mark.network_parts
@pytest.mark.usefixtures("offline")
def test_stock_tfds_prepares_from_the_planted_files_offline(real_data, tmp_path):
    plant.plant("tfds", real_files(real_data), tmp_path)
    code = (
        "import ctypes\n"
        "assert ctypes.CDLL(None).unshare(0x40000000) == 0  # CLONE_NEWNET: no network at all\n"
        "import tensorflow_datasets as tfds\n"
        "few = tfds.download.DownloadConfig(max_examples_per_split=50)\n"
        f"splits = tfds.load('fashion_mnist', data_dir={str(tmp_path)!r},\n"
        "    download_and_prepare_kwargs={'download_config': few})\n"
        "print(len(splits['train']), len(splits['test']))"
    )
    done = forked.run("-c", code)
    assert done.stdout.split()[-2:] == ["50", "50"], done.stderr[-2000:]


@pytest.mark.slow
def test_planted_real_files_match_the_md5s_that_torchvision_and_paddle_pin(real_data, tmp_path):
    plant.plant("paddle", real_files(real_data), tmp_path / "paddle")
    plant.plant("torchvision", real_files(real_data), tmp_path / "torch")
    for name, md5 in MD5.items():
        data = (tmp_path / "paddle" / "fashion-mnist" / name).read_bytes()
        assert hashlib.md5(data).hexdigest() == md5
        raw = tmp_path / "torch" / "FashionMNIST" / "raw" / name.removesuffix(".gz")
        assert raw.read_bytes() == gzip.decompress(data)
