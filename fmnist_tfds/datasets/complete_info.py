"""TFDS's DatasetInfo for complete data sets alone, and what is refused before one is prepared.

Never imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from fmnist_tfds import errors, version_folder


class Info(tfds.core.DatasetInfo):
    """DatasetInfo that neither takes over nor leaves behind an incomplete folder."""

    def read_from_directory(self, dataset_info_dir: Any) -> None:
        """As TFDS's; remains are left alone, as if nothing were prepared."""
        if why := self._fault(dataset_info_dir):
            logging.warning("%s holds no complete data set: %s", dataset_info_dir, why)
            return
        super().read_from_directory(dataset_info_dir)

    def write_to_directory(self, dataset_info_dir: Any, all_metadata: bool = True) -> None:
        """As TFDS's, then checked: what it wrote describes the shards beside it.

        Raises:
            RecordError: it does not.
        """
        super().write_to_directory(dataset_info_dir, all_metadata)
        if why := self._fault(dataset_info_dir):
            raise errors.RecordError(f"{dataset_info_dir}: just written and not complete: {why}")

    def _fault(self, folder: Any) -> str:
        return version_folder.fault(epath.Path(folder), self.name, str(self.version))


def incomplete(folder: Any, why: str) -> errors.NotPreparedError:
    """The error that names a folder which holds no complete data set."""
    return errors.NotPreparedError(
        f"no complete data set in {folder}: {why}",
        hint="prepare it again: fmnist-tfds build; what stands there is kept beside as remains.*",
    )


def refuse(file_format: Any, config: Any) -> None:
    """Refuses what could not be proved.

    Raises:
        ArgumentError: another file format, or no examples at all.
    """
    name = tfds.core.FileFormat.from_value(file_format or "tfrecord").value
    if name not in version_folder.READABLE:
        raise errors.ArgumentError(
            f"file_format: {name} cannot be read back and proved; nothing is prepared",
            hint=f"choose one of {', '.join(version_folder.READABLE)}",
        )
    most = config.max_examples_per_split
    if most is not None and most < 1:
        raise errors.ArgumentError(f"max_examples_per_split: expected 1 or more, got {most}")
