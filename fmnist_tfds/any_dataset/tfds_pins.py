"""What TFDS pins for its data sets: name -> artifacts. Imports TFDS, never TensorFlow."""

from __future__ import annotations

import contextlib
import io

import tensorflow_datasets as tfds

from fmnist_tfds import artifacts, errors
from fmnist_tfds.any_dataset import plan


def artifact_set(name: str) -> artifacts.ArtifactSet:
    """All that the TFDS data set `name` downloads, of every version and configuration.

    Raises:
        ConfigError: there is no such data set, its module cannot be imported, or TFDS pins
            nothing that it downloads.
    """
    try:
        # What modules of data sets print as they are imported is none of the user's business.
        with contextlib.redirect_stderr(io.StringIO()):
            builder = tfds.builder_cls(name)
            infos = builder.url_infos or {}
    except tfds.core.DatasetNotFoundError as error:
        raise errors.ConfigError(
            f"there is no TFDS data set {name!r} in tensorflow-datasets {tfds.__version__}",
            hint="`python -c 'import tensorflow_datasets as t; print(t.list_builders())'` has all",
        ) from error
    except ImportError as error:
        raise errors.ConfigError(
            f"the TFDS data set {name!r} needs a package that is not installed: {error.name}"
        ) from error
    return plan.artifact_set(name, infos)
