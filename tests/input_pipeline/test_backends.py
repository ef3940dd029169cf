"""The layers and data sets on the other Keras backends, each in a process of its own."""

import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

from . import conftest

SCRIPT = pathlib.Path(__file__).with_name("train_on_backend.py")


@pytest.mark.parametrize(
    "backend",
    [
        "tensorflow",
        pytest.param("jax", marks=pytest.mark.needs_jax),
        pytest.param("torch", marks=pytest.mark.needs_torch),
    ],
)
def test_pipeline_and_layers_work_on_every_keras_backend(tiny, backend):
    data_dir = conftest.shard_path(tiny).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:fmnist_tfds", SCRIPT, data_dir],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("backend") == backend
    assert found.pop("compared") == 30
    assert all(math.isfinite(loss) for loss in found.values()), found
