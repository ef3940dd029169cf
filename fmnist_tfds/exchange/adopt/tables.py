"""CSV and ARFF text -> images and labels, read by numpy in bounded pieces of whole lines.

A table may hold images with labels, images alone or labels alone; an index column is passed over.
Which column is the label is read off its name, or else off its values: the digests decide.

Source: Kaggle's fashionmnist CSV (label,pixel1..pixel784); pandas' to_csv and numpy's savetxt;
https://waikato.github.io/weka-wiki (ARFF), as OpenML 40996 uses it (pixel1..pixel784,class).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt.gathering import Gathering
from fmnist_tfds.exchange.adopt.leaf import Leaf
from fmnist_tfds.exchange.adopt.row_order import Bytes

Numbers = npt.NDArray[np.int32]
_PIECE_LINES = 2048
_MAX_HEADER = 1 << 20
_BYTES_A_VALUE = 32
_LABEL_NAMES = ("label", "labels", "class", "target", "y")
_INDEX_NAMES = ("", "unnamed:0", "index", "idx", "id", "#")
_SEPARATORS = ",;\t "
_BOM = b"\xef\xbb\xbf"
_QUOTES = b"\"'\r"
_NUMBER = r"[+-]?[\d.]+(?:[eE][+-]?\d+)?"
_IS_NUMBER = re.compile(_NUMBER)
_NUMBERS_WITH_BLANKS = re.compile(rf"(?:{_NUMBER}\s+){{64,}}.*".encode())
# Lines of one digit, or of an index and a digit, below at most one line of words.
_LABEL_LINES = re.compile(
    rb"(?:[\w \"',;\t]{0,40}\r?\n)?"
    rb"(?:(?:\d{1,6}[,;\t])?[\"']?\d(?:\.0*)?[\"']?\r?\n){2,}"
)
_WORD_LINES = re.compile(rb"(?:[^,;\t\n<>{}]{0,40}(?:[,;\t][^,;\t\n<>{}]{0,40})?\n){2,}")


def is_csv(file: Leaf) -> bool:
    """Whether a file looks like a table of ours: hundreds of columns, or a column of labels."""
    text = file.head.removeprefix(_BOM).lstrip(b"\r\n")
    first = text.split(b"\n", 1)[0]
    many = max(first.count(separator.encode()) for separator in ",;\t")
    if many >= 256 or re.match(rb"label[,;\t]", first, re.IGNORECASE):
        return True
    if _NUMBERS_WITH_BLANKS.fullmatch(first):
        return True
    whole = text[: text.rfind(b"\n") + 1]
    if file.name.lower().endswith((".csv", ".tsv")) and _WORD_LINES.fullmatch(whole):
        return True
    return _LABEL_LINES.fullmatch(whole) is not None


def is_arff(file: Leaf) -> bool:
    """Whether a file begins as ARFF does."""
    text = file.head.removeprefix(_BOM).lstrip()
    return text[:1] == b"%" or text[:9].lower() == b"@relation"


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of one table.

    Attributes:
        images: uint8[n, pixels], or None.
        labels: uint8[n], or None.
    """

    images: Bytes | None
    labels: Bytes | None


def read_csv(file: Leaf, found: Gathering) -> Table:
    """The rows of a CSV file, with or without a header line; any usual separator.

    Raises:
        ContentError: wrong columns, a value that is no byte, a short row, too many rows.
    """
    with file.open() as stream:
        first = stream.readline(_MAX_HEADER).removeprefix(_BOM)
        text = first.translate(None, _QUOTES).decode("latin-1").strip("\n")
        separator = max(_SEPARATORS, key=text.count) if text.strip() else ","
        names = [cell.strip() for cell in text.strip(" ").split(separator)]
        if separator == " ":
            names = text.split()
        is_header = _is_header(names, found)
        line_number, begun = (2, b"") if is_header else (1, first)
        lines = _Lines(stream, file.name, separator, len(names), line_number, begun)
        return _rows(lines, [n.lower() for n in names] if is_header else None, found)


def read_arff(file: Leaf, found: Gathering) -> Table:
    """The rows of an ARFF file.

    Raises:
        ContentError: no @data line, wrong attributes, or as `read_csv`.
    """
    names: list[str] = []
    with file.open() as stream:
        read, line_number = 0, 0
        while line := stream.readline(_MAX_HEADER):
            read, line_number = read + len(line), line_number + 1
            word = line.strip().lower()
            if word.startswith(b"@data"):
                break
            if word.startswith(b"@attribute"):
                match = re.match(rb"@attribute\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))", word)
                names.append(match[match.lastindex or 0].decode("latin-1") if match else "?")
            if read > _MAX_HEADER:
                raise errors.ContentError(
                    f"{file.name}: no @data line in the first {_MAX_HEADER:,} bytes"
                )
        else:
            raise errors.ContentError(f"{file.name}: an ARFF file without @data")
        lines = _Lines(stream, file.name, ",", len(names), line_number + 1, is_csv=False)
        return _rows(lines, names, found)


def _is_header(names: list[str], found: Gathering) -> bool:
    """Whether the cells of the first line are names: words, or pandas' 0, 1, 2, … for columns."""
    words = [name for name in names if not _IS_NUMBER.fullmatch(name)]
    if len(words) > 1 or (words and found.class_of(words[0]) is None):
        return True
    numbers = [name for name in names if name not in words]
    return len(numbers) > 256 and numbers[-1] == str(len(numbers) - 1) and numbers[0] == "0"


class _Lines:
    """The whole lines of a table, with their numbers; each of bounded length.

    Args:
        stream: stands at the beginning of a line.
        name: how messages call the file.
        separator: of the cells.
        columns: how many cells each line must have.
        line_number: of the first line.
        begun: that line, where it was read already.
        is_csv: whether the columns are columns, or an ARFF file's attributes.
    """

    def __init__(
        self,
        stream: IO[bytes],
        name: str,
        separator: str,
        columns: int,
        line_number: int,
        begun: bytes = b"",
        *,
        is_csv: bool = True,
    ) -> None:
        self.name, self.separator, self.columns, self.is_csv = name, separator, columns, is_csv
        self._stream, self._number, self._begun = stream, line_number - 1, begun

    def __iter__(self) -> Iterator[tuple[int, str]]:
        longest = _BYTES_A_VALUE * self.columns + _MAX_HEADER
        waste = _QUOTES + (b"" if self.separator == " " else b" ")
        waste += b"" if self.separator == "\t" else b"\t"
        while line := self._begun or self._stream.readline(longest):
            self._begun, self._number = b"", self._number + 1
            if len(line) >= longest:
                raise errors.ContentError(f"{self.name}: line {self._number:,} never ends")
            text = line.translate(None, waste).decode("latin-1").strip("\n ")
            if not text or text.startswith("%"):
                continue
            count = len(text.split()) if self.separator == " " else text.count(self.separator) + 1
            if count != self.columns:
                raise errors.ContentError(
                    f"{self.name}: line {self._number:,} has {count} values, "
                    f"expected {self.columns}"
                )
            yield self._number, text


def _rows(lines: _Lines, names: list[str] | None, found: Gathering) -> Table:
    """All rows; columns that may be index or label are kept apart until all values are known."""
    pixels, name, columns = found.pixels, lines.name, lines.columns
    extra = columns if 1 <= columns <= 2 < pixels else columns - pixels
    labelled = [i for i, column in enumerate(names or []) if column in _LABEL_NAMES]
    if names and columns == 2 and any(n not in _LABEL_NAMES + _INDEX_NAMES for n in names):
        extra = -1  # neither labels alone nor an index and labels
    if not (1 if labelled else 0) <= extra <= 2:
        what = "columns (label" if lines.is_csv else "attributes (class"
        raise errors.ContentError(
            f"{name}: expected {pixels + 1} {what} and {pixels} pixels), found {columns}"
        )
    special = sorted({0, min(1, columns - 1), columns - 1, *labelled[:1]})
    body: list[Bytes] = []
    apart: list[Numbers] = []
    rows, numbered = 0, iter(lines)
    while piece := list(itertools.islice(numbered, _PIECE_LINES)):
        rows += len(piece)
        if rows > found.total_rows + (columns == extra):  # one may be a header
            raise errors.ContentError(f"{name}: more than {found.total_rows:,} rows")
        values = _values(piece, lines, special, found)
        apart.append(values[:, special])
        body.append(values.astype(np.uint8))
    if not rows:
        raise errors.ContentError(f"{name}: a table without rows")
    edges = dict(zip(special, np.concatenate(apart).T, strict=True))
    index, label = _roles(names, labelled, edges, extra, found, name)
    if columns == extra:
        labels = _bytes(edges[columns - 1 if label is None else label], label, name)
        lengths = {file.shape[0] for file in found.dataset.files} | {found.total_rows}
        # A pandas Series has the header "0", which looks like a label.
        is_header = names is None and rows - 1 in lengths and rows not in lengths
        return Table(None, labels[1:] if is_header else labels)
    kept = [i for i in range(columns) if i not in (index, label)]
    for i in special:
        if i in kept:
            _bytes(edges[i], i, name)
    images = np.ascontiguousarray(np.concatenate([part[:, kept] for part in body]))
    return Table(images, None if label is None else _bytes(edges[label], label, name))


def _roles(
    names: list[str] | None,
    labelled: list[int],
    edges: dict[int, Numbers],
    extra: int,
    found: Gathering,
    name: str,
) -> tuple[int | None, int | None]:
    """The columns of the index and of the label; None where the table has none."""
    if extra == 0:
        return None, None
    last = max(edges)
    counts = edges[0] - edges[0][0]
    is_index = len(counts) > 1 and np.array_equal(counts, np.arange(len(counts)))
    if names is not None and names[0] in _INDEX_NAMES:
        is_index = True
    if len(labelled) == 1:
        return (0 if extra == 2 and last > 1 else None), labelled[0]
    if extra == 1 and is_index and last > 1:
        return 0, None
    index = 0 if extra == 2 and last > 0 else None
    classes = range(len(found.dataset.class_names))
    kinds = {column: np.unique(edges[column]) for column in (1 if index == 0 else 0, last)}
    fitting = [c for c, k in kinds.items() if int(k[0]) in classes and int(k[-1]) in classes]
    if fitting:  # a pixel at the edge may be dark in every image: labels are of more kinds
        return index, max(fitting, key=lambda column: len(kinds[column]))
    shown = ", ".join(names[:3]) + ", …" if names else "no header line"
    raise errors.ContentError(
        f"{name}: expected one column called label or class, found {len(labelled)} "
        f"(the columns are {shown}), and neither the first nor the last holds labels"
    )


def _values(
    piece: list[tuple[int, str]], lines: _Lines, special: list[int], found: Gathering
) -> Numbers:
    """int32[n, columns] of some lines; all but the columns `special` are bytes."""
    delimiter = None if lines.separator == " " else lines.separator
    texts = [text for _, text in piece]
    kind: type = np.float64 if any("." in text for text in texts) else np.int32
    for attempt in range(3):
        try:
            read: npt.NDArray[Any] = np.loadtxt(
                texts, kind, delimiter=delimiter, comments=None, ndmin=2
            )
            break
        except (ValueError, OverflowError):
            if attempt == 0:  # class names stand for numbers
                texts = [found.with_class_numbers(text, lines.separator) for text in texts]
            elif attempt == 1:  # other spellings of whole numbers, such as 12.0
                kind = np.float64
            else:
                raise _first_wrong(piece, texts, special, lines) from None
    plain = np.ones(lines.columns, bool)
    plain[special] = False
    with np.errstate(invalid="ignore"):
        numbers = read.astype(np.int32)
    if (numbers != read).any() or ((numbers[:, plain] & ~255) != 0).any():
        raise _first_wrong(piece, texts, special, lines)
    return numbers


def _first_wrong(
    piece: list[tuple[int, str]], texts: list[str], special: list[int], lines: _Lines
) -> errors.ContentError:
    for (number, _), text in zip(piece, texts, strict=True):
        cells = text.split(None if lines.separator == " " else lines.separator)
        for column, cell in enumerate(cells):
            value = _number(cell)
            if value != np.floor(value) or not 0 <= value <= (1e9 if column in special else 255):
                return _refusal(lines.name, f"line {number:,}, ", column, cell[:20])
    return errors.ContentError(f"{lines.name}: holds what is no whole number from 0 to 255")


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _bytes(values: Numbers, column: int | None, name: str) -> Bytes:
    if ((values & ~255) != 0).any():
        wrong = int(values[(values & ~255) != 0][0])
        raise _refusal(name, "", column or 0, str(wrong))
    return values.astype(np.uint8)


def _refusal(name: str, line: str, column: int, found: str) -> errors.ContentError:
    return errors.ContentError(
        f"{name}: {line}column {column + 1}: expected a whole number from 0 to 255, found {found!r}"
    )
