"""Shards of TFRecords as arrays: the constant layout by memory map, any other by parsing."""

from __future__ import annotations

import dataclasses
import logging
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds.formats import png, tfrecord
from fmnist_tfds.input_pipeline.shards import prepared

# Few and large: between two pieces a thread waits up to 5 ms for the interpreter.
_PIECE = 8192
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A shard of stored PNGs of one length, mapped once for the check, the proof and look-ups.

    Attributes:
        shard: the file.
        layout: of its records.
        rows: uint8[examples, record_bytes]; copy-on-write, as DLPack takes no read-only memory.
    """

    shard: prepared.Shard
    layout: tfrecord.Layout
    rows: npt.NDArray[np.uint8]

    def piece(self, start: int, stop: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """What some records hold: views uint8[n, 28, 28, 1] and uint8[n]."""
        return self.layout.held(self.rows[start:stop])

    def check(self) -> None:
        """Checks framing and PNG headers, not the pixels.

        Raises:
            RecordError: a record is damaged.
            MixedLayoutError: intact records of another layout stand among the others.
        """
        for start in range(0, self.shard.examples, tfrecord.CHUNK):
            piece = self.rows[start : start + tfrecord.CHUNK]
            if (bad := self.layout.nonconforming(piece)).size:
                broken = tfrecord.broken(piece[bad])
                if broken.size:
                    raise self._mismatch(start + int(bad[broken[0]]))
                raise MixedLayoutError(start + int(bad[0]))

    def check_sums(self) -> None:
        """Checks every record against its crc32c.

        Raises:
            RecordError: a record is damaged.
        """
        for start in range(0, self.shard.examples, tfrecord.CHUNK):
            if (bad := tfrecord.broken(self.rows[start : start + tfrecord.CHUNK])).size:
                raise self._mismatch(start + int(bad[0]))

    def _mismatch(self, record: int) -> Exception:
        why = "its bytes do not match its crc32c"
        return prepared.damaged(self.shard.path, record, self.shard.examples, why)


class MixedLayoutError(Exception):
    """An intact record of another layout: the general path must read this shard."""


def open_stored(shard: prepared.Shard) -> Stored | None:
    """The shard mapped and checked; None where only the general path reads it.

    Raises:
        RecordError: a record is damaged.
    """
    layout = tfrecord.layout_of(shard.path, shard.examples, shard.bytes)
    if layout is not None:
        rows = np.memmap(shard.path, np.uint8, "c").reshape(shard.examples, layout.record_bytes)
        stored = Stored(shard, layout, rows)
        try:
            stored.check()
        except MixedLayoutError as mixed:
            _log.info("%s: record %s is laid out otherwise", shard.path.name, mixed)
        else:
            return stored
    _log.info("%s: not stored PNGs of one length: read one by one", shard.path.name)
    return None


def open_all(shards: Sequence[prepared.Shard]) -> list[Stored | None]:
    """`open_stored` of each."""
    return [open_stored(shard) for shard in shards]


def offsets(shard: prepared.Shard) -> npt.NDArray[np.int64]:
    """Where each record of a shard starts: int64[examples], in bytes.

    Raises:
        RecordError: the framing leads past the end, or to another number of records.
    """
    data = np.memmap(shard.path, np.uint8, "r").data if shard.bytes else memoryview(b"")
    found = np.empty(shard.examples, np.int64)
    position = 0
    for record in range(shard.examples):
        found[record] = position
        if position + tfrecord.FRAME_HEAD <= shard.bytes:
            length = struct.unpack_from("<Q", data, position)[0]
            position += tfrecord.FRAME_HEAD + length + tfrecord.FRAME_TAIL
            if position <= shard.bytes and length:
                continue
        raise prepared.damaged(
            shard.path, record, shard.examples, f"cut short; the file has {shard.bytes:,} bytes"
        )
    if position != shard.bytes:
        raise prepared.damaged(
            shard.path,
            shard.examples,
            shard.examples,
            f"{shard.bytes - position:,} bytes follow the last record",
        )
    return found


def cut(
    rows: tf.Tensor, layout: tfrecord.Layout, *, before: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """What framed records hold: uint8[n, 28, 28, 1], int64[n].

    Args:
        rows: uint8[n, record_bytes - before].
        layout: theirs.
        before: bytes that are missing at the beginning of each.
    """
    start = layout.png_offset - before + png.ROWS_OFFSET
    lines = rows[:, start : start + png.ROWS_END - png.ROWS_OFFSET]
    images = tf.reshape(lines, [-1, png.SIZE, png.ROW_BYTES, 1])[:, :, 1:]
    return images, tf.cast(rows[:, layout.label_offset - before], tf.int64)


def decode_stored(records: tf.Tensor, layout: tfrecord.Layout) -> tuple[tf.Tensor, tf.Tensor]:
    """A batch of serialized Examples of that layout: uint8[n, 28, 28, 1], int64[n]."""
    rows = tf.io.decode_raw(records, tf.uint8, fixed_length=layout.payload_bytes)
    return cut(rows, layout, before=tfrecord.FRAME_HEAD)


def decode_any(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A batch of serialized Examples, images in any encoding: uint8[n, 28, 28, 1], int64[n]."""
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_example(records, features)
    images = tf.map_fn(
        lambda encoded: tf.ensure_shape(tf.io.decode_image(encoded, channels=1), [28, 28, 1]),
        parsed["image"],
        fn_output_signature=tf.TensorSpec([28, 28, 1], tf.uint8),
    )
    return images, parsed["label"]


def record_dataset(path: Any, offset: Any) -> tf.data.Dataset:
    """The records of a TFRecord file from a byte offset on, each checked against its crc32c.

    tf.data.TFRecordDataset has no offset argument; the op beneath it does.
    """
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=tf.reshape(path, [1]),
        compression_type="",
        buffer_size=128 << 10,
        byte_offsets=tf.reshape(tf.cast(offset, tf.int64), [1]),
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


def pieces(
    shards: Sequence[prepared.Shard], stored: Sequence[Stored | None]
) -> Iterator[tuple[int, Any, Any]]:
    """Pieces of all shards: (first example, uint8[n, 28, 28, 1], integer[n])."""
    before = 0
    for shard, mapped in zip(shards, stored, strict=True):
        if mapped is None:
            for start, images, labels in _general_pieces(shard):
                yield before + start, images, labels
        else:
            for start in range(0, shard.examples, _PIECE):
                yield before + start, *mapped.piece(start, start + _PIECE)
        before += shard.examples


def _general_pieces(shard: prepared.Shard) -> Any:
    """Pieces of any TFRecord shard: (first record, uint8[n, 28, 28, 1], int64[n])."""
    starts = offsets(shard)
    batches = tf.data.TFRecordDataset(str(shard.path), buffer_size=1 << 20).batch(512)
    start = 0
    try:
        decoded = batches.map(decode_any, num_parallel_calls=2)
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
