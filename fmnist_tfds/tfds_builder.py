"""What the TFDS data sets of this package share: features, order on disk, one preparer at a time.

Never imports TensorFlow, not even to write TFRecords; TFDS does, once it reads, and to write other
formats.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.utils import shard_utils

from fmnist_tfds import (
    catalog,
    claim,
    complete_info,
    png,
    read_back,
    tfrecord,
    version_folder,
    write_failures,
)

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

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Set while a data set is prepared.
        self._source: dict[str, _Arrays] | None = None
        self._sums: dict[str, int] = {}
        self._final: str | None = None

    def _info(self) -> Any:
        metadata = self.get_metadata()
        return complete_info.Info(
            builder=self,
            description=metadata.description,
            citation=metadata.citation,
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

    def is_prepared(self) -> bool:
        """Whether the data set is there and complete; TFDS looks for two file names alone."""
        return not version_folder.fault(self.data_path, self.name, str(self.version))

    def download_and_prepare(
        self, *, download_dir: Any = None, download_config: Any = None, **kwargs: Any
    ) -> None:
        """Prepares the data set unless it is complete; safe beside other preparers.

        What stands in its place is replaced only by a data set that was read back and compared
        with the source: by `overwrite_dataset` it is deleted then, and a folder that holds no
        complete data set is kept beside as `remains.*`.

        Args:
            download_dir: folder for downloads; default: this package's cache.
            download_config: `tfds.download.DownloadConfig`.
            **kwargs: as `tfds.core.DatasetBuilder.download_and_prepare` takes them.

        Raises:
            ArgumentError: the file format cannot be proved, or no examples are asked for.
            FmnistError: the data could not be obtained, or data_dir cannot be written.
        """
        config = download_config or tfds.download.DownloadConfig()
        updates = config.download_mode == tfds.download.GenerateMode.UPDATE_DATASET_INFO
        overwrites = bool(config.download_mode.overwrite_dataset)
        if updates or not overwrites:
            why = version_folder.fault(self.data_path, self.name, str(self.version))
            if why and updates:
                raise complete_info.incomplete(self.data_path, why)
            if not why:
                if not self.info.splits:
                    self.info.read_from_directory(self.data_dir)
                super().download_and_prepare(
                    download_dir=download_dir, download_config=config, **kwargs
                )
                return
        complete_info.refuse(kwargs.get("file_format") or self.info.file_format, config)
        with self._sole_preparer(overwrites=overwrites):
            if not overwrites and self.is_prepared():
                self._adopt_prepared()
                return
            with self._obtained(download_dir, config) as ready:
                kwargs |= {"download_dir": download_dir, "download_config": ready}
                try:
                    self._prepare(kwargs, overwrites=overwrites)
                except (OSError, RuntimeError) as error:
                    self._survive(error)
            if not self.info.splits:
                # Another published in the moment before TFDS looked.
                self._adopt_prepared()

    def as_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """As TFDS's, but remains of a data set are refused by name."""
        self._refuse_remains()
        return super().as_dataset(*args, **kwargs)

    def as_data_source(self, *args: Any, **kwargs: Any) -> Any:
        """As TFDS's, but remains of a data set are refused by name."""
        self._refuse_remains()
        return super().as_data_source(*args, **kwargs)

    def _refuse_remains(self) -> None:
        if self.data_path.exists():
            why = version_folder.fault(self.data_path, self.name, str(self.version))
            if why:
                raise complete_info.incomplete(self.data_path, why)

    def _obtained(self, download_dir: Any, config: Any) -> contextlib.AbstractContextManager[Any]:
        """Makes the source files available; yields the config to prepare with."""
        del download_dir
        return contextlib.nullcontext(config)

    def _prepare(self, kwargs: dict[str, Any], *, overwrites: bool) -> None:
        """Prepares at the final place, or beside what stands there and then in its place."""
        final = self.data_path
        if not version_folder.stands(final):
            super().download_and_prepare(**kwargs)
            return
        if not overwrites and self.is_prepared():
            self._adopt_prepared()
            return
        beside = version_folder.in_the_making(final)
        self._final = self.data_dir
        try:
            with tfds.core.utils.temporary_assignment(self, "_data_dir", str(beside)):
                super().download_and_prepare(**kwargs)
            if not overwrites and self.is_prepared():
                self._adopt_prepared()
                return
            version_folder.swap(beside, final, keep=not overwrites)
        finally:
            self._final = None
            version_folder.discard(beside)
        self.info.update_data_dir(self.data_dir)
        self._log_download_done()

    # TFDS prints the folder twice; meant is the final one, once it is there.
    def _log_download_bytes(self) -> None:
        final = self._final or self.data_dir
        with tfds.core.utils.temporary_assignment(self, "_data_dir", final):
            super()._log_download_bytes()

    def _log_download_done(self) -> None:
        if self._final is None:
            super()._log_download_done()

    @contextlib.contextmanager
    def _sole_preparer(self, *, overwrites: bool) -> Iterator[None]:
        """Waits, within bounds, until no other process prepares this, or one has."""
        folder = pathlib.Path(str(self.data_path)).parent
        self._claim = claim.Claim(folder / f".{self.version}.preparing")
        # Object stores have no exclusive creation; the last preparer wins there.
        if "://" not in str(self.data_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._claim.acquire(
                    lambda: not overwrites and self.is_prepared(), wait_s=self.WAIT_S
                )
                if self._claim.is_held:
                    self._clear_up()
            except OSError as error:
                self._claim.release()
                raise write_failures.unwritable(folder, error) from error
        try:
            yield
        finally:
            self._claim.release()

    def _clear_up(self) -> None:
        """Restores what a killed preparer was replacing; removes what others left unfinished."""
        final, version = self.data_path, str(self.version)
        if self.is_prepared() or version_folder.put_back(final, self.name, version):
            for old in version_folder.replaced(final):
                version_folder.discard(old)
        version_folder.sweep(final, self._claim.orphans, now_s=self._claim.now_s)

    def _survive(self, error: OSError | RuntimeError) -> None:
        """Another preparer published first (its result is as good), or the disk failed."""
        if write_failures.lost_race(error) and self.is_prepared():
            self._adopt_prepared()
            return
        failure = write_failures.disk_failure(error)
        if failure is None:
            raise error
        raise write_failures.unwritable(pathlib.Path(str(self.data_dir)), failure) from error

    def _adopt_prepared(self) -> None:
        logging.info("Reusing %s: another process has prepared %s", self.name, self.data_dir)
        self.info.read_from_directory(self.data_dir)

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        # TFDS's unfinished folder stands in for the final one here.
        self._claim.note(pathlib.Path(str(self.data_path)))
        self._source, self._sums = None, {}
        # Written in the original order; set no longer than that, since `shuffle_files=True`, the
        # tutorial call, is refused where it stands.
        self.info.as_proto.disable_shuffling = True
        try:
            super()._download_and_prepare(dl_manager=dl_manager, download_config=download_config)
            self._prove(download_config.max_examples_per_split)
        finally:
            self.info.as_proto.disable_shuffling = False
            self._source = None

    def _prove(self, most: int | None) -> None:
        """Compares what was written with the source; TFDS has not published it yet."""
        for name, (images, labels) in (self._source or {}).items():
            split = self.info.splits[name]
            read_back.prove(
                split.filepaths,
                split.shard_lengths,
                images[:most],
                labels[:most],
                file_format=self.info.file_format.value,
                sums=self._sums,
            )

    @abc.abstractmethod
    def _arrays(self, dl_manager: Any) -> dict[str, _Arrays]:
        """The images uint8[n, 28, 28] and labels uint8[n] of each split."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            split: self._generate_examples(*arrays)
            for split, arrays in self._held(dl_manager).items()
        }

    def _held(self, dl_manager: Any) -> dict[str, _Arrays]:
        """The arrays, kept for the proof."""
        self._source = self._source or self._arrays(dl_manager)
        return self._source

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> Any:
        # TFDS serialises example by example, and imports TensorFlow to write them: 4 s, where the
        # whole build now takes 0.6 s (BENCHMARKS.md). Other formats go TFDS's way.
        if self.info.file_format != tfds.core.FileFormat.TFRECORD:
            return super()._generate_splits(dl_manager, download_config)
        return [
            self._write_split(split, *arrays, download_config)
            for split, arrays in self._held(dl_manager).items()
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
                written = 0
                for records in tfrecord.encode(images[start:stop], labels[start:stop]):
                    data = records.tobytes()
                    written = zlib.crc32(data, written)
                    file.write(data)
            self._sums[path.name] = written
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
