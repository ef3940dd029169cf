"""TFRecord shards as TFDS prepares them -> images and labels, without TensorFlow.

Every record is one serialized Example of an image (PNG or raw pixels) and a label. Sums are not
looked at but for the first: the payload's digest proves the outcome.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord (framing),
tensorflow/core/example/example.proto and feature.proto; https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

import numpy as np

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import png_files
from fmnist_tfds.exchange.adopt.gathering import Gathering
from fmnist_tfds.exchange.adopt.leaf import Leaf
from fmnist_tfds.exchange.adopt.tables import Table
from fmnist_tfds.formats import tfrecord

_MOST_BYTES = 1 << 16
_IMAGE_KEYS, _LABEL_KEYS = (b"image", b"images", b"image/encoded"), (b"label", b"labels")
_LENGTH = struct.Struct("<Q")


def is_tfrecord(leaf: Leaf) -> bool:
    """Whether a file begins with a record's length and the length's own sum."""
    head = leaf.head[: tfrecord.FRAME_HEAD]
    if len(head) < tfrecord.FRAME_HEAD:
        return False
    length = np.frombuffer(head[:8], np.uint8)[None]
    return tfrecord.masked_crc32c(length).astype("<u4").tobytes() == head[8:]


def read_tfrecord(leaf: Leaf, found: Gathering) -> Table:
    """The rows of one shard.

    Raises:
        ContentError: a record is cut short, no Example, or has no image or label.
    """
    images: list[bytes] = []
    labels: list[int] = []
    with leaf.open() as stream:
        for record in _records(stream, leaf.name):
            if len(images) == found.total_rows:
                raise errors.ContentError(f"{leaf.name}: more than {found.total_rows:,} records")
            image, label = _example(record, f"{leaf.name}: record {len(images) + 1:,}")
            images.append(image)
            labels.append(label)
    if not all(0 <= label < len(found.dataset.class_names) for label in labels):
        raise errors.ContentError(f"{leaf.name}: a label is none of {found.dataset.title}")
    pixels = png_files.images_of(images, found.side, leaf.name)
    return Table(pixels, np.array(labels, np.uint8))


def _records(stream: IO[bytes], name: str) -> Iterator[bytes]:
    while head := stream.read(tfrecord.FRAME_HEAD):
        length = _LENGTH.unpack(head[:8])[0] if len(head) == tfrecord.FRAME_HEAD else 0
        if length > _MOST_BYTES:
            raise errors.ContentError(f"{name}: a record of {length:,} bytes is no 28x28 image")
        record = stream.read(length + tfrecord.FRAME_TAIL)
        if len(record) != length + tfrecord.FRAME_TAIL or not length:
            raise errors.ContentError(f"{name}: the TFRecord file is damaged or cut short")
        yield record[: -tfrecord.FRAME_TAIL]


def _example(record: bytes, name: str) -> tuple[bytes, int]:
    """The image's bytes and the label of one Example."""
    image: bytes | None = None
    label: int | None = None
    try:
        for entry in _all(_only(record, 1), 1):
            key, feature = _only(entry, 1), _only(entry, 2)
            if key in _IMAGE_KEYS:
                image = _only(_only(feature, 1), 1)
            elif key in _LABEL_KEYS:
                values = next(value for _, value in _fields(_only(feature, 3)))
                label = values if isinstance(values, int) else _varint(values, 0)[0]
    except (IndexError, ValueError, StopIteration) as error:
        raise errors.ContentError(f"{name}: no Example of an image and a label") from error
    if image is None or label is None:
        raise errors.ContentError(f"{name}: an Example without the features image and label")
    return image, label


def _only(message: bytes, number: int) -> bytes:
    return _all(message, number)[-1]


def _all(message: bytes, number: int) -> list[bytes]:
    return [v for n, v in _fields(message) if n == number and isinstance(v, bytes)]


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a protobuf message: their numbers and values.

    Raises:
        ValueError, IndexError: it is none, or holds a type that Examples do not use.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif key & 7 == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field is cut short")
            yield key >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError("a field of a type that Examples do not use")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")
