"""Byte layouts: a record, a PNG or an IDX file that differs in one thing alone is found out."""

from __future__ import annotations

import numpy as np
import pytest

from fmnist_tfds import errors
from fmnist_tfds.formats import idx, png, tfrecord


def arrays(count):
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)


def records(count):
    return np.concatenate(list(tfrecord.encode(*arrays(count))))


def layout_of(rows, tmp_path):
    path = tmp_path / "shard"
    path.write_bytes(rows.tobytes())
    found = tfrecord.layout_of(path, len(rows), rows.size)
    assert found is not None
    return found


def label_first(rows):
    """The same records with the label in front, as protobuf may write a map."""
    example = rows[:, tfrecord.FRAME_HEAD : -tfrecord.FRAME_TAIL]
    # The entry of the label: 16 bytes at the end; 3 of key and length stand before the entries.
    entry, start = 16, 3
    out = rows.copy()
    out[:, tfrecord.FRAME_HEAD : -tfrecord.FRAME_TAIL] = np.concatenate(
        [example[:, :start], example[:, -entry:], example[:, start:-entry]], axis=1
    )
    crc = tfrecord.masked_crc32c(out[:, tfrecord.FRAME_HEAD : -tfrecord.FRAME_TAIL])
    out[:, -4:] = crc.astype("<u4")[:, None].view(np.uint8)
    return out


@pytest.mark.parametrize("label", [127, 128, 200, 255])
def test_label_of_two_bytes_is_never_read_as_one(label, tmp_path):
    rows = records(5)
    layout = layout_of(rows, tmp_path)
    rows[3, layout.label_offset] = label
    # Source: protobuf's varint: a byte from 128 on says that another one follows.
    assert layout.nonconforming(rows).tolist() == ([3] if label > 127 else [])


def test_label_that_would_take_two_bytes_is_not_written():
    images, labels = arrays(3)
    labels[1] = 128
    with pytest.raises(errors.ArgumentError, match=r"labels: expected 0 to 127, got 128"):
        list(tfrecord.encode(images, labels))


@pytest.mark.parametrize("is_label_first", [False, True])
def test_every_byte_beside_pixels_checksums_and_label_is_compared(is_label_first, tmp_path):
    rows = records(2)
    if is_label_first:
        rows = label_first(rows)
    layout = layout_of(rows, tmp_path)
    assert not tfrecord.broken(rows).size
    assert (layout.label_offset < layout.png_offset) == is_label_first
    np.testing.assert_array_equal(rows[:, layout.label_offset], arrays(2)[1])
    start = layout.png_offset
    np.testing.assert_array_equal(png.pixels(rows[:, start : start + png.LENGTH]), arrays(2)[0])
    free = set(range(start + png.ROWS_OFFSET, start + png.ROWS_END))
    free -= set(range(start + png.ROWS_OFFSET, start + png.ROWS_END, png.ROW_BYTES))
    free |= set(range(start + png.ROWS_END, start + png.ROWS_END + 8))  # adler32, crc32
    free |= set(range(layout.record_bytes - tfrecord.FRAME_TAIL, layout.record_bytes))
    free.add(layout.label_offset)
    changed = np.repeat(rows[1:], layout.record_bytes, axis=0)
    np.fill_diagonal(changed, changed.diagonal() ^ 1)
    found = set(layout.nonconforming(changed).tolist())
    assert found == set(range(layout.record_bytes)) - free


def test_layouts_agree_only_where_everything_lies_at_the_same_place(tmp_path):
    rows = records(2)
    ours, other = layout_of(rows, tmp_path), layout_of(label_first(rows), tmp_path)
    assert ours.agrees(layout_of(records(3), tmp_path))
    assert not ours.agrees(other)
    assert not ours.agrees(None)


@pytest.mark.parametrize("part", ["length", "PNG header", "filter byte", "label key"])
def test_shard_of_another_layout_promises_none(part, tmp_path):
    rows = records(3)
    layout = layout_of(rows, tmp_path)
    at = {
        "length": 0,
        "PNG header": layout.png_offset + 20,
        "filter byte": layout.png_offset + png.ROWS_OFFSET + png.ROW_BYTES,
        "label key": layout.label_offset - 4,
    }[part]
    rows[:, at] ^= 1
    path = tmp_path / "other"
    path.write_bytes(rows.tobytes())
    assert tfrecord.layout_of(path, 3, rows.size) is None


def test_layout_needs_records_of_one_length(tmp_path):
    rows = records(3)
    path = tmp_path / "shard"
    path.write_bytes(rows.tobytes() + b"x")
    assert tfrecord.layout_of(path, 3, rows.size + 1) is None
    assert tfrecord.layout_of(path, 0, rows.size) is None
    assert tfrecord.layout_of(path, 2000, rows.size) is None


@pytest.mark.parametrize("at", range(12))
def test_damaged_length_is_found_by_its_own_checksum(at):
    rows = records(3)
    rows[1, at] ^= 0x40
    assert tfrecord.broken(rows).tolist() == [1]


@pytest.mark.parametrize("row", [0, 1, 27])
def test_png_whose_rows_are_filtered_is_not_a_stored_one(row):
    encoded = bytearray(png.encode(arrays(1)[0][0]))
    encoded[png.ROWS_OFFSET + row * png.ROW_BYTES] = 1
    assert not png.is_stored(bytes(encoded))


@pytest.mark.parametrize("at", [*range(png.ROWS_OFFSET), *range(png.LENGTH - 12, png.LENGTH)])
def test_png_of_another_header_or_end_is_not_a_stored_one(at):
    encoded = bytearray(png.encode(arrays(1)[0][0]))
    encoded[at] ^= 1
    assert not png.is_stored(bytes(encoded))


@pytest.mark.parametrize("at", range(16))
def test_idx_header_is_checked_byte_by_byte(at):
    payload = bytearray(idx.encode(np.zeros((2, 3, 4), np.uint8)))
    payload[at] ^= 1
    with pytest.raises(errors.IdxError):
        idx.decode(bytes(payload), (2, 3, 4))


@pytest.mark.parametrize("change", [-1, 1, 12, -12])
def test_idx_of_another_length_is_refused(change):
    payload = idx.encode(np.zeros((2, 3, 4), np.uint8))
    changed = payload[:change] if change < 0 else payload + bytes(change)
    with pytest.raises(errors.IdxError, match=rf"expected 40 bytes, got {40 + change}"):
        idx.decode(changed, (2, 3, 4))


def test_idx_header_is_what_the_original_files_begin_with(real_data):
    import gzip

    for name, shape in (
        ("train-images-idx3-ubyte", (60_000, 28, 28)),
        ("t10k-labels-idx1-ubyte", (10_000,)),
    ):
        with gzip.open(real_data / f"{name}.gz") as stream:
            assert stream.read(4 + 4 * len(shape)) == idx.header(shape)
