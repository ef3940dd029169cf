"""What the TFDS data sets of this package share: features, order on disk, one preparer at a time.

Never imports TensorFlow, not even to write TFRecords; TFDS does, once it reads, and to write other
formats.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import itertools
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core import constants
from tensorflow_datasets.core.utils import shard_utils

from fmnist_tfds import catalog, claim, errors, png, tfrecord

# What an unfinished folder must be old before it counts as left behind by a killed process.
_STALE_S = 3600.0
_IMAGE_SHAPE = (catalog.IMAGE_SIZE, catalog.IMAGE_SIZE, 1)
_Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


class OrderedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg,misc]
    """A data set of the MNIST family, written as stored PNGs in the original order.

    Subclasses set DATASET and implement `_arrays`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    # Preparing takes seconds; the rest of this bound is the other preparer's download.
    WAIT_S: ClassVar[float] = claim.WAIT_S
    DATASET: catalog.Catalog
    LICENSE: str

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=_IMAGE_SHAPE, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(self.DATASET.class_names)),
                }
            ),
            supervised_keys=("image", "label"),
            license=self.LICENSE,
            homepage="https://github.com/zalandoresearch/fashion-mnist",
        )

    def download_and_prepare(
        self, *, download_dir: Any = None, download_config: Any = None, **kwargs: Any
    ) -> None:
        """Prepares the data set unless it is prepared; safe beside other preparers.

        Args:
            download_dir: folder for downloads; default: this package's cache.
            download_config: `tfds.download.DownloadConfig`.
            **kwargs: as `tfds.core.DatasetBuilder.download_and_prepare` takes them.

        Raises:
            FmnistError: the data could not be obtained, or data_dir cannot be written.
        """
        config = download_config or tfds.download.DownloadConfig()
        if not self._must_generate(config):
            if not self.info.splits and self._is_here():
                self.info.read_from_directory(self.data_dir)
            super().download_and_prepare(
                download_dir=download_dir, download_config=config, **kwargs
            )
            return
        overwrites = bool(config.download_mode.overwrite_dataset)
        with self._sole_preparer(overwrites=overwrites):
            if self._is_here() and not overwrites:
                self._adopt_prepared()
                return
            with self._obtained(download_dir, config) as ready:
                try:
                    super().download_and_prepare(
                        download_dir=download_dir, download_config=ready, **kwargs
                    )
                except (OSError, RuntimeError) as error:
                    self._survive(error)
            if not self.info.splits and self._is_here():
                # Another published while the files were obtained: TFDS returned without a look.
                self._adopt_prepared()

    def _obtained(self, download_dir: Any, config: Any) -> contextlib.AbstractContextManager[Any]:
        """Makes the source files available; yields the config to prepare with."""
        del download_dir
        return contextlib.nullcontext(config)

    def _must_generate(self, config: Any) -> bool:
        if config.download_mode == tfds.download.GenerateMode.UPDATE_DATASET_INFO:
            return False
        return bool(config.download_mode.overwrite_dataset) or not self._is_here()

    def _is_here(self) -> bool:
        # is_prepared() alone would log a warning at each look where nothing is prepared yet.
        info = self.data_path / constants.DATASET_INFO_FILENAME
        return bool(info.exists() and self.is_prepared())

    @contextlib.contextmanager
    def _sole_preparer(self, *, overwrites: bool) -> Iterator[None]:
        """Waits, within bounds, until no other process prepares this, or one has."""
        folder = pathlib.Path(str(self.data_path)).parent
        self._claim = claim.Claim(folder / f".{self.version}.preparing")
        # Object stores have no exclusive creation; the last preparer wins there.
        if "://" not in str(self.data_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._claim.acquire(lambda: not overwrites and self._is_here(), wait_s=self.WAIT_S)
            except OSError as error:
                raise _unwritable(folder, error) from error
        if self._claim.is_held:
            self._sweep(folder)
        try:
            yield
        finally:
            self._claim.release()

    def _sweep(self, folder: pathlib.Path) -> None:
        """Removes what killed preparers left: up to 66 MB each.

        One killed in the millisecond between making its folder and noting it leaves that folder,
        still empty, until it is old: empty folders may be those of living preparers.
        """
        orphans = {orphan.name for orphan in self._claim.orphans}
        for stale in folder.glob(f"{constants.INCOMPLETE_PREFIX}*_{self.version}"):
            try:
                newest = max(path.stat().st_mtime for path in (stale, *stale.iterdir()))
                if stale.name in orphans or self._claim.now_s - newest > _STALE_S:
                    logging.info("Removing %s: the process that wrote it is gone.", stale)
                    shutil.rmtree(stale)
            except OSError as error:
                logging.info("%s: left as it is: %s", stale, error)

    def _survive(self, error: OSError | RuntimeError) -> None:
        """Another preparer published first (its result is as good), or the disk failed."""
        if _lost_race(error) and self._is_here():
            self._adopt_prepared()
            return
        failure = _disk_failure(error)
        if failure is None:
            raise error
        raise _unwritable(pathlib.Path(str(self.data_dir)), failure) from error

    def _adopt_prepared(self) -> None:
        logging.info("Reusing %s: another process has prepared %s", self.name, self.data_dir)
        self.info.read_from_directory(self.data_dir)

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        # TFDS's unfinished folder stands in for the final one here.
        self._claim.note(pathlib.Path(str(self.data_path)))
        # Written in the original order; set no longer than that, since `shuffle_files=True`, the
        # tutorial call, is refused where it stands.
        self.info.as_proto.disable_shuffling = True
        try:
            super()._download_and_prepare(dl_manager=dl_manager, download_config=download_config)
        finally:
            self.info.as_proto.disable_shuffling = False

    @abc.abstractmethod
    def _arrays(self, dl_manager: Any) -> dict[str, _Arrays]:
        """The images uint8[n, 28, 28] and labels uint8[n] of each split."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            split: self._generate_examples(*arrays)
            for split, arrays in self._arrays(dl_manager).items()
        }

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> Any:
        # TFDS serialises example by example, and imports TensorFlow to write them: 4 s, where the
        # whole build now takes 0.6 s (BENCHMARKS.md). Other formats go TFDS's way.
        if self.info.file_format != tfds.core.FileFormat.TFRECORD:
            return super()._generate_splits(dl_manager, download_config)
        return [
            self._write_split(split, *arrays, download_config)
            for split, arrays in self._arrays(dl_manager).items()
        ]

    def _write_split(
        self,
        split: str,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        download_config: Any,
    ) -> Any:
        """Writes the shards of a split, cut as TFDS cuts them; returns the SplitInfo."""
        count = min(len(images), download_config.max_examples_per_split or len(images))
        payload_bytes = count * tfrecord.PAYLOAD_BYTES
        shards = download_config.get_shard_config().get_number_shards(payload_bytes, count)
        bounds = [0, *shard_utils.get_shard_boundaries(count, shards)]
        template = self._get_filename_template(split_name=split)
        for index, (start, stop) in enumerate(itertools.pairwise(bounds)):
            path = template.sharded_filepath(shard_index=index, num_shards=shards)
            with path.open("wb") as file:
                for records in tfrecord.encode(images[start:stop], labels[start:stop]):
                    file.write(records.tobytes())
        lengths = np.diff(bounds).tolist()
        logging.info("Wrote %s examples of %s to %d shards", f"{count:,}", split, shards)
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=lengths,
            num_bytes=payload_bytes,
            filename_template=template,
        )

    def _generate_examples(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (index, example) in the original order.

        Args:
            images: uint8[n, 28, 28].
            labels: uint8[n].
        """
        encoded = png.encode_batch(images)
        for index, (image, label) in enumerate(zip(encoded, labels.tolist(), strict=True)):
            yield index, {"image": image, "label": label}


# tf.errors.OpError.error_code of a full disk and of a file that may not be written.
_RESOURCE_EXHAUSTED, _PERMISSION_DENIED = 8, 7


def _links(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _lost_race(error: BaseException) -> bool:
    """Whether the final folder was there already when the unfinished one was to take its name."""
    # epath looks first and raises a FileExistsError without errno; between the look and the
    # rename the kernel says ENOTEMPTY.
    return any(
        isinstance(link, FileExistsError)
        or (isinstance(link, OSError) and link.errno == errno.ENOTEMPTY)
        for link in _links(error)
    )


def _disk_failure(error: BaseException) -> BaseException | None:
    """What the file system said, out of TFDS's and TensorFlow's wrappings; None if nothing."""
    for link in _links(error):
        if getattr(link, "error_code", None) in (_RESOURCE_EXHAUSTED, _PERMISSION_DENIED):
            return link
        if isinstance(link, OSError) and (
            link.errno is not None or str(link).startswith("Not enough disk space")
        ):
            return link
    return None


def _unwritable(folder: pathlib.Path, error: BaseException) -> errors.StoreError:
    said = getattr(error, "strerror", None) or getattr(error, "message", None) or error
    return errors.StoreError(
        f"cannot write the prepared data set to {folder}: {said}",
        hint="choose another --data_dir (or TFDS_DATA_DIR) with about 120 MB free",
    )
