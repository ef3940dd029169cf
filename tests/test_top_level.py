"""What stands at the top: names, numbers, short help; and hints in the words of who called."""

from __future__ import annotations

import gzip
import io
import pathlib
import pydoc
import re

import numpy as np
import pytest

import fmnist_tfds
from fmnist_tfds import catalog, errors

PACKAGE = pathlib.Path(fmnist_tfds.__file__).parent


def test_constants_are_those_of_the_training_images(real_data):
    data = gzip.decompress((real_data / "train-images-idx3-ubyte.gz").read_bytes())
    # How often each of the 256 values occurs says as much as the 47 million pixels.
    counts, values = np.bincount(np.frombuffer(data, np.uint8, offset=16)), np.arange(256) / 255
    mean = np.average(values, weights=counts)
    std = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    assert pytest.approx(mean, rel=1e-9) == fmnist_tfds.PIXEL_MEAN
    assert pytest.approx(std, rel=1e-9) == fmnist_tfds.PIXEL_STD
    assert fmnist_tfds.CLASS_NAMES[0] == "T-shirt/top"
    assert len(fmnist_tfds.CLASS_NAMES) == 10
    assert {"CLASS_NAMES", "PIXEL_MEAN", "PIXEL_STD"} <= set(dir(fmnist_tfds))


def test_help_prints_no_digests():
    out = io.StringIO()
    pydoc.Helper(output=out).help(fmnist_tfds.load_data)
    assert not re.search(r"[0-9a-f]{32}", out.getvalue())
    assert repr(catalog.FASHION_MNIST) == "<Fashion-MNIST>"


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("pass --manual_dir; see `fmnist-tfds doctor --json`", "pass manual_dir; see `fmnist-tfds"),
        ("drop --offline, FMNIST_TFDS_OFFLINE and x", "drop offline, FMNIST_TFDS_OFFLINE"),
        (
            "make it: fmnist-tfds build --data_dir=D, or --data_dir",
            "build --data_dir=D, or data_dir",
        ),
        ("choose another --out", "choose another out"),
        ("", ""),
    ],
)
def test_hint_speaks_of_arguments_in_python_and_of_flags_on_the_command_line(hint, said):
    error = errors.StoreError("it failed", hint=hint)
    assert said in str(error)
    assert error.hint == hint
    assert str(error).startswith("it failed")


def test_hint_of_a_data_set_names_where_tfds_takes_it(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setenv("FMNIST_TFDS_CACHE_DIR", str(tmp_path / "cache"))
    builder = tfds.builder("fmnist_resilient", data_dir=str(tmp_path), mirrors="off")
    with pytest.raises(errors.ObtainError) as caught:
        builder.download_and_prepare()
    assert "DownloadConfig(manual_dir=…)" in str(caught.value)
    assert " --" not in str(caught.value)


def test_messages_point_to_nothing_that_a_wheel_lacks():
    """docs/, configs/ and scripts/ stand beside the package, not in it."""
    lacking = re.compile(r"(?<![\w/.])(?:docs|configs|scripts|tests)/|\b[A-Z]{4,}\.md\b")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if lacking.search(line.partition("#")[0]) and ('"' in line) and "tests/download" not in line
    ]
    assert found == []
