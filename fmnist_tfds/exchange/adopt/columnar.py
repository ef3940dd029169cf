"""Hugging Face's parquet and Arrow files -> images and labels, in bounded batches.

pyarrow is the extra `parquet`; it is imported when the first such file is met.

Source: the columns of zalando-datasets/fashion_mnist: image {bytes: PNG, path}, label int64;
https://arrow.apache.org/docs/format/Columnar.html (messages; Message.fbs and its RecordBatch).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import png_files
from fmnist_tfds.exchange.adopt.gathering import Gathering
from fmnist_tfds.exchange.adopt.leaf import Leaf, Limits
from fmnist_tfds.exchange.adopt.npy import byte_values, class_numbers
from fmnist_tfds.exchange.adopt.row_order import Bytes
from fmnist_tfds.exchange.adopt.tables import Table

_BATCH = 2048


def read_parquet(leaf: Leaf, found: Gathering, limits: Limits) -> Table:
    """The rows of a parquet file with the columns image (PNG or raw pixels) and label.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ContentError: wrong columns, too many rows, a value that is no image or no label.
        ArchiveError: it declares more bytes than the data set takes in any form.
    """
    with _arrow(leaf, "parquet"), leaf.open() as stream:
        from pyarrow import parquet

        file = parquet.ParquetFile(stream)
        columns = _columns(file.schema_arrow.names, leaf.name)
        _check_size(file.metadata, leaf.name, found.total_rows, limits.stream_bytes)
        batches = file.iter_batches(batch_size=_BATCH, columns=list(columns))
        return _rows(batches, columns, leaf, found)


def read_arrow(leaf: Leaf, found: Gathering) -> Table:
    """The rows of an Arrow stream or file, as the datasets library caches them.

    Raises:
        as `read_parquet`.
    """
    with _arrow(leaf, "Arrow"), leaf.open() as stream:
        from pyarrow import ipc

        is_file = leaf.head.startswith(_ARROW_FILE)
        if is_file:
            stream.seek(8)  # the magic, padded; then the same messages as in a stream
        return _rows(
            _record_batches(ipc.MessageReader.open_stream(stream), ipc, leaf),
            None,
            leaf,
            found,
        )


_ARROW_FILE = b"ARROW1"


@contextlib.contextmanager
def _arrow(leaf: Leaf, form: str) -> Iterator[None]:
    """pyarrow's errors as ours."""
    try:
        import pyarrow
    except ImportError as error:
        raise errors.MissingExtraError(
            f"{leaf.name}: reading {form} needs pyarrow, which is not installed",
            hint='pip install "fmnist_tfds[parquet]"',
        ) from error
    try:
        yield
    except errors.FmnistError:
        raise
    # ArrowException and OSError: damaged files; the others: forged metadata.
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, struct.error) as error:
        raise errors.ContentError(f"{leaf.name}: not a readable {form} file: {error}") from error


def _record_batches(reader: Any, ipc: Any, leaf: Leaf) -> Iterator[Any]:
    """The record batches of a stream of messages; a compressed one could be a bomb."""
    schema = None
    for message in reader:
        if message.type == "schema":
            schema = ipc.read_schema(message)
        elif message.type == "record batch" and schema is not None:
            if _is_compressed(message.metadata.to_pybytes()):
                raise errors.ArchiveError(
                    f"{leaf.name}: its batches are compressed, which is not read here",
                    hint="save it as parquet: Dataset.to_parquet(...)",
                )
            yield ipc.read_record_batch(message, schema)
        else:
            raise errors.ContentError(
                f"{leaf.name}: holds a {message.type}, which is not read here"
            )


def _is_compressed(message: bytes) -> bool:
    """Whether a RecordBatch message names a codec: field 3 of the table in field 2 of the root."""

    def field(table: int, number: int) -> int:
        entries = table - struct.unpack_from("<i", message, table)[0]
        (length,) = struct.unpack_from("<H", message, entries)
        if 4 + 2 * number >= length:
            return 0
        (offset,) = struct.unpack_from("<H", message, entries + 4 + 2 * number)
        return table + offset if offset else 0

    header = field(struct.unpack_from("<I", message)[0], 2)
    return bool(field(header + struct.unpack_from("<I", message, header)[0], 3))


def _rows(
    batches: Iterable[Any], columns: tuple[str, str] | None, leaf: Leaf, found: Gathering
) -> Table:
    images: list[Bytes] = []
    labels: list[Bytes] = []
    rows = 0
    for batch in batches:
        columns = columns or _columns(batch.schema.names, leaf.name)
        at = f"{leaf.name}: rows from {rows + 1:,} on"
        rows += batch.num_rows
        _check_rows(rows, leaf.name, found.total_rows)
        images.append(_images(batch.column(columns[0]), found.side, at))
        labels.append(_labels(batch.column(columns[1]), found, at))
    if not images:
        raise errors.ContentError(f"{leaf.name}: a table without rows")
    return Table(np.concatenate(images), np.concatenate(labels))


def _columns(names: list[str], name: str) -> tuple[str, str]:
    for image in ("image", "images", "img", "pixels"):
        for label in ("label", "labels", "class", "target"):
            if image in names and label in names:
                return image, label
    raise errors.ContentError(
        f"{name}: expected the columns image and label, found {', '.join(names[:8])}"
    )


def _check_rows(rows: int, name: str, max_rows: int) -> None:
    if rows > max_rows:
        raise errors.ContentError(f"{name}: {rows:,} rows, expected at most {max_rows:,}")


def _check_size(metadata: Any, name: str, max_rows: int, max_bytes: int) -> None:
    _check_rows(metadata.num_rows, name, max_rows)
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    if size > max_bytes:
        raise errors.ArchiveError(
            f"{name}: unpacks to {size:,} bytes, more than this data set takes in any form"
        )


def _images(column: Any, side: int, name: str) -> Bytes:
    if column.null_count:
        raise errors.ContentError(f"{name}: {column.null_count:,} images are missing")
    values = column.to_pylist()
    if values and isinstance(values[0], dict):
        values = [value.get("bytes") for value in values]
    if values and isinstance(values[0], list):
        array = np.array(values)
        if array.size != len(values) * side * side:
            raise errors.ContentError(f"{name}: the images are not {side}x{side} pixels")
        return byte_values(array.reshape(len(values), -1), name)
    return png_files.images_of(values, side, name)


def _labels(column: Any, found: Gathering, name: str) -> Bytes:
    if column.null_count:
        raise errors.ContentError(f"{name}: {column.null_count:,} labels are missing")
    values = np.asarray(column.to_pylist())
    return (
        class_numbers(values, found, name)
        if values.dtype.kind == "U"
        else byte_values(values, name)
    )
