"""A whole split in memory, and the proof that it is the genuine one.

The pixels and labels are copied out of the memory-mapped shard by one thread and hashed by another
while the pipeline is built; a split that was proved once in this process is not hashed again, and
one that is loaded is not read again.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import logging
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds import catalog, errors
from fmnist_tfds.formats import idx
from fmnist_tfds.input_pipeline import prepared, records

_log = logging.getLogger(__name__)
# Few and large: between two pieces a thread waits up to 5 ms for the interpreter.
_PIECE = 8192


_Stored = Sequence[records.Stored | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Resident:
    """A split in memory.

    Attributes:
        images: uint8[n, 28, 28, 1].
        labels: int64[n].
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


_loaded: dict[prepared.Split, Resident] = {}
_KINDS: tuple[catalog.Kind, ...] = ("images", "labels")
# Proved genuine or, where the catalog does not know them, intact.
_passed: set[prepared.Split] = set()


class _Proof:
    """Hashes images and labels in the order in which they are given."""

    def __init__(self, split: prepared.Split, *, wanted: bool) -> None:
        self._split = split
        self._files: list[tuple[catalog.SourceFile, Any]] = []
        self.is_open = wanted and split not in _passed
        self.hashes = self.is_open and _provable(split)
        if self.hashes and split.source:
            for kind in _KINDS:
                file = split.source.part(split.split, kind)
                self._files.append((file, hashlib.sha256(idx.header(file.shape))))

    def update(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[Any]) -> None:
        """Adds images and labels to the digests."""
        if not self.hashes:
            return
        for (_, digest), part in zip(self._files, (images, labels.astype(np.uint8)), strict=True):
            digest.update(np.ascontiguousarray(part).data)

    def settle(self) -> None:
        """Compares the digests.

        Raises:
            RecordError: they differ, and a record's checksum says which one is damaged.
            ContentError: they differ though every record is intact.
        """
        if not self.is_open:
            return
        if self.hashes and all(d.hexdigest() == file.payload_sha256 for file, d in self._files):
            _passed.add(self._split)
            return
        if self._split.file_format == "tfrecord":
            for stored in map(records.open_stored, self._split.shards):
                if stored:
                    stored.check_sums()
        if not self.hashes:
            _passed.add(self._split)
            return
        lines = [
            f"  {file.payload_name}  expected sha256 {file.payload_sha256}\n"
            f"  {' ' * len(file.payload_name)}  got             {digest.hexdigest()}"
            for file, digest in self._files
        ]
        raise errors.ContentError(
            f"the prepared {self._split.dataset} {self._split.split} split is not the genuine one, "
            "though every record is intact\n" + "\n".join(lines),
            hint="prepare it again: fmnist-tfds build --overwrite; "
            "or pass verify=False to read it as it is",
        )


class Loading:
    """A split on its way into memory.

    Attributes:
        images: uint8[n, 28, 28, 1], filled once `settle` has returned.
        labels: int64[n], likewise.
    """

    def __init__(self, split: prepared.Split, builder: Any, *, verify: bool) -> None:
        self._split, self._proof = split, _Proof(split, wanted=verify)
        # Here before any thread runs: `_fill` adds to it, perhaps before its own future is in it.
        self._work: list[concurrent.futures.Future[None]] = []
        if (held := _loaded.get(split)) is not None:
            self.images, self.labels = held.images, held.labels
            self._work.append(_in_background(self._proof.update, self.images, self.labels))
            return
        self.images = _fresh(split.examples * 784, np.uint8).reshape(-1, 28, 28, 1)
        self.labels = _fresh(split.examples, np.int64)
        if split.file_format == "tfrecord":
            self._work.append(_in_background(self._fill, _opened(split)))
        else:
            _log.info("%s: %s: reading by way of TFDS", split.dataset, split.file_format)
            _fill_from_builder(split, builder, self.images, self.labels)
            self._work.append(_in_background(self._proof.update, self.images, self.labels))

    def settle(self) -> Resident:
        """Waits until the split is in memory, and proved if that was wanted.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        while self._work:
            # One of them adds the others.
            self._work[0].result()
            del self._work[0]
        self._proof.settle()
        held = Resident(self.images, self.labels)
        return _loaded.setdefault(self._split, held)

    def _fill(self, stored: _Stored) -> None:
        hashing = concurrent.futures.ThreadPoolExecutor(1, "fmnist-tfds-proof")
        for start, images, labels in _pieces(self._split, stored):
            part = slice(start, start + len(labels))
            self.images[part], self.labels[part] = images, labels
            hashed = hashing.submit(self._proof.update, self.images[part], self.labels[part])
            self._work.append(hashed)
        hashing.shutdown(wait=False)


def load(split: prepared.Split, builder: Any, *, verify: bool) -> Resident:
    """The split in memory, read once per process.

    Args:
        split: which one.
        builder: its TFDS builder, asked only for file formats that records.py does not read.
        verify: prove the pixels and labels by the catalog's payload digests.

    Raises:
        RecordError: a shard is damaged.
        ContentError: the bytes are not those of the catalog.
    """
    return Loading(split, builder, verify=verify).settle()


class Scan:
    """The proof of a split that stays on disk, piece by piece, in bounded memory.

    Attributes:
        stored: the shards; None for one that only the general path reads.
    """

    def __init__(self, split: prepared.Split, *, verify: bool) -> None:
        self._split, self._proof = split, _Proof(split, wanted=verify)
        self.stored = _opened(split)
        self._work = _in_background(self._hash)

    def settle(self) -> None:
        """Waits for the proof.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        self._work.result()
        self._proof.settle()

    def _hash(self) -> None:
        if self._proof.hashes or (self._proof.is_open and None in self.stored):
            for _, images, labels in _pieces(self._split, self.stored):
                self._proof.update(images, labels)


def _opened(split: prepared.Split) -> _Stored:
    return [records.open_stored(shard) for shard in split.shards]


def shared(array: npt.NDArray[Any]) -> tf.Tensor:
    """A tensor that shares the array's memory, which must begin at a multiple of 64 bytes."""
    # tf.constant would copy: 47 MB of fresh pages, 50 to 100 ms. Not variables: an iterator
    # that reads those cannot be saved.
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _in_background(function: Any, *arguments: Any) -> concurrent.futures.Future[None]:
    pool = concurrent.futures.ThreadPoolExecutor(1, "fmnist-tfds-load")
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return future


def _fresh(count: int, dtype: Any) -> npt.NDArray[Any]:
    """An empty dtype[count] that begins a page."""
    size = count * np.dtype(dtype).itemsize
    if populate := getattr(mmap, "MAP_POPULATE", 0):
        # 16 ms for 47 MB; touched page by page it is 30 to 70, and so are numpy's huge pages on a
        # virtual machine that gives free ones back to its host.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate
        return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype)


def _provable(split: prepared.Split) -> bool:
    """Whether the catalog holds digests for the whole of this split.

    Raises:
        ContentError: the split is known, and only a part of it was prepared.
    """
    if split.source is None:
        _log.warning(
            "%s is not in the catalog (or in another order): its bytes are read with their "
            "checksums, but cannot be proved genuine",
            split.dataset,
        )
        return False
    whole = split.source.part(split.split, "images").shape[0]
    if split.examples != whole:
        raise errors.ContentError(
            f"{split.dataset} {split.split}: verify=True proves the whole split of {whole:,} "
            f"examples, and {split.examples:,} are prepared",
            hint="pass verify=False, or build without --max_examples_per_split",
        )
    return True


def _pieces(split: prepared.Split, stored: _Stored) -> Iterator[tuple[int, Any, Any]]:
    """Pieces of all shards: (first example, uint8[n, 28, 28, 1], integer[n])."""
    before = 0
    for shard, mapped in zip(split.shards, stored, strict=True):
        if mapped is None:
            for start, images, labels in _general_pieces(shard):
                yield before + start, images, labels
        else:
            for start in range(0, shard.examples, _PIECE):
                yield before + start, *mapped.piece(start, start + _PIECE)
        before += shard.examples


def _general_pieces(shard: prepared.Shard) -> Any:
    """Pieces of any TFRecord shard: (first record, uint8[n, 28, 28, 1], int64[n])."""
    starts = records.offsets(shard)
    batches = tf.data.TFRecordDataset(str(shard.path), buffer_size=1 << 20).batch(512)
    start = 0
    try:
        decoded = batches.map(records.decode_any, num_parallel_calls=2)
        for images, labels in decoded.prefetch(2).as_numpy_iterator():
            yield start, images, labels
            start += len(labels)
    except tf.errors.DataLossError as error:
        at = int(str(error).rpartition("corrupted record at ")[2].split()[0].rstrip("[;,."))
        record = int(np.searchsorted(starts, at, "right")) - 1
        why = "its bytes do not match its crc32c"
        raise prepared.damaged(shard.path, record, shard.examples, why) from error
    except tf.errors.InvalidArgumentError as error:
        why = f"records {start} to {start + 511} hold no 28x28 image and label: {error.message}"
        raise prepared.damaged(shard.path, start, shard.examples, why) from error


def _fill_from_builder(
    split: prepared.Split,
    builder: Any,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
) -> None:
    """Reads array_record (and whatever else TFDS offers random access to) example by example."""
    for index, example in enumerate(builder.as_data_source(split=split.split)):
        images[index], labels[index] = example["image"], example["label"]
