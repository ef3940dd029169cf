"""The layers and data sets on every Keras backend, the others each in a process of its own."""

import json
import math
import os
import subprocess
import sys

import pytest

from . import conftest, train_on_backend


def _check(found, backend):
    assert found.pop("backend") == backend
    assert found.pop("compared") == 10
    assert all(math.isfinite(loss) for loss in found.values()), found


def test_pipeline_and_layers_work_on_tensorflow(tiny):
    _check(train_on_backend.run(_data_dir(tiny)), "tensorflow")


def _data_dir(builder):
    return conftest.shard_path(builder).parent.parent.parent


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("jax", marks=pytest.mark.needs_jax),
        pytest.param("torch", marks=pytest.mark.needs_torch),
    ],
)
def test_pipeline_and_layers_work_on_every_other_backend(tiny, backend):
    script = train_on_backend.__file__
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:fmnist_tfds", script, _data_dir(tiny)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    _check(json.loads(done.stdout.splitlines()[-1]), backend)
