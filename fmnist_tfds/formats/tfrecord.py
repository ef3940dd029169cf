"""Framed Examples of one stored PNG and one label, all of one length: one definition, both ways.

As every record has the same length, a whole shard is written from, and read as, one
uint8[n, record_bytes] array.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord (framing: uint64 length, its
masked crc32c, the payload, its masked crc32c; little-endian),
tensorflow/core/example/example.proto and feature.proto, RFC 3720 appendix B.4 (crc32c).
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct
from collections.abc import Iterator, Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors
from fmnist_tfds.formats import png

FRAME_HEAD = 12
FRAME_TAIL = 4
# 4096 records are 3.8 MB: the copy, the check and the hash find them in the cache.
CHUNK = 4096
# Feature "label" holding Int64List of one packed varint of one byte; the byte itself follows.
_LABEL_KEY = b"\n\x05label\x12\x05\x1a\x03\n\x01"


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a shard whose records all have one length.

    Attributes:
        record_bytes: length of a framed record.
        png_offset: of the stored PNG, from the start of the framed record.
        label_offset: of the label's byte, likewise.
        template: uint8[record_bytes], the first record.
    """

    record_bytes: int
    png_offset: int
    label_offset: int
    template: npt.NDArray[np.uint8]

    @property
    def payload_bytes(self) -> int:
        """Length of the serialized Example."""
        return self.record_bytes - FRAME_HEAD - FRAME_TAIL

    def agrees(self, other: Layout | None) -> bool:
        """Whether another shard's records are laid out the same."""
        return other is not None and self._places() == other._places()

    def _places(self) -> tuple[int, int, int]:
        return self.record_bytes, self.png_offset, self.label_offset

    def held(
        self, rows: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """What framed records hold: views uint8[n, 28, 28, 1] and uint8[n]."""
        start = self.png_offset
        images = png.pixels(rows[:, start : start + png.LENGTH])[..., None]
        return images, rows[:, self.label_offset]

    def nonconforming(self, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
        """The rows of uint8[n, record_bytes] whose framing, keys or PNG headers differ."""
        label, start = self.label_offset, self.png_offset
        rows_start, rows_end = start + png.ROWS_OFFSET, start + png.ROWS_END
        tail, end = start + png.LENGTH - len(png.TRAILER), self.record_bytes - FRAME_TAIL
        spans = (
            [(0, label), (label + 1, rows_start), (tail, end)]
            if label < start
            else [(0, rows_start), (tail, label), (label + 1, end)]
        )
        checked = [slice(*span) for span in spans] + [slice(rows_start, rows_end, png.ROW_BYTES)]
        bad = rows[:, label] > 127
        for part in checked:
            differs = rows[:, part] != self.template[part]
            if differs.any():
                bad |= differs.any(axis=1)
        return np.flatnonzero(bad)


def layout_of(path: pathlib.Path, examples: int, size_bytes: int) -> Layout | None:
    """The constant layout that the first record of a shard promises; None if it promises none."""
    if examples == 0 or size_bytes % examples or size_bytes < examples * png.LENGTH:
        return None
    record_bytes = size_bytes // examples
    with path.open("rb") as file:
        record = file.read(record_bytes)
    if struct.unpack_from("<Q", record)[0] + FRAME_HEAD + FRAME_TAIL != record_bytes:
        return None
    return _layout_in(record)


def stored_examples(
    payloads: Sequence[bytes],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
    """What serialized Examples hold that are laid out alike, with stored PNGs; else None.

    For containers with a framing of their own.

    Returns:
        images uint8[n, 28, 28, 1] and labels uint8[n], or None where only a parser reads them.
    """
    size = len(payloads[0])
    if any(len(payload) != size for payload in payloads):
        return None
    rows = np.zeros((len(payloads), FRAME_HEAD + size + FRAME_TAIL), np.uint8)
    rows[:, FRAME_HEAD:-FRAME_TAIL] = np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, size)
    layout = _layout_in(rows[0].tobytes())
    return None if layout is None or layout.nonconforming(rows).size else layout.held(rows)


def _layout_in(record: bytes) -> Layout | None:
    """Where things lie in a framed record; None unless it holds one stored PNG and one label."""
    image = record.find(png.HEADER)
    if image < 0 or not png.is_stored(record[image : image + png.LENGTH]):
        return None
    # Protobuf maps have no order: the label stands before the image or after it.
    key = record.find(_LABEL_KEY, 0, image)
    if key < 0:
        key = record.find(_LABEL_KEY, image + png.LENGTH)
    if key < 0:
        return None
    return Layout(len(record), image, key + len(_LABEL_KEY), np.frombuffer(record, np.uint8))


def encode(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> Iterator[npt.NDArray[np.uint8]]:
    """Framed records, ready to be written one after the other: uint8[up to CHUNK, RECORD_BYTES].

    Args:
        images: uint8[n, 28, 28].
        labels: uint8[n], 0 to 127.

    Raises:
        ArgumentError: a label that protobuf would write with two bytes.
    """
    if labels.max(initial=0) > 127:
        raise errors.ArgumentError(f"labels: expected 0 to 127, got {labels.max()}")
    for start in range(0, len(images), CHUNK):
        encoded = png.encode_batch(images[start : start + CHUNK])
        rows = np.tile(_TEMPLATE, (len(encoded), 1))
        rows[:, _PNG : _PNG + png.LENGTH] = np.frombuffer(b"".join(encoded), np.uint8).reshape(
            -1, png.LENGTH
        )
        rows[:, _LABEL] = labels[start : start + CHUNK]
        crc = masked_crc32c(rows[:, FRAME_HEAD:-FRAME_TAIL])
        rows[:, -FRAME_TAIL:] = crc.astype("<u4")[:, None].view(np.uint8)
        yield rows


def differing(
    rows: npt.NDArray[np.uint8], images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.intp]:
    """The rows of uint8[n, RECORD_BYTES] that `encode` did not make of these; no sums looked at.

    Args:
        rows: framed records.
        images: uint8[n, 28, 28].
        labels: uint8[n].
    """
    layout = Layout(RECORD_BYTES, _PNG, _LABEL, _TEMPLATE)
    found = png.pixels(rows[:, _PNG : _PNG + png.LENGTH])
    if (
        not (bad := layout.nonconforming(rows)).size
        and np.array_equal(found, images)
        and np.array_equal(rows[:, _LABEL], labels)
    ):
        return bad
    differs = (found != images).any(axis=(1, 2)) | (rows[:, _LABEL] != labels)
    differs[bad] = True
    return np.flatnonzero(differs)


def examples(rows: npt.NDArray[np.uint8]) -> Iterator[tuple[bytes, bytes]]:
    """The serialized Example of each framed record: image first, and label first.

    Protobuf maps have no order; TensorFlow and TFDS write the label first.
    """
    for row in rows:
        record = row.tobytes()
        head, image, label = (record[span] for span in _ENTRIES)
        yield head + image + label, head + label + image


def broken(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    """The framed records of uint8[n, record_bytes] one of whose two crc32c does not match."""
    length = np.ascontiguousarray(rows[:, 8:FRAME_HEAD]).view("<u4")[:, 0]
    payload = np.ascontiguousarray(rows[:, -FRAME_TAIL:]).view("<u4")[:, 0]
    # Nearly always one length: its sum is made once.
    lengths = np.ascontiguousarray(rows[:, :8]).view("<u8")[:, 0]
    different, which = np.unique(lengths, return_inverse=True)
    bad = masked_crc32c(different[:, None].view(np.uint8))[which] != length
    bad |= masked_crc32c(rows[:, FRAME_HEAD:-FRAME_TAIL]) != payload
    return np.flatnonzero(bad)


def masked_crc32c(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The masked crc32c of each row of uint8[n, bytes]; a row's bytes lie one after another."""
    crc = np.fromiter(map(google_crc32c.value, rows), np.uint32, len(rows))
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, length = bytearray(), len(content)
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + content


def _template() -> tuple[npt.NDArray[np.uint8], int, int, tuple[slice, slice, slice]]:
    """A framed record without its last crc, the offsets of its PNG and its label, and its parts."""
    image = png.encode(np.zeros((png.SIZE, png.SIZE), np.uint8))
    entries = (
        _field(1, b"image") + _field(2, _field(1, _field(1, image))),
        _field(1, b"label") + _field(2, _field(3, _field(1, b"\x00"))),
    )
    features = [_field(1, entry) for entry in entries]
    example = _field(1, b"".join(features))
    length = np.frombuffer(struct.pack("<Q", len(example)), np.uint8)[None]
    head = length.tobytes() + masked_crc32c(length).astype("<u4").tobytes()
    record = head + example + bytes(FRAME_TAIL)
    end = len(head + example)
    middle = end - len(features[1])
    start = middle - len(features[0])
    parts = slice(len(head), start), slice(start, middle), slice(middle, end)
    return np.frombuffer(record, np.uint8), record.index(png.HEADER), end - 1, parts


_TEMPLATE, _PNG, _LABEL, _ENTRIES = _template()
RECORD_BYTES = len(_TEMPLATE)
PAYLOAD_BYTES = RECORD_BYTES - FRAME_HEAD - FRAME_TAIL
