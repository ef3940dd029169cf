"""load_data() is what Keras's is, without TensorFlow."""

from __future__ import annotations

import gzip
import inspect
import itertools
import subprocess
import sys

import numpy as np
import pytest

import fmnist_tfds
from fmnist_tfds import catalog, obtain


def test_load_data_returns_what_keras_returns(real_data, tmp_path):
    (x_train, y_train), (x_test, y_test) = fmnist_tfds.load_data(
        manual_dir=real_data, cache_dir=tmp_path, offline=True
    )
    # Keras's own, from the same files, have these digests: tests/exchange/test_plant.py.
    for (split, kind), array in zip(
        itertools.product(("train", "test"), ("images", "labels")),
        (x_train, y_train, x_test, y_test),
        strict=True,
    ):
        file = catalog.FASHION_MNIST.part(split, kind)
        payload = gzip.decompress((real_data / file.name).read_bytes())
        assert payload.endswith(array.tobytes())
    assert (x_train.shape, x_train.dtype) == ((60_000, 28, 28), np.uint8)
    assert (y_train.shape, y_train.dtype) == ((60_000,), np.uint8)
    assert (x_test.shape, x_test.dtype) == ((10_000, 28, 28), np.uint8)
    assert (y_test.shape, y_test.dtype) == ((10_000,), np.uint8)
    assert np.bincount(y_train).tolist() == [6_000] * 10
    assert np.bincount(y_test).tolist() == [1_000] * 10
    assert y_train[:5].tolist() == [9, 0, 0, 3, 0]
    x_train[0] = 0  # writable, unlike Keras's


def test_load_data_takes_what_obtain_files_takes():
    ours, theirs = map(inspect.signature, (fmnist_tfds.load_data, fmnist_tfds.obtain_files))
    assert list(ours.parameters) == list(theirs.parameters)
    for name, parameter in theirs.parameters.items():
        assert ours.parameters[name].default == parameter.default, name


def test_load_data_hands_on_all_that_it_is_given(monkeypatch):
    given = {name: object() for name in inspect.signature(fmnist_tfds.load_data).parameters}

    class Asked(Exception):
        pass

    def obtain_files(**arguments):
        assert arguments == given
        raise Asked

    monkeypatch.setattr(obtain, "obtain_files", obtain_files)
    with pytest.raises(Asked):
        fmnist_tfds.load_data(**given)


def test_load_data_imports_no_tensorflow(real_data, tmp_path):
    code = (
        "import sys, fmnist_tfds\n"
        "fmnist_tfds.load_data(manual_dir=sys.argv[1], cache_dir=sys.argv[2], offline=True)\n"
        "print(*{'tensorflow', 'keras'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", code, str(real_data), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr[-2000:]
