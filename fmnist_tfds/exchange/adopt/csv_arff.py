"""CSV and ARFF text -> images uint8[n, pixels] and labels uint8[n], read in bounded pieces.

Digits are parsed for a whole piece at once with numpy; a piece with anything else in it is read
number by number, so that the message can say what stands there.

Source: Kaggle's fashionmnist CSV (label,pixel1..pixel784); https://waikato.github.io/weka-wiki
(ARFF), as OpenML 40996 uses it (pixel1..pixel784,class).
"""

from __future__ import annotations

import dataclasses
import re
from typing import IO

import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import row_order

_PIECE = 8 << 20
_MAX_HEADER = 1 << 20
_LABEL_NAMES = ("label", "class", "target", "y")
_QUOTES = b"\"' \t\r"


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of one table: images uint8[n, pixels], labels uint8[n]."""

    images: row_order.Bytes
    labels: row_order.Bytes


def read_csv(stream: IO[bytes], name: str, pixels: int, max_rows: int) -> Table:
    """The rows of a CSV file, with or without a header line, the label in any named column.

    Raises:
        ContentError: wrong columns, a value that is no byte, a short row, too many rows.
    """
    first = stream.readline(_MAX_HEADER).removeprefix(b"\xef\xbb\xbf")
    cells = [cell.decode("latin-1") for cell in first.translate(None, _QUOTES + b"\n").split(b",")]
    if all(re.fullmatch(r"[\d.]+", cell) for cell in cells):
        columns, rest = len(cells), first
        label = 0
    else:
        label, columns, rest = _label_column(cells, name), len(cells), b""
    if columns != pixels + 1:
        raise errors.ContentError(
            f"{name}: expected {pixels + 1} columns (label and {pixels} pixels), found {columns}"
        )
    return _rows(stream, rest, name, columns, label, max_rows, first_line=1 if rest else 2)


def read_arff(stream: IO[bytes], name: str, pixels: int, max_rows: int) -> Table:
    """The rows of an ARFF file.

    Raises:
        ContentError: no @data line, wrong attributes, or as `read_csv`.
    """
    attributes: list[str] = []
    read, line_number = 0, 0
    while line := stream.readline(_MAX_HEADER):
        read, line_number = read + len(line), line_number + 1
        word = line.strip().lower()
        if word.startswith(b"@data"):
            break
        if word.startswith(b"@attribute"):
            found = re.match(rb"@attribute\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))", word)
            attributes.append(found[found.lastindex or 0].decode("latin-1") if found else "?")
        if read > _MAX_HEADER:
            raise errors.ContentError(f"{name}: no @data line in the first {_MAX_HEADER:,} bytes")
    else:
        raise errors.ContentError(f"{name}: an ARFF file without @data")
    if len(attributes) != pixels + 1:
        raise errors.ContentError(
            f"{name}: expected {pixels + 1} attributes (class and {pixels} pixels), "
            f"found {len(attributes)}"
        )
    label = _label_column(attributes, name)
    return _rows(stream, b"", name, len(attributes), label, max_rows, first_line=line_number + 1)


def _label_column(names: list[str], name: str) -> int:
    found = [i for i, column in enumerate(names) if column.lower() in _LABEL_NAMES]
    if len(found) != 1:
        raise errors.ContentError(
            f"{name}: expected one column called label or class, found {len(found)} "
            f"(the columns are {', '.join(names[:3])}, …)"
        )
    return found[0]


def _rows(
    stream: IO[bytes],
    start: bytes,
    name: str,
    columns: int,
    label: int,
    max_rows: int,
    first_line: int,
) -> Table:
    pieces: list[row_order.Bytes] = []
    count, rest = 0, start
    while True:
        read = stream.read(_PIECE)
        text = rest + read
        cut = text.rfind(b"\n") + 1 if read else len(text)
        if read and not cut and len(text) > _PIECE:
            raise errors.ContentError(f"{name}: line {first_line + count:,} never ends")
        rest = text[cut:]
        piece = text[:cut].translate(None, _QUOTES).strip(b"\n")
        if piece:
            table = _values(piece, name, columns, first_line + count)
            count += len(table)
            if count > max_rows:
                raise errors.ContentError(f"{name}: more than {max_rows:,} rows")
            pieces.append(table)
        if not read:
            break
    images = np.empty((count, columns - 1), np.uint8)
    labels = np.empty(count, np.uint8)
    at = count
    while pieces:  # from the end, giving memory back as it goes
        piece_rows = pieces.pop()
        at -= len(piece_rows)
        where = slice(at, at + len(piece_rows))
        labels[where] = piece_rows[:, label]
        images[where, :label] = piece_rows[:, :label]
        images[where, label:] = piece_rows[:, label + 1 :]
    return Table(images, labels)


def _values(piece: bytes, name: str, columns: int, first_line: int) -> row_order.Bytes:
    """uint8[n, columns] of whole lines that hold digits, commas and newlines."""
    text = np.frombuffer(piece + b"\n", np.uint8)
    ends = np.flatnonzero((text == ord(",")) | (text == ord("\n")))
    breaks = np.flatnonzero(text[ends] == ord("\n"))
    widths = np.diff(breaks, prepend=-1)
    if (widths != columns).any():
        row = int(np.argmax(widths != columns))
        raise errors.ContentError(
            f"{name}: line {first_line + row:,} has {int(widths[row])} values, expected {columns}"
        )
    lengths = np.diff(ends, prepend=-1) - 1
    digits = np.logical_and(text >= ord("0"), text <= ord("9"))
    plain = len(text) - len(ends) == int(digits.sum())
    if not plain or int(lengths.min()) < 1 or int(lengths.max()) > 3:
        return _odd_values(piece, name, columns, first_line)
    values = (text[ends - 1] - np.uint8(48)).astype(np.uint16)
    for power, place in ((10, 2), (100, 3)):
        has = np.flatnonzero(lengths >= place)
        values[has] += (text[ends[has] - place] - np.uint8(48)).astype(np.uint16) * np.uint16(power)
    if int(values.max()) > 255:
        at = int(np.argmax(values > 255))
        raise _refusal(name, first_line + at // columns, at % columns, str(values[at]))
    return values.astype(np.uint8).reshape(-1, columns)


def _odd_values(piece: bytes, name: str, columns: int, first_line: int) -> row_order.Bytes:
    """The same for lines that hold other spellings of whole numbers, such as 12.0."""
    out: list[npt.NDArray[np.uint8]] = []
    for row, line in enumerate(piece.split(b"\n")):
        cells = line.split(b",")
        try:
            numbers = np.array(cells, np.float64)
        except ValueError:
            numbers = np.array([_number(cell) for cell in cells])
        wrong = ~((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers)))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise _refusal(name, first_line + row, at, cells[at][:20].decode("latin-1"))
        out.append(numbers.astype(np.uint8))
    return np.stack(out)


def _number(cell: bytes) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _refusal(name: str, line: int, column: int, found: str) -> errors.ContentError:
    return errors.ContentError(
        f"{name}: line {line:,}, column {column + 1}: "
        f"expected a whole number from 0 to 255, found {found!r}"
    )
