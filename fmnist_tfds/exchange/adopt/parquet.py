"""Hugging Face parquet -> images uint8[n, pixels] and labels uint8[n], in bounded batches.

pyarrow is the extra `parquet`; it is imported when the first parquet file is met.

Source: the columns of zalando-datasets/fashion_mnist: image {bytes: PNG, path}, label int64.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import containers, csv_arff, png_images, row_order

_BATCH = 2048


def read(stream: IO[bytes], name: str, side: int, max_rows: int, max_bytes: int) -> csv_arff.Table:
    """The rows of a parquet file with the columns image (PNG or raw pixels) and label.

    Args:
        stream: the seekable file.
        name: how messages call it.
        side: pixels per row of an image.
        max_rows: rows of the whole data set.
        max_bytes: refuse a file that declares more bytes of unpacked columns.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ContentError: wrong columns, too many rows, a value that is no image or no label.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise errors.MissingExtraError(
            f"{name}: reading parquet needs pyarrow, which is not installed",
            hint='pip install "fmnist_tfds[parquet]"',
        ) from error
    # ArrowException and OSError: damaged files; ValueError, KeyError: forged metadata.
    damaged = (pyarrow.ArrowException, OSError, ValueError, KeyError)
    try:
        file = parquet.ParquetFile(stream)
        columns = _columns(file.schema_arrow.names, name)
        _check_size(file.metadata, name, max_rows, max_bytes)
        images: list[row_order.Bytes] = []
        labels: list[row_order.Bytes] = []
        for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns)):
            at = f"{name}: rows from {sum(len(part) for part in labels) + 1:,} on"
            images.append(_images(batch.column(columns[0]), side, at))
            labels.append(_labels(batch.column(columns[1]), at))
    except errors.FmnistError:
        raise
    except damaged as error:
        raise errors.ContentError(f"{name}: not a readable parquet file: {error}") from error
    if not images:
        raise errors.ContentError(f"{name}: a parquet file without rows")
    return csv_arff.Table(np.concatenate(images), np.concatenate(labels))


def _columns(names: list[str], name: str) -> tuple[str, str]:
    for image in ("image", "images", "img", "pixels"):
        for label in ("label", "labels", "class", "target"):
            if image in names and label in names:
                return image, label
    raise errors.ContentError(
        f"{name}: expected the columns image and label, found {', '.join(names[:8])}"
    )


def _check_size(metadata: Any, name: str, max_rows: int, max_bytes: int) -> None:
    if metadata.num_rows > max_rows:
        raise errors.ContentError(
            f"{name}: {metadata.num_rows:,} rows, expected at most {max_rows:,}"
        )
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > max_bytes:
        raise errors.ArchiveError(
            f"{name}: unpacks to {size:,} bytes, more than this data set takes in any form"
        )


def _images(column: Any, side: int, name: str) -> row_order.Bytes:
    if column.null_count:
        raise errors.ContentError(f"{name}: {column.null_count:,} images are missing")
    values = column.to_pylist()
    if values and isinstance(values[0], dict):
        values = [value.get("bytes") for value in values]
    if values and isinstance(values[0], list):
        array = np.array(values)
        if array.size != len(values) * side * side:
            raise errors.ContentError(f"{name}: the images are not {side}x{side} pixels")
        return row_order.byte_values(array.reshape(len(values), -1), name)
    if not all(isinstance(value, bytes) for value in values):
        raise errors.ContentError(f"{name}: an image holds no bytes")
    if all(len(value) == side * side for value in values):
        return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
    for value in values:
        if not value.startswith(png_images.SIGNATURE):
            what = containers.Leaf(name, "", "", value[:64], len(value), data=value[:64]).foreign()
            raise errors.ContentError(f"{name}: expected PNG images, found {what}")
    lines = [png_images.scanlines(value, side, name) for value in values]
    return png_images.decode(lines, side, name)


def _labels(column: Any, name: str) -> row_order.Bytes:
    if column.null_count:
        raise errors.ContentError(f"{name}: {column.null_count:,} labels are missing")
    return row_order.byte_values(np.asarray(column.to_pylist()), name)
