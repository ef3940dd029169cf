"""What the TFDS data sets of this package share: features, order on disk, the proof of both.

Never imports TensorFlow, not even to write TFRecords; TFDS does, once it reads, and to write other
formats.
"""

from __future__ import annotations

import abc
import itertools
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.utils import shard_utils

from fmnist_tfds import catalog
from fmnist_tfds.datasets import complete_info, read_back, replacing_builder
from fmnist_tfds.formats import png, tfrecord

_IMAGE_SHAPE = (catalog.IMAGE_SIZE, catalog.IMAGE_SIZE, 1)
_Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


class OrderedBuilder(replacing_builder.ReplacingBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A data set of the MNIST family, written as stored PNGs in the original order.

    Subclasses set DATASET, the catalog's entry, and implement `_arrays`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    DATASET: catalog.Catalog

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Makes the entry known under the name that TFDS gives the data set: by that name the
        input pipeline finds the digests that prove what it reads."""
        super().__init_subclass__(**kwargs)
        if "DATASET" in cls.__dict__:
            catalog.DATASETS[cls.name] = cls.DATASET

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Set while a data set is prepared.
        self._source: dict[str, _Arrays] | None = None
        self._sums: dict[str, int] = {}

    def _info(self) -> Any:
        return complete_info.Info(
            builder=self,
            description=self.get_metadata().description,
            citation=self.DATASET.citation.strip(),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=_IMAGE_SHAPE, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(self.DATASET.class_names)),
                }
            ),
            supervised_keys=("image", "label"),
            license=self.DATASET.license,
            homepage=self.DATASET.homepage,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
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
